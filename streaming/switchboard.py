"""The live sessions of this process: how many there may be, when they are written down, how they stop.

One writer stores what all of them have come to, in one transaction, so that neither a session's own course
waits for the database nor the database for a thousand sessions one by one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError

from jobs.running.leases import process_name
from streaming import lifecycle, metrics
from streaming.database import in_database
from streaming.models import LiveSession
from streaming.refusals import too_many_requests, unavailable
from streaming.rules.events import Draining, Superseded

if TYPE_CHECKING:  # it imports this module
    from streaming.relay import Relay

logger = logging.getLogger(__name__)

# Opening one takes milliseconds of the interpreter, for which all who speak would wait at each turn of the
# loop: those who come wait instead.
OPENED_AT_ONCE = 2
# What is said waits so long for what others say meanwhile, and so does a client for its Ack.
WRITE_SECONDS = 0.5
# Whoever ends does so for less.
LAST_SECONDS = 0.25
TRY_AGAIN_SECONDS = 1.0
RETRY_SECONDS = 5
# After the deadline: for sockets to be closed, and the last to be stored.
SLACK_SECONDS = 3.0


class Switchboard:
    """Used by one event loop. Its tasks run while there are sessions."""

    def __init__(self) -> None:
        self.relays: set[Relay] = set()
        self.opening = asyncio.Semaphore(OPENED_AT_ONCE)
        self._attending: dict[UUID, Relay] = {}
        self._news: set[Relay] = set()
        self._something = asyncio.Event()
        self._leaving: dict[Relay, asyncio.Future[bool]] = {}
        self._somebody_leaves = asyncio.Event()
        self._everybody_left = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._arriving = 0
        self._draining: Draining | None = None

    @contextmanager
    def room(self) -> Iterator[None]:
        """Hold a place for who is asked in for, and who is to join without waiting for anything after that.

        Raises Refused: 503 when this process is to stop, 429 when it has as many sessions as it may.
        """
        if self._draining:
            raise unavailable(RETRY_SECONDS)
        if settings.LIVE_SESSIONS and len(self.relays) + self._arriving >= settings.LIVE_SESSIONS:
            raise too_many_requests(RETRY_SECONDS)
        self._arriving += 1
        self._everybody_left.clear()
        try:
            yield
        finally:
            self._arriving -= 1
            self._note_if_empty()

    def join(self, relay: Relay) -> None:
        """Of two relays here that have the same session, the one that had it first is over at once."""
        other = self._attending.setdefault(relay.session_id, relay)
        if other is not relay:
            older, self._attending[relay.session_id] = sorted((other, relay), key=lambda each: each.epoch)
            older.happened(Superseded())
        self.relays.add(relay)
        self._everybody_left.clear()
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._keep_writing()), loop.create_task(self._keep_renewing())]
        if self._draining:
            # It was asked in before: it goes elsewhere, or is refused, at once.
            relay.happened(self._draining)

    def leave(self, relay: Relay) -> None:
        self.relays.discard(relay)
        self._news.discard(relay)
        if self._attending.get(relay.session_id) is relay:
            del self._attending[relay.session_id]
        self._note_if_empty()
        if not self.relays:
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    def _note_if_empty(self) -> None:
        if not self.relays and not self._arriving:
            self._everybody_left.set()

    def has_news(self, relay: Relay) -> None:
        """There is something to be stored."""
        self._news.add(relay)
        self._something.set()

    async def write_last(self, relay: Relay) -> bool:
        """Store the last that it has come to, together with that of others; whether it was stored.

        While the database is away, it is waited for.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._leaving[relay] = done
        self.has_news(relay)
        self._somebody_leaves.set()
        try:
            return await done
        finally:
            del self._leaving[relay]

    async def drain(self, within: float) -> None:
        """Accept nobody, have those who can go elsewhere, and wait for the others so many seconds."""
        self._draining = Draining(within)
        for relay in list(self.relays):
            relay.happened(self._draining)
        try:
            async with asyncio.timeout(within + SLACK_SECONDS):
                while self.relays or self._arriving:
                    await self._everybody_left.wait()
        except TimeoutError:
            logger.warning("%d live sessions are cut off.", len(self.relays))

    async def _keep_writing(self) -> None:
        while True:
            await self._something.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS - LAST_SECONDS):
                    await self._somebody_leaves.wait()
            await asyncio.sleep(LAST_SECONDS)
            self._something.clear()
            self._somebody_leaves.clear()
            relays = list(self._news)
            self._news.clear()
            try:
                await self._write(relays)
            except (OperationalError, InterfaceError) as error:
                logger.warning("Nothing can be stored for now: %s", type(error).__name__)
                await asyncio.sleep(TRY_AGAIN_SECONDS)
                for relay in self.relays.intersection(relays):
                    self.has_news(relay)

    async def _write(self, relays: Sequence[Relay]) -> None:
        """Store what these have come to. OperationalError, InterfaceError: none of it was; do it again."""
        progress = [relay.progress() for relay in relays]
        leaving = [self._leaving.get(relay) for relay in relays]
        try:
            lost = await in_database(lifecycle.store, progress)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 (its session fails with it)
            if len(relays) > 1:
                # What one of them has come to cannot be stored, which shall not keep the others from it.
                for relay in relays:
                    await self._write([relay])
                return
            lost = {relays[0].session_id}
            relays[0].fail(error)
        for relay, come, left in zip(relays, progress, leaving, strict=True):
            if come.session_id not in lost:
                relay.stored(come)
            else:
                relay.happened(Superseded())
            if left is not None and not left.done():
                left.set_result(come.session_id not in lost)

    async def _keep_renewing(self) -> None:
        wait = settings.HEARTBEAT_SECONDS
        while True:
            await asyncio.sleep(wait)
            wait = settings.HEARTBEAT_SECONDS
            try:
                await in_database(_renew, list(self._attending))
            except Error as error:
                logger.warning("Live sessions' leases cannot be renewed: %s", type(error).__name__)
                # Leases may have run out by the time the database is back.
                wait = TRY_AGAIN_SECONDS


_of: WeakKeyDictionary[asyncio.AbstractEventLoop, Switchboard] = WeakKeyDictionary()


def switchboard() -> Switchboard:
    """That of the running event loop, of which a process that serves has one."""
    loop = asyncio.get_running_loop()
    if loop not in _of:
        _of[loop] = Switchboard()
    return _of[loop]


def _relays() -> list[Relay]:
    """Those of this process. Whoever collects metrics asks from a thread: copied in one step."""
    return [relay for board in list(_of.values()) for relay in list(board.relays)]


def _held(buffer: str) -> float:
    return float(sum(relay.held_bytes[buffer] for relay in _relays()))


metrics.ACTIVE.set_function(lambda: float(len(_relays())))
for _buffer in ("audio", "results"):
    metrics.BUFFER_BYTES.labels(_buffer).set_function(partial(_held, _buffer))


def _renew(ids: Collection[UUID]) -> None:
    mine = LiveSession.objects.filter(pk__in=ids, relay=process_name())
    mine.renew(settings.LEASE_SECONDS)
    lifecycle.count(mine.open())
