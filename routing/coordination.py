"""Where processes keep what they know together: in memory, in a Redis, or in a Redis Cluster.

    store()     this process's, by the settings

One interface. Each operation is one atomic step on one name and goes by one clock: the store's. In Redis it
is a script on the keys of one name, which a hash tag keeps in one slot: a Cluster runs it as Redis does.
Operations raise StoreDown when the store does not answer within TIMEOUT_SECONDS.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
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
# After which what nobody asks about is forgotten.
FORGOTTEN_AFTER_SECONDS = 86_400.0


logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class StoreDown(Exception):
    """It cannot be reached, or not now."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What a breaker says to one who would call.

    `retry_in`: the seconds for which the answer would be no again. `is_probe`: yes, but to this one alone.
    `is_troubled`: calls have failed of late, so that it counts which others succeed.
    """

    admitted: bool
    retry_in: float = 0.0
    is_probe: bool = False
    is_troubled: bool = False


class State(StrEnum):
    """Of a breaker. Open, nobody may call; half-open, one at a time may."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Tripping:
    """When failures open a breaker: so many of the last `of` calls, within `window` seconds.

    It then is open for `seconds`, and each time that the call let through after it fails for twice as long,
    up to `most`.
    """

    failures: int = 5
    of: int = 10
    window: float = 30.0
    seconds: float = 5.0
    most: float = 30.0


@dataclass(frozen=True, slots=True)
class Notes:
    """What stands on a notice board: texts by name, and for how many seconds each stands there yet.

    `age`: the seconds since anything was ever asked or told of it; None: that cannot be told, or read.
    """

    texts: dict[str, str] = field(default_factory=dict)
    remaining: dict[str, float] = field(default_factory=dict)
    age: float | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """Whether what was asked for is held now, and how many others hold: of the kind, and of all kinds."""

    granted: bool
    of_kind: int
    in_all: int


class Store(Protocol):
    def open(self, breaker: str, seconds: float) -> None:
        """Admit nobody for `seconds`; what was open for longer stays so."""

    def admits(self, breaker: str, hold: float) -> Admission:
        """Whether a call may be made now: all when closed, none when open, then one at a time.

        The next is let through when the one has succeeded or is returned, or after `hold` seconds.
        """

    def returned(self, breaker: str) -> None:
        """Whoever was let through as the one has made no call."""

    def succeeded(self, breaker: str, seconds_ago: float) -> bool:
        """A call that began so long ago has succeeded: close, unless it was opened since; whether it did."""

    def failed(self, breaker: str, seconds_ago: float, tripping: Tripping) -> None:
        """A call that began so long ago has failed: open if that is one too many, or if it was the one.

        Others that were told yes before it opened, and made their calls after, change nothing.
        """

    def state(self, breaker: str) -> State: ...

    def note(self, board: str, name: str, text: str, seconds: float, *, if_absent: bool = False) -> bool:
        """Put up a note for so long, in place of one of the same name; no seconds take it away.

        `if_absent`: only if there is none; whether it was put up.
        """

    def notes(self, board: str) -> Notes: ...

    def hold(
        self, limit: str, kind: str, holder: str, count: int, *, of_kind: int, in_all: int, seconds: float
    ) -> Holding:
        """Hold `count` for so long, if all holders have no more than `of_kind` of it and `in_all` then.

        Else the holder goes on with what it had. The count is the whole of what it holds, not what is added.
        """


@dataclass(slots=True)
class _Breaker:
    """`calls`: when the last were made and whether they failed, kept while one of them has.

    `probed_at`: when one was let through last, since it opened.
    """

    opened_at: float | None = None
    probed_at: float | None = None
    next_probe_at: float = 0.0
    open_for: float = 0.0
    # More of them than any Tripping looks at.
    calls: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=100))

    def open(self, now: float, seconds: float) -> None:
        self.opened_at, self.probed_at = now, None
        self.next_probe_at = max(now + seconds, self.next_probe_at)
        self.calls.clear()


