"""Where processes keep what they know together: in memory, in a Redis, or in a Redis Cluster.

    store()     this process's, by the settings

One interface. Each operation is one atomic step on one name and goes by one clock: the store's. In Redis it
is a script on the keys of one name, which a hash tag keeps in one slot: a Cluster runs it as Redis does.
Operations raise StoreDown when the store does not answer within TIMEOUT_SECONDS.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

# A call of the provider waits for no more than this, and once only (see breaker.py).
TIMEOUT_SECONDS = 0.5
# For which a store that did not answer is not asked again.
REST_SECONDS = 5.0
# After which a breaker that nobody asks about is forgotten.
FORGOTTEN_AFTER_SECONDS = 86_400.0


logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class StoreDown(Exception):
    """It cannot be reached, or not now."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What a breaker says to one who would call.

    `retry_in`: the seconds for which the answer would be no again. `is_probe`: yes, but to this one alone.
    """

    admitted: bool
    retry_in: float = 0.0
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class Holding:
    """Whether what was asked for is held now, and how many others hold: of the kind, and of all kinds."""

    granted: bool
    of_kind: int
    in_all: int


class Store(Protocol):
    def open(self, breaker: str, seconds: float) -> None:
        """Admit nobody for `seconds`; what was open for longer stays so."""

    def admits(self, breaker: str, probe_every: float) -> Admission:
        """Whether a call may be made now: all when closed, none when open, then one every `probe_every`."""

    def succeeded(self, breaker: str, seconds_ago: float) -> None:
        """A call that began so long ago has succeeded: close, unless it was opened since."""

    def hold(
        self, limit: str, kind: str, holder: str, count: int, *, of_kind: int, in_all: int, seconds: float
    ) -> Holding:
        """Hold `count` for so long, if all holders have no more than `of_kind` of it and `in_all` then.

        Else the holder goes on with what it had. The count is the whole of what it holds, not what is added.
        """


@dataclass(slots=True)
class _Opened:
    at: float
    next_probe_at: float


@dataclass(frozen=True, slots=True)
class _Held:
    count: int
    until: float


class Memory:
    """For one process, and for those that a Redis has left alone. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._changed = threading.Lock()
        self._opened: dict[str, _Opened] = {}
        self._held: dict[str, dict[tuple[str, str], _Held]] = {}

    def open(self, breaker: str, seconds: float) -> None:
        with self._changed:
            now = self._clock()
            before = self._opened.get(breaker)
            until = max(now + seconds, before.next_probe_at if before else 0.0)
            self._opened[breaker] = _Opened(now, until)

    def admits(self, breaker: str, probe_every: float) -> Admission:
        with self._changed:
            opened, now = self._opened.get(breaker), self._clock()
            if opened is None:
                return Admission(True)
            if now < opened.next_probe_at:
                return Admission(False, opened.next_probe_at - now)
            opened.next_probe_at = now + probe_every
            return Admission(True, is_probe=True)

    def succeeded(self, breaker: str, seconds_ago: float) -> None:
        with self._changed:
            opened = self._opened.get(breaker)
            if opened is not None and self._clock() - seconds_ago > opened.at:
                del self._opened[breaker]

    def hold(
        self, limit: str, kind: str, holder: str, count: int, *, of_kind: int, in_all: int, seconds: float
    ) -> Holding:
        with self._changed:
            now, mine = self._clock(), (kind, holder)
            held = {each: has for each, has in self._held.get(limit, {}).items() if has.until > now}
            others = {each: has.count for each, has in held.items() if each != mine}
            same = sum(number for (of, _), number in others.items() if of == kind)
            both = sum(others.values())
            granted = same + count <= of_kind and both + count <= in_all
            if granted and count:
                held[mine] = _Held(count, now + seconds)
            elif granted:
                held.pop(mine, None)
            self._held[limit] = held
            return Holding(granted, same, both)


# Redis answers with integers: times are in milliseconds.
_NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
_OPEN = (
    _NOW
    + """
local probe_at = math.max(now + ARGV[1], tonumber(redis.call('HGET', KEYS[1], 'probe_at') or 0))
redis.call('HSET', KEYS[1], 'opened_at', now, 'probe_at', probe_at)
redis.call('PEXPIREAT', KEYS[1], probe_at + ARGV[2])
"""
)
_ADMITS = (
    _NOW
    + """
local probe_at = tonumber(redis.call('HGET', KEYS[1], 'probe_at'))
if not probe_at then return {1, 0, 0} end
if now < probe_at then return {0, probe_at - now, 0} end
redis.call('HSET', KEYS[1], 'probe_at', now + ARGV[1])
redis.call('PEXPIREAT', KEYS[1], now + ARGV[1] + ARGV[2])
return {1, 0, 1}
"""
)
_SUCCEEDED = (
    _NOW
    + """
local opened_at = tonumber(redis.call('HGET', KEYS[1], 'opened_at'))
if opened_at and now - ARGV[1] > opened_at then redis.call('DEL', KEYS[1]) end
"""
)

