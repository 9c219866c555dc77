"""A process that runs queued jobs.

1. It looks for work when woken (a Celery message) and, by itself, every POLL_SECONDS: with the broker down,
   or for a job whose wake-up was lost, that is all there is.
2. At most `concurrency` jobs at a time, whoever asked for the look. A look goes on until nothing is left.
3. To stop: claim no more, wait SHUTDOWN_GRACE_SECONDS, give the rest back without a strike, exit.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from time import monotonic

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.db.models.functions import Now

from jobs import isolation, sweeper, webhooks
from jobs.execution import execute
from jobs.leases import LeaseKeeper, keeper
from jobs.models import TranscriptionJob, WorkerProcess
from jobs.models.job import ISOLATION_QUEUE
from jobs.wakeups import WEBHOOK_QUEUE

logger = logging.getLogger(__name__)

REPORT_SECONDS = 5.0


class Worker:
    """The jobs that this process runs, and the thread that looks after them."""

    def __init__(self, queues: Sequence[str], concurrency: int, leases: LeaseKeeper | None = None) -> None:
        self.leases = leases or keeper()
        self.queues = [queue for queue in queues if queue != WEBHOOK_QUEUE]
        self.delivers = WEBHOOK_QUEUE in queues
        self.concurrency = concurrency
        self._slots = threading.BoundedSemaphore(concurrency)
        self._isolation_slot = threading.BoundedSemaphore(1)
        self._stopping = threading.Event()
        self._minder = threading.Thread(target=self._mind, name="worker", daemon=True)

    def start(self) -> None:
        self._minder.start()

    def run_available(self, queue: str) -> None:
        """Run jobs of `queue` until none is left or all slots are taken."""
        slots = self._isolation_slot if queue == ISOLATION_QUEUE else self._slots
        while not self._stopping.is_set() and not self.leases.is_cut_off and slots.acquire(blocking=False):
            try:
                job = TranscriptionJob.objects.claim(queue, self.leases.name, settings.LEASE_SECONDS)
                if job is None:
                    return
                if queue == ISOLATION_QUEUE:
                    isolation.run_apart(job, self.leases)
                else:
                    execute(job, self.leases)
            finally:
                slots.release()

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping.set()

    def drain(self, grace: float) -> None:
        """Claim nothing more, and wait `grace` seconds for what runs here; the rest goes back to the queue."""
        self.stop()
        self.leases.drain(grace)
        WorkerProcess.objects.filter(pk=self.leases.name).delete()
        connection.close()

    def exit_within(self, grace: float) -> None:
        """Drain in a thread of its own and then end the process: threads in a call cannot be joined."""

        def leave() -> None:
            try:
                self.drain(grace)
            finally:
                logging.shutdown()
                os._exit(0)

        threading.Thread(target=leave, name="drain").start()

    def _mind(self) -> None:
        """Report, sweep and look for work that no message told of."""
        sweep_at = report_at = 0.0
        while not self._stopping.wait(settings.POLL_SECONDS):
            try:
                if monotonic() >= report_at:
                    self._report()
                    report_at = monotonic() + REPORT_SECONDS
                if monotonic() >= sweep_at:
                    sweeper.sweep()
                    sweep_at = monotonic() + settings.SWEEP_SECONDS
                self._look()
            except DatabaseError as error:
                logger.warning("The database cannot be used: %s", error)
                connection.close()
            except Exception:
                logger.exception("The worker's own thread failed; it goes on.")
            finally:
                close_old_connections()

    def _look(self) -> None:
        for queue in self.queues:
            free = 1 if queue == ISOLATION_QUEUE else max(0, self.concurrency - len(self.leases))
            waiting = TranscriptionJob.objects.claimable(queue)[:free].count() if free else 0
            for _ in range(waiting):
                self._spawn(queue)
        if self.delivers and webhooks.are_due():
            threading.Thread(target=_and_close, args=(webhooks.deliver_due,), name="deliver", daemon=True).start()

    def _spawn(self, queue: str) -> None:
        threading.Thread(
            target=_and_close, args=(self.run_available, queue), name=f"look:{queue}", daemon=True
        ).start()

    def _report(self) -> None:
        WorkerProcess.objects.update_or_create(
            name=self.leases.name,
            defaults={
                "queues": [*self.queues, *([WEBHOOK_QUEUE] if self.delivers else [])],
                "concurrency": self.concurrency,
                "running": len(self.leases),
                "seen_at": Now(),
            },
        )


def _and_close(function: object, *args: object) -> None:
    """Run a thread's work and give its database connection back."""
    try:
        function(*args)  # type: ignore[operator]
    except Exception:
        logger.exception("A thread of the worker failed.")
    finally:
        connection.close()


_current: Worker | None = None


def start(queues: Sequence[str], concurrency: int) -> Worker:
    """Make this process a worker of `queues`."""
    global _current  # noqa: PLW0603
    _current = Worker(queues, concurrency)
    _current.start()
    return _current


def current() -> Worker:
    """This process's worker; only a worker's own tasks may ask."""
    assert _current is not None, "this process was not started as a worker"
    return _current
