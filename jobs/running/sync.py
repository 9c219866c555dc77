"""Running a job while its caller waits: in this process, in one of SYNC_SLOTS threads.

The process holds the job's lease like any worker. A caller who has waited long enough is answered 202 while
the thread goes on; only if this process dies does a worker take over, when the lease has run out.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from contextvars import copy_context
from functools import cache
from time import monotonic
from types import TracebackType
from typing import Self
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from structlog.contextvars import bound_contextvars

from jobs.models import TranscriptionJob
from jobs.running.execution import execute
from jobs.running.leases import keeper
from jobs.running.permission import permitted
from routing import limits
from routing.breaker import breaker_of
from routing.limits import Use
from routing.regions import Region

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
_running: dict[UUID, Future[None]] = {}


class Slot:
    """One of the process's slots, if there is one: `is_taken` tells. Given back at the end, or by the job."""

    def __init__(self, *, wanted: bool, wait: float) -> None:
        self._wanted = wanted
        self._wait = wait
        self.is_taken = False
        self._region: Region | None = None
        self._at_provider = limits.Slot()

    def __enter__(self) -> Self:
        if self._wait:
            # Others need the connection to end, and so to free a slot.
            connection.close()
        if self._wanted:
            self.is_taken = (
                _slots().acquire(timeout=self._wait) if self._wait else _slots().acquire(blocking=False)
            )
        return self

    def may_call(self, region: Region) -> bool:
        """Whether the region may be called for it now; what that takes at the provider goes with the slot."""
        if (taken := permitted(region, Use.SYNC)) is None:
            return False
        self._region, self._at_provider = region, taken
        return True

    def run(self, job: TranscriptionJob) -> None:
        """Run `job`, leased to this process, in the slot."""
        self.is_taken = False
        at_provider, self._at_provider = self._at_provider, limits.Slot()
        self._region = None
        future = _running[job.pk] = _pool().submit(copy_context().run, _run, job)
        # Who waits for the job does not wait for this.
        future.add_done_callback(lambda _: _over(job.pk, at_provider))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._at_provider.give_back()
        if self._region is not None:
            # The job was refused after all.
            breaker_of(self._region.name).returned()
        if self.is_taken:
            _slots().release()


def running(job_id: UUID) -> Future[None] | None:
    """Done when the job's attempt in this process is; None if it does not run here."""
    return _running.get(job_id)


def wait(job: TranscriptionJob, seconds: float, *, through_retries: bool) -> bool:
    """Wait for a job that runs here until it has ended, for `seconds` at most; whether it is known to have.

    A job that waits for its next attempt has not: it is followed only `through_retries`, in its row. The job
    has been accepted, so nothing that goes wrong with looking is an error any more.
    """
    deadline = monotonic() + seconds
    future = running(job.pk)
    # Nobody needs a connection to wait.
    connection.close()
    if future is not None:
        wait_for_futures([future], timeout=seconds)
    pause = threading.Event()
    # With its recording, by which it is shown.
    rows = TranscriptionJob.objects.select_related("recording")
    try:
        job.refresh_from_db(from_queryset=rows)
        while through_retries and not job.is_ended and monotonic() < deadline:
            connection.close()
            pause.wait(LOOK_SECONDS)
            job.refresh_from_db(from_queryset=rows)
    except (OperationalError, InterfaceError, TranscriptionJob.DoesNotExist) as error:
        with bound_contextvars(**job.log_ids):
            logger.warning("Job %s cannot be looked at: %s", job.pk, type(error).__name__)
    return job.is_ended


def _run(job: TranscriptionJob) -> None:
    try:
        execute(job, keeper())
    except Exception:
        with bound_contextvars(**job.log_ids):
            logger.exception("Job %s failed in this process; its lease will run out.", job.pk)
    finally:
        _slots().release()
        connection.close()


def _over(job_id: UUID, at_provider: limits.Slot) -> None:
    _running.pop(job_id, None)
    # While others run here, the next one will want it.
    (at_provider.pass_on if _running else at_provider.give_back)()


@cache
def _slots() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(settings.SYNC_SLOTS)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings.SYNC_SLOTS, thread_name_prefix="sync")
