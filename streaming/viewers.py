"""Viewers of live sessions: what is stored of one, as server-sent events (WHATWG HTML, section 9.2).

1. They see rows, whichever process the session is in, and go on after any break from the last `id` they had.
2. One task asks for news of all sessions that are watched in this process, every second and when told of some
   (streaming.news). A viewer who keeps up costs the database nothing.
3. What was sent last is kept once for all viewers of a session. One who reads slowly falls behind it and gets
   rows instead; nothing is buffered for anybody.
4. A response ends after a while, so that whoever may not look any more comes to know: clients reconnect.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import orjson
import redis
from django.conf import settings
from django.db import Error
from django.db.models import Q

from streaming import news
from streaming.database import in_database
from streaming.models import FinalResult, LiveSession, State

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# So that a connection whose client has left is noticed, and none that waits is cut off by a proxy.
SILENT_SECONDS = 15.0
LONGEST_SECONDS = 900.0
RECONNECT_MS = 1000
KEPT_EVENTS = 256
PAGE = 200
SESSIONS_AT_A_TIME = 100
GONE = "deleted"


def result_as_json(final: FinalResult) -> dict[str, Any]:
    """What viewers, and the API, see of a final result."""
    return {
        "seq": final.seq,
        "channel": final.channel,
        "start": final.start,
        "end": final.end,
        "text": final.text,
        "speech_final": final.speech_final,
        "late": final.late,
        "connection": final.connection,
        "words": final.words,
    }


@dataclass(frozen=True, slots=True)
class _Event:
    seq: int
    text: bytes


@dataclass(frozen=True, slots=True)
class _News:
    """What the rows say of a session: its state and, beyond what was known, the last seq and its finals."""

    state: str
    reason: str
    last_seq: int
    finals: Sequence[_Event]


@dataclass(slots=True)
class _Watched:
    """A session that somebody follows here: all events after `floor` are in `recent`."""

    floor: int = -1
    seq: int = -1
    state: str = ""
    reason: str = ""
    viewers: int = 0
    recent: deque[_Event] = field(default_factory=deque)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        return self.state in (State.ENDED, GONE)

    def take(self, found: _News) -> None:
        if self.seq < 0:
            # Those before are read as rows by whoever wants them.
            self.floor = self.seq = found.last_seq
        else:
            for event in found.finals:
                if len(self.recent) == KEPT_EVENTS:
                    self.floor = self.recent.popleft().seq
                self.recent.append(event)
            self.seq = max([found.last_seq, self.seq, *(event.seq for event in found.finals)])
        told, self.state, self.reason = (self.state, self.reason), found.state, found.reason
        if found.finals or told != (found.state, found.reason):
            self.changed.set()
            self.changed = asyncio.Event()

    def state_event(self) -> bytes:
        return _event("state", {"state": self.state, "reason": self.reason or None})


class Lookout:
    """Looks for news of all sessions that are watched in this event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watched: dict[UUID, _Watched] = {}
        self._asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.viewers = 0

    @asynccontextmanager
    async def watching(self, session_id: UUID) -> AsyncIterator[_Watched]:
        watched = self._watched.setdefault(session_id, _Watched())
        watched.viewers += 1
        self.viewers += 1
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._look())]
            if settings.REDIS_URL:
                self._tasks.append(asyncio.create_task(self._listen()))
        self._asked.set()
        try:
            yield watched
        finally:
            watched.viewers -= 1
            self.viewers -= 1
            if not watched.viewers:
                del self._watched[session_id]
            if not self._watched:
                for task in self._tasks:
                    task.cancel()
                self._tasks = []

    def told(self, ids: Collection[UUID]) -> None:
        """There may be news of these. From any thread."""
        if not self._watched.keys().isdisjoint(ids):
            # The loop may be closed by now.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._asked.set)

    async def _look(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._asked.wait()
            self._asked.clear()
            known = {pk: watched.seq for pk, watched in self._watched.items()}
            try:
                found = await in_database(_news_of, known)
            except Error as error:
                logger.warning("The database cannot be used (viewers): %s", error)
                await asyncio.sleep(LOOK_SECONDS)
                continue
            for pk, each in found.items():
                if pk in self._watched:
                    self._watched[pk].take(each)

    async def _listen(self) -> None:
        while True:
            try:
                async for ids in news.told_elsewhere():
                    self.told(ids)
            except (redis.RedisError, OSError) as error:
                logger.warning(
                    "Redis cannot be reached (%s): viewers look by themselves.", type(error).__name__
                )
            await asyncio.sleep(news.REST_SECONDS)


_lookouts: WeakKeyDictionary[asyncio.AbstractEventLoop, Lookout] = WeakKeyDictionary()


def _told_here(ids: Collection[UUID]) -> None:
    for lookout in list(_lookouts.values()):
        lookout.told(ids)


news.listen_here(_told_here)


def how_many() -> int:
    """Viewers of this process."""
    return sum(lookout.viewers for lookout in list(_lookouts.values()))


async def follow(session_id: UUID, after: int) -> AsyncIterator[bytes]:
    """Its finals after that seq, and each change of its state, until it is over."""
    lookout = _lookouts.setdefault(asyncio.get_running_loop(), Lookout())
    until = monotonic() + LONGEST_SECONDS
    yield f"retry: {RECONNECT_MS}\n\n".encode()
    async with lookout.watching(session_id) as watched:
        seq, told = after, b""
        while monotonic() < until:
            changed, state = watched.changed, watched.state_event()
            if watched.seq >= 0:
                if seq < watched.floor:
                    page = await in_database(_page, session_id, seq)
                    seq = page[-1].seq if page else watched.floor
                    yield b"".join(event.text for event in page)
                    continue
                fresh = [event for event in watched.recent if event.seq > seq]
                if fresh:
                    seq = fresh[-1].seq
                    yield b"".join(event.text for event in fresh)
                if state != told:
                    told = state
                    yield state
                if watched.is_over:
                    return
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    await changed.wait()
            except TimeoutError:
                yield b":\n\n"


def _event(name: str, data: Mapping[str, Any], seq: int | None = None) -> bytes:
    number = b"" if seq is None else b"id: %d\n" % seq
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), number, orjson.dumps(data))


