"""Waiting for a job's result in the event loop: it costs no thread and no database connection.

One task asks for all jobs that are waited for here whether they have ended, as long as there are any. A job
that runs in this process is waited for directly.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from uuid import UUID
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError, connection

from jobs.gateway import answers
from jobs.gateway.held import Held, InThread
from jobs.models import TranscriptionJob
from jobs.running import sync

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
REST_SECONDS = 1.0


class Lookout:
    """Looks after all jobs that are waited for in one event loop."""

    def __init__(self) -> None:
        self._waited_for: dict[UUID, asyncio.Event] = {}
        self._looking: asyncio.Task[None] | None = None

    async def ended(self, job_id: UUID) -> None:
        """Return when the job has ended, or was deleted."""
        over = self._waited_for.setdefault(job_id, asyncio.Event())
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            await over.wait()
        finally:
            self._waited_for.pop(job_id, None)
            if not self._waited_for and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            waited_for = set(self._waited_for)
            try:
                still_open = await sync_to_async(_open_among, thread_sensitive=False)(waited_for)
            except Exception as error:
                # Whatever it is: nobody else looks, and all who wait would wait in vain.
                unforeseen = not isinstance(error, DatabaseError | InterfaceError)
                logger.warning("Jobs that are waited for cannot be looked at: %s", error, exc_info=unforeseen)
                await asyncio.sleep(REST_SECONDS)
                continue
            for job_id in waited_for - still_open:
                if over := self._waited_for.get(job_id):
                    over.set()


class ResultOf(Held):
    """The job's result, waited for `seconds` at most. Made last in a view: it gives the connection back."""

    def __init__(self, job: TranscriptionJob, seconds: float) -> None:
        super().__init__()
        self._job_id = job.pk
        self._until = monotonic() + seconds
        self._began_here = job.receipt["mode"] == "sync"
        self._running = sync.running(job.pk)
        # Nobody needs a connection to wait.
        connection.close()

    async def settle(self, in_thread: InThread) -> None:
        """Wait, and then be the answer. `in_thread` calls a function where the database may be asked."""
        if self._running is not None:
            # Which leaves it alone, when the client leaves too.
            await asyncio.wait([asyncio.wrap_future(self._running)], timeout=self._until - monotonic())
        if self._began_here and await in_thread(self._fill):
            return
        await _until_ended(self._job_id, self._until - monotonic())
        await in_thread(self._fill)

    def _fill(self) -> bool:
        """Become the answer, whatever there is by now; whether the job has ended."""
        answer = answers.answer_for(self._job_id)
        self.status_code, self.content = answer.status, answer.body
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.headers[name] = value
        return answer.is_final


_lookouts: WeakKeyDictionary[asyncio.AbstractEventLoop, Lookout] = WeakKeyDictionary()


async def _until_ended(job_id: UUID, seconds: float) -> None:
    """Return when the job has ended, or after `seconds`."""
    lookout = _lookouts.setdefault(asyncio.get_running_loop(), Lookout())
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await lookout.ended(job_id)


def _open_among(ids: set[UUID]) -> set[UUID]:
    try:
        return set(TranscriptionJob.objects.open().filter(pk__in=ids).values_list("pk", flat=True))
    finally:
        connection.close()