@dataclass(frozen=True, slots=True)
class _Held:
    count: int
    until: float


class Memory:
    """For one process, and for those that a Redis has left alone. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._changed = threading.Lock()
        self._breakers: defaultdict[str, _Breaker] = defaultdict(_Breaker)
        self._boards: defaultdict[str, dict[str, tuple[float, str]]] = defaultdict(dict)
        self._began_at: dict[str, float] = {}
        self._held: dict[str, dict[tuple[str, str], _Held]] = {}

    def open(self, breaker: str, seconds: float) -> None:
        with self._changed:
            self._breakers[breaker].open(self._clock(), seconds)

    def admits(self, breaker: str, hold: float) -> Admission:
        with self._changed:
            kept, now = self._breakers[breaker], self._clock()
            if kept.opened_at is None:
                return Admission(True, is_troubled=bool(kept.calls))
            if now < kept.next_probe_at:
                return Admission(False, kept.next_probe_at - now)
            kept.probed_at, kept.next_probe_at = now, now + hold
            return Admission(True, is_probe=True)

    def returned(self, breaker: str) -> None:
        with self._changed:
            self._breakers[breaker].next_probe_at = self._clock()

    def succeeded(self, breaker: str, seconds_ago: float) -> bool:
        with self._changed:
            kept, now = self._breakers[breaker], self._clock()
            if kept.opened_at is None:
                if kept.calls:
                    kept.calls.append((now, False))
                return False
            if now - seconds_ago <= kept.opened_at:
                return False
            del self._breakers[breaker]
            return True

    def failed(self, breaker: str, seconds_ago: float, tripping: Tripping) -> None:
        with self._changed:
            kept, now = self._breakers[breaker], self._clock()
            if kept.opened_at is None:
                kept.calls.append((now, True))
                while len(kept.calls) > tripping.of:
                    kept.calls.popleft()
                late = sum(failed for at, failed in kept.calls if at > now - tripping.window)
                if late >= tripping.failures:
                    kept.open_for = tripping.seconds
                    kept.open(now, kept.open_for)
            elif kept.probed_at is not None and now - seconds_ago >= kept.probed_at:
                kept.open_for = min(tripping.most, 2 * kept.open_for or tripping.seconds)
                kept.next_probe_at = 0.0
                kept.open(now, kept.open_for)

    def state(self, breaker: str) -> State:
        with self._changed:
            kept = self._breakers[breaker]
            if kept.opened_at is None:
                return State.CLOSED
            return State.OPEN if self._clock() < kept.next_probe_at else State.HALF_OPEN

    def note(self, board: str, name: str, text: str, seconds: float, *, if_absent: bool = False) -> bool:
        with self._changed:
            now = self._clock()
            self._began_at.setdefault(board, now)
            until, _ = self._boards[board].get(name, (0.0, ""))
            if if_absent and until > now:
                return False
            self._boards[board][name] = (now + seconds, text)
            return True

    def notes(self, board: str) -> Notes:
        with self._changed:
            now = self._clock()
            began_at = self._began_at.get(board)
            standing = {name: note for name, note in self._boards[board].items() if note[0] > now}
            self._boards[board] = standing
            return _read(standing, now, None if began_at is None else now - began_at)

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


def _read(standing: Mapping[str, tuple[float, str]], now: float, age: float | None) -> Notes:
    texts = {name: text for name, (_, text) in standing.items()}
    return Notes(texts, {name: until - now for name, (until, _) in standing.items()}, age)


# Redis answers with integers: times are in milliseconds.
_NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
_OPENS = """
local function open(seconds)
    local probe_at = math.max(now + seconds, tonumber(redis.call('HGET', KEYS[1], 'probe_at') or 0))
    redis.call('HSET', KEYS[1], 'opened_at', now, 'probe_at', probe_at)
    redis.call('HDEL', KEYS[1], 'probed_at')
    redis.call('PEXPIREAT', KEYS[1], probe_at + FORGOTTEN)
    redis.call('DEL', KEYS[2])