def _final_event(final: FinalResult) -> _Event:
    return _Event(final.seq, _event("result", result_as_json(final), final.seq))


def _page(session_id: UUID, after: int) -> list[_Event]:
    finals = FinalResult.objects.filter(session=session_id, seq__gt=after).order_by("seq")
    return [_final_event(final) for final in finals[:PAGE]]


def _news_of(known: Mapping[UUID, int]) -> dict[UUID, _News]:
    """What there is beyond what is known, -1 of those of which nothing is."""
    ids = list(known)
    found: dict[UUID, _News] = {}
    for first in range(0, len(ids), SESSIONS_AT_A_TIME):
        found |= _some_news({pk: known[pk] for pk in ids[first : first + SESSIONS_AT_A_TIME]})
    return found


def _some_news(known: Mapping[UUID, int]) -> dict[UUID, _News]:
    rows = LiveSession.objects.filter(pk__in=known).values_list("pk", "state", "reason", "last_seq")
    # Read before the finals: of one that has ended they are all there.
    states = {pk: (state, reason, last_seq) for pk, state, reason, last_seq in rows}
    finals: dict[UUID, list[_Event]] = {}
    newer = Q()
    for pk, (_, _, last_seq) in states.items():
        if 0 <= known[pk] < last_seq:
            newer |= Q(session=pk, seq__gt=known[pk])
    if newer:
        for final in FinalResult.objects.filter(newer).order_by("seq"):
            finals.setdefault(final.session_id, []).append(_final_event(final))
    gone = (GONE, "", 0)
    return {pk: _News(*states.get(pk, gone), finals.get(pk, ())) for pk in known}