# A field for each kind and holder: how many, and until when. There are as many as processes.
_HOLD = (
    _NOW
    + """
local mine, same, both = ARGV[1] .. ' ' .. ARGV[2], 0, 0
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
    local count, ends_at = string.match(held[i + 1], '(%d+) (%d+)')
    if tonumber(ends_at) <= now then
        redis.call('HDEL', KEYS[1], held[i])
    elseif held[i] ~= mine then
        both = both + count
        if string.match(held[i], '^%S+') == ARGV[1] then same = same + count end
    end
end
if same + ARGV[3] > tonumber(ARGV[4]) or both + ARGV[3] > tonumber(ARGV[5]) then return {0, same, both} end
if tonumber(ARGV[3]) > 0 then
    redis.call('HSET', KEYS[1], mine, ARGV[3] .. ' ' .. now + ARGV[6])
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
else
    redis.call('HDEL', KEYS[1], mine)
end
return {1, same, both}
"""
)


class _Evaluates(Protocol):
    def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Any: ...


class InRedis:
    """For all processes that are given the same Redis or Redis Cluster."""

    def __init__(self, client: _Evaluates) -> None:
        self._client = client

    def open(self, breaker: str, seconds: float) -> None:
        self._run(_OPEN, f"breaker:{{{breaker}}}", _ms(seconds), _ms(FORGOTTEN_AFTER_SECONDS))

    def admits(self, breaker: str, probe_every: float) -> Admission:
        told = self._run(_ADMITS, f"breaker:{{{breaker}}}", _ms(probe_every), _ms(FORGOTTEN_AFTER_SECONDS))
        admitted, retry_in, is_probe = told
        return Admission(bool(admitted), retry_in / 1000, bool(is_probe))

    def succeeded(self, breaker: str, seconds_ago: float) -> None:
        self._run(_SUCCEEDED, f"breaker:{{{breaker}}}", _ms(seconds_ago))

    def hold(
        self, limit: str, kind: str, holder: str, count: int, *, of_kind: int, in_all: int, seconds: float
    ) -> Holding:
        key = f"limit:{{{limit}}}"
        granted, same, both = self._run(_HOLD, key, kind, holder, count, of_kind, in_all, _ms(seconds))
        return Holding(bool(granted), same, both)

    def _run(self, script: str, key: str, *arguments: int | str) -> Any:
        # Sent whole: a node that takes over in a Cluster has never seen it.
        try:
            return self._client.eval(script, 1, key, *arguments)
        except (RedisError, RedisClusterException, OSError) as error:
            raise StoreDown(str(error)) from error


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


_OPTIONS: dict[str, Any] = {
    "socket_timeout": TIMEOUT_SECONDS,
    "socket_connect_timeout": TIMEOUT_SECONDS,
    # Once more: a connection that was idle may be gone, a node of a Cluster have been replaced.
    "retry": Retry(NoBackoff(), 1),
}


class _Cluster:
    """The client of a Redis Cluster, made when first asked: to be made it asks the nodes who they are."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._nodes = [
            ClusterNode(url.hostname or "", url.port or 6379)  # type: ignore[no-untyped-call]
            for url in map(urlsplit, urls)
        ]
        first = urlsplit(urls[0])
        self._options = _OPTIONS | {"username": first.username, "password": first.password}
        self._options |= {"ssl": first.scheme == "rediss"}
        self._made = threading.Lock()
        self._client: RedisCluster | None = None

    def eval(self, *arguments: Any) -> Any:
        with self._made:
            if self._client is None:
                self._client = RedisCluster(startup_nodes=self._nodes, **self._options)
        return self._client.eval(*arguments)


class Tolerant:
    """`store`, and while it is down this process's memory, so that nobody waits for it or fails with it."""

    def __init__(self, store: Store, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._memory = Memory(clock)
        self._clock = clock
        self._down_until = 0.0

    def open(self, breaker: str, seconds: float) -> None:
        # In memory as well: should the store go away meanwhile, what it said is still known.
        self._memory.open(breaker, seconds)
        self._ask(lambda store: store.open(breaker, seconds))

    def admits(self, breaker: str, probe_every: float) -> Admission:
        return self._ask(lambda store: store.admits(breaker, probe_every))

    def succeeded(self, breaker: str, seconds_ago: float) -> None:
        self._memory.succeeded(breaker, seconds_ago)
        self._ask(lambda store: store.succeeded(breaker, seconds_ago))

    def hold(
        self, limit: str, kind: str, holder: str, count: int, *, of_kind: int, in_all: int, seconds: float
    ) -> Holding:
        return self._ask(
            lambda store: store.hold(
                limit, kind, holder, count, of_kind=of_kind, in_all=in_all, seconds=seconds
            )
        )

    def _ask(self, question: Callable[[Store], Answer]) -> Answer:
        if self._clock() >= self._down_until:
            try:
                return question(self._store)
            except StoreDown as error:
                self._down_until = self._clock() + REST_SECONDS
                logger.warning("The store cannot be reached, each process goes by what it knows: %s", error)
        return question(self._memory)


@cache
def store() -> Store:
    """REDIS_CLUSTER_URL, or the Redis of REDIS_URL, or, embedded, this process's memory."""
    if settings.REDIS_CLUSTER_URL:
        return Tolerant(InRedis(_Cluster(settings.REDIS_CLUSTER_URL)))
    if settings.REDIS_URL:
        return Tolerant(InRedis(Redis.from_url(settings.REDIS_URL, **_OPTIONS)))
    return Memory()