end
""".replace("FORGOTTEN", str(round(1000 * FORGOTTEN_AFTER_SECONDS)))
_OPEN = _NOW + _OPENS + "open(ARGV[1])"
_ADMITS = (
    _NOW
    + """
local probe_at = tonumber(redis.call('HGET', KEYS[1], 'probe_at'))
if not probe_at then return {1, 0, 0, redis.call('EXISTS', KEYS[2])} end
if now < probe_at then return {0, probe_at - now, 0, 0} end
redis.call('HSET', KEYS[1], 'probed_at', now, 'probe_at', now + ARGV[1])
return {1, 0, 1, 0}
"""
)
_RETURNED = (
    _NOW + "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'probe_at', now) end"
)
# The calls of late are kept from the first that fails: 'f' or 's', and when.
_SUCCEEDED = (
    _NOW
    + """
local opened_at = tonumber(redis.call('HGET', KEYS[1], 'opened_at'))
if not opened_at then redis.call('RPUSHX', KEYS[2], 's' .. now) return 0 end
if now - ARGV[1] <= opened_at then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""
)
_FAILED = (
    _NOW
    + _OPENS
    + """
local began_at, failures, of, window, seconds, most = now - ARGV[1], unpack(ARGV, 2)
local fields = redis.call('HMGET', KEYS[1], 'opened_at', 'probed_at', 'open_for')
local opened_at, probed_at, open_for = unpack(fields)
if opened_at then
    if not probed_at or began_at < tonumber(probed_at) then return end
    open_for = open_for and math.min(most, 2 * open_for) or seconds
    redis.call('HDEL', KEYS[1], 'probe_at')
else
    redis.call('RPUSH', KEYS[2], 'f' .. now)
    redis.call('LTRIM', KEYS[2], -of, -1)
    redis.call('PEXPIRE', KEYS[2], window)
    local late = 0
    for _, call in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
        if call:sub(1, 1) == 'f' and tonumber(call:sub(2)) > now - window then late = late + 1 end
    end
    if late < tonumber(failures) then return end
    open_for = seconds
end
redis.call('HSET', KEYS[1], 'open_for', open_for)
open(open_for)
"""
)
_STATE = (
    _NOW
    + """
local probe_at = tonumber(redis.call('HGET', KEYS[1], 'probe_at'))
if not probe_at then return 'closed' end
return now < probe_at and 'open' or 'half_open'
"""
)
_NOTE = (
    _NOW
    + """
local standing = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[4] == '1' and standing and tonumber(standing:match('^%d+')) > now then return 0 end
redis.call('HSETNX', KEYS[1], 'began at', now)
redis.call('HSET', KEYS[1], ARGV[1], (now + ARGV[3]) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
"""
)
_NOTES = (
    _NOW
    + """
redis.call('HSETNX', KEYS[1], 'began at', now)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local all, told = redis.call('HGETALL', KEYS[1]), {now}
for i = 1, #all, 2 do
    if all[i] == 'began at' or tonumber(all[i + 1]:match('^%d+')) > now then
        told[#told + 1] = all[i]
        told[#told + 1] = all[i + 1]
    else
        redis.call('HDEL', KEYS[1], all[i])
    end
end
return told
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
        self._run(_OPEN, _keys_of(breaker), _ms(seconds))

    def admits(self, breaker: str, hold: float) -> Admission:
        admitted, retry_in, is_probe, is_troubled = self._run(_ADMITS, _keys_of(breaker), _ms(hold))
        return Admission(bool(admitted), retry_in / 1000, bool(is_probe), bool(is_troubled))

    def returned(self, breaker: str) -> None:
        self._run(_RETURNED, _keys_of(breaker))

    def succeeded(self, breaker: str, seconds_ago: float) -> bool:
        return bool(self._run(_SUCCEEDED, _keys_of(breaker), _ms(seconds_ago)))

    def failed(self, breaker: str, seconds_ago: float, tripping: Tripping) -> None:
        times = map(_ms, (tripping.window, tripping.seconds, tripping.most))
        self._run(_FAILED, _keys_of(breaker), _ms(seconds_ago), tripping.failures, tripping.of, *times)

    def state(self, breaker: str) -> State:
        return State(_text(self._run(_STATE, _keys_of(breaker))))

    def note(self, board: str, name: str, text: str, seconds: float, *, if_absent: bool = False) -> bool:
        keep = max(_ms(seconds), _ms(FORGOTTEN_AFTER_SECONDS))
        told = self._run(_NOTE, [f"notes:{{{board}}}"], name, text, _ms(seconds), int(if_absent), keep)
        return bool(told)

    def notes(self, board: str) -> Notes:
        told = self._run(_NOTES, [f"notes:{{{board}}}"], _ms(FORGOTTEN_AFTER_SECONDS))
        now, names, values = told[0], map(_text, told[1::2]), map(_text, told[2::2])
        standing = dict(zip(names, values, strict=True))
        age = (now - float(standing.pop("began at"))) / 1000
        parted = {name: value.split(" ", 1) for name, value in standing.items()}
        return _read({name: (int(at) / 1000, text) for name, (at, text) in parted.items()}, now / 1000, age)

    def hold(
        self, limit: str, kind: str, holder: str, count: int, *, of_kind: int, in_all: int, seconds: float
    ) -> Holding:
        key = [f"limit:{{{limit}}}"]
        granted, same, both = self._run(_HOLD, key, kind, holder, count, of_kind, in_all, _ms(seconds))
        return Holding(bool(granted), same, both)

    def _run(self, script: str, keys: Sequence[str], *arguments: int | str) -> Any:
        # Sent whole: a node that takes over in a Cluster has never seen it.
        try:
            return self._client.eval(script, len(keys), *keys, *arguments)
        except (RedisError, RedisClusterException, OSError) as error:
            raise StoreDown(str(error)) from error


def _keys_of(breaker: str) -> Sequence[str]:
    return f"breaker:{{{breaker}}}", f"calls:{{{breaker}}}"


def _text(told: bytes | str) -> str:
    return told.decode() if isinstance(told, bytes) else told


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
        self._memory: Store = Memory(clock)
        self._clock = clock
        self._down_until = 0.0

    def open(self, breaker: str, seconds: float) -> None:
        # In memory as well: should the store go away meanwhile, what it said is still known.
        self._memory.open(breaker, seconds)
        self._ask(lambda store: store.open(breaker, seconds))

    def admits(self, breaker: str, hold: float) -> Admission:
        return self._ask(lambda store: store.admits(breaker, hold))

    def returned(self, breaker: str) -> None:
        self._ask(lambda store: store.returned(breaker))

    def succeeded(self, breaker: str, seconds_ago: float) -> bool:
        here = self._memory.succeeded(breaker, seconds_ago)
        return self._ask(
            lambda store: here if store is self._memory else store.succeeded(breaker, seconds_ago)
        )

    def failed(self, breaker: str, seconds_ago: float, tripping: Tripping) -> None:
        self._memory.failed(breaker, seconds_ago, tripping)
        self._ask(
            lambda store: None if store is self._memory else store.failed(breaker, seconds_ago, tripping)
        )

    def state(self, breaker: str) -> State:
        return self._ask(lambda store: store.state(breaker))

    def note(self, board: str, name: str, text: str, seconds: float, *, if_absent: bool = False) -> bool:
        return self._ask(lambda store: store.note(board, name, text, seconds, if_absent=if_absent))

    def notes(self, board: str) -> Notes:
        # Those of this process alone would tell of others that they are gone.
        return self._ask(lambda store: Notes() if store is self._memory else store.notes(board))

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
