"""A process that runs queued jobs.

1. It looks for work when woken (a Celery message) and, by itself, every POLL_SECONDS: with the broker down,
   or for a job whose wake-up was lost, that is all there is.
2. At most `concurrency` calls of the provider at a time, whoever asked for the look. A look goes on until
   nothing is left, and one that finds a job has another thread look as well, so that one message fills all
   slots. What follows the answer takes no slot.
3. To stop: claim no more, wait SHUTDOWN_GRACE_SECONDS, give the rest back without a strike, exit.
4. A thread cannot be ended from outside. When one is stuck the process leaves, so that whoever looks after it
   starts another; the embedded worker, which has nobody, does with a slot less.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from time import monotonic

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models.functions import Now
from django.utils import timezone

from jobs import metrics
from jobs.batches import work
from jobs.companions import companions
from jobs.forgetting import retention
from jobs.models import Priority, TranscriptionJob, WorkerProcess
from jobs.queues import BATCH_QUEUE, ISOLATION_QUEUE, WEBHOOK_QUEUE
from jobs.running import isolation, sweeper
from jobs.running.execution import execute
from jobs.running.leases import LeaseKeeper, keeper
from jobs.running.permission import permitted
from jobs.running.wakeups import serve_here
from jobs.webhooks import deliverer
from routing import limits, tracing
from routing.breaker import breaker_of
from routing.limits import Use
from routing.probes import Watch
from routing.regions import Region, all_regions, region_served_by

logger = logging.getLogger(__name__)

REPORT_SECONDS = 5.0
GATHER_SECONDS = 0.05
STUCK_EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h


class _Slots:
    """How many jobs may run at once, and how many do. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._changed = threading.Lock()

    @property
    def free(self) -> int:
        return self.limit - self.taken

    def take(self) -> bool:
        with self._changed:
            if self.taken == self.limit:
                return False
            self.taken += 1
            return True

    def give_back(self) -> None:
        with self._changed:
            self.taken -= 1


class _Slot:
    """One of them, taken, and one at the provider; given back once, by whoever is first."""

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots
        self._given_back = False
        self._at_provider = limits.Slot()

    def may_call(self, region: Region | None) -> bool:
        """Whether a job of the region may be begun now."""
        if region is None:
            return True
        if (taken := permitted(region, Use.QUEUED)) is None:
            return False
        self._at_provider = taken
        return True

    @property
    def lowest(self) -> Priority:
        """The lowest priority that may have it: low is for what stays free, here and at the provider."""
        idle = self._slots.taken <= max(1, int(self._slots.limit * settings.LOW_PRIORITY_SHARE))
        return Priority.LOW if idle and self._at_provider.is_idle_capacity else Priority.NORMAL

    def give_back(self, *, for_the_next: bool = False) -> None:
        """`for_the_next`: another job is looked for at once, which may have the provider's."""
        if not self._given_back:
            self._given_back = True
            self._slots.give_back()
            (self._at_provider.pass_on if for_the_next else self._at_provider.give_back)()


class Worker:
    """The jobs that this process runs, and the threads that look after them.

    `hear_of`: has it woken by messages of one more queue. With it, it serves the regions that are made while
    it runs as well.
    """

    def __init__(
        self,
        queues: Sequence[str],
        concurrency: int,
        leases: LeaseKeeper | None = None,
        hear_of: Callable[[str], None] | None = None,
    ) -> None:
        self.leases = keeper() if leases is None else leases
        self.queues = [queue for queue in queues if queue not in (WEBHOOK_QUEUE, BATCH_QUEUE)]
        self.delivers = WEBHOOK_QUEUE in queues
        self.opens_batches = BATCH_QUEUE in queues
        self.concurrency = concurrency
        self._slots = {queue: _Slots(1) for queue in self.queues if queue == ISOLATION_QUEUE}
        self._shared = _Slots(concurrency)
        self._slots |= {queue: self._shared for queue in self.queues if queue != ISOLATION_QUEUE}
        self._hear_of = hear_of
        # As many again for what is done with answers, and one for the job in isolation.
        self._pool = ThreadPoolExecutor(2 * concurrency + 1, thread_name_prefix="job")
        self._stopping = threading.Event()
        self._minding = threading.Thread(target=self._mind, name="worker", daemon=True)
        self._deliverer = threading.Thread(target=self._deliver, name="deliver", daemon=True)
        self._deliveries_asked = threading.Event()
        self._batches_asked = threading.Event()
        self._clock_was_off = False
        self._watch = Watch(self.leases.name, self.queues, self._slots_of_a_region)
        self.looked_at = monotonic()

    def start(self) -> None:
        self._watch.start()
        self._minding.start()
        threading.Thread(target=self._purge, name="purge", daemon=True).start()
        threading.Thread(target=self._sweep_beside, name="companions", daemon=True).start()
        if self.delivers:
            self._deliverer.start()
        if self.opens_batches:
            threading.Thread(target=self._mind_batches, name="batches", daemon=True).start()

    def run_available(self, queue: str) -> None:
        """Run jobs of `queue` until none is left or all slots are taken."""
        slots, region = self._slots[queue], region_served_by(queue)
        while not self._stopping.is_set() and not self.leases.is_cut_off and slots.take():
            slot = _Slot(slots)
            try:
                if not slot.may_call(region):
                    return
                job = TranscriptionJob.objects.claim(
                    queue, self.leases.name, settings.LEASE_SECONDS, lowest=slot.lowest
                )
                if job is None:
                    if region is not None:
                        breaker_of(region.name).returned()
                    return
                metrics.job_claimed(job)
                if queue == ISOLATION_QUEUE:
                    isolation.run_apart(job, self.leases)
                else:
                    if slots.free:
                        # Where one was, there may be more.
                        self._pool.submit(self._look_at, queue)
                    execute(job, self.leases, answered=partial(self._pass_on, slot, queue))
                slot.give_back(for_the_next=True)
            finally:
                slot.give_back()

    def _pass_on(self, slot: _Slot, queue: str) -> None:
        """Let another thread have the slot: the provider is free, and this one still has an answer to store.

        Of a single slot nothing is passed on: who asks for one job at a time gets one at a time.
        """
        if self.concurrency > 1 and not self._stopping.is_set():
            slot.give_back(for_the_next=True)
            self._pool.submit(self._look_at, queue)

    def deliver_soon(self) -> None:
        """Look for webhooks that are due, in the thread that delivers them."""
        self._deliveries_asked.set()

    def batches_soon(self) -> None:
        """Look for what is to be done to batches, in the thread that does it."""
        self._batches_asked.set()

    def stop(self) -> None:
        """Claim nothing more, and say so to all."""
        self._stopping.set()
        self._watch.stop()

    def drain(self, grace: float) -> None:
        """Claim nothing more; wait `grace` seconds for what runs here; the rest goes back to the queue."""
        self.stop()
        deadline = monotonic() + grace
        # Slots and not leases: a job that was claimed this moment has a slot already.
        while any(slots.taken for slots in self._slots.values()) and monotonic() < deadline:
            time.sleep(0.05)
        self.leases.drain(max(0.0, deadline - monotonic()))
        if self._deliverer.is_alive():
            # It writes down what it is at, and gives back what it has claimed beyond.
            self._deliverer.join(max(0.0, deadline - monotonic()))
        limits.renew()
        if self._minding.is_alive():
            # Or it would report that it is here after all.
            self._minding.join(max(0.0, deadline - monotonic()))
        WorkerProcess.objects.filter(pk=self.leases.name).delete()
        connection.close()

    def exit_within(self, grace: float, code: int = 0) -> None:
        """Drain in a thread of its own and then end the process: threads in a call cannot be joined."""

        def leave() -> None:
            try:
                self.drain(grace)
            finally:
                tracing.flush()
                logging.shutdown()
                os._exit(code)

        threading.Thread(target=leave, name="drain").start()

    def _slots_of_a_region(self) -> int:
        return 0 if self.leases.is_cut_off else self.concurrency

    def _mind(self) -> None:
        """Report, sweep and look for work that no message told of."""
        sweep_at = report_at = 0.0
        while not self._stopping.is_set():
            if self.leases.has_stuck_threads and not settings.EMBEDDED:
                logger.error("A thread is stuck and keeps its slot: this process leaves, to be started anew.")
                self.exit_within(settings.SHUTDOWN_GRACE_SECONDS, STUCK_EXIT_CODE)
                return
            self.looked_at = monotonic()
            with _guarded("worker"):
                if monotonic() >= report_at:
                    self._report()
                    report_at = monotonic() + REPORT_SECONDS
                if monotonic() >= sweep_at:
                    sweeper.sweep()
                    sweep_at = monotonic() + settings.SWEEP_SECONDS
                self._serve_new_regions()
                for queue in self.queues:
                    if self._slots[queue].free and TranscriptionJob.objects.claimable(queue).exists():
                        self._pool.submit(self._look_at, queue)
            self._stopping.wait(settings.POLL_SECONDS)

    def _serve_new_regions(self) -> None:
        if self._hear_of is None:
            return
        for region in all_regions().values():
            if region.queue not in self._slots:
                # First: it may be woken at once.
                self._slots[region.queue] = self._shared
                self.queues.append(region.queue)
                self._hear_of(region.queue)
                logger.info("Region %s is new, and served here from now on.", region.name)

    def _look_at(self, queue: str) -> None:
        with _guarded(queue):
            self.run_available(queue)

    def _sweep_beside(self) -> None:
        while not self._stopping.wait(settings.SWEEP_SECONDS):
            for companion in companions():
                with _guarded("companions"):
                    companion.sweep(self._stopping.is_set)

    def _purge(self) -> None:
        while not self._stopping.wait(settings.SWEEP_SECONDS):
            with _guarded("purge"):
                retention.purge_when_due(self._stopping.is_set)

    def _deliver(self) -> None:
        receivers = deliverer.Receivers()
        while not self._stopping.is_set():
            if self._deliveries_asked.wait(settings.POLL_SECONDS):
                # Others end in this moment too, and are claimed and written down together.
                self._stopping.wait(GATHER_SECONDS)
            self._deliveries_asked.clear()
            with _guarded(WEBHOOK_QUEUE):
                deliverer.deliver_due(self._deliveries_asked, receivers, self._stopping)

    def _mind_batches(self) -> None:
        while not self._stopping.is_set():
            self._batches_asked.wait(settings.POLL_SECONDS)
            self._batches_asked.clear()
            with _guarded(BATCH_QUEUE):
                work.do_all(self._stopping.is_set)

    def _report(self) -> None:
        reported, _ = WorkerProcess.objects.update_or_create(
            name=self.leases.name,
            defaults={
                "queues": [
                    *self.queues,
                    *([WEBHOOK_QUEUE] if self.delivers else []),
                    *([BATCH_QUEUE] if self.opens_batches else []),
                ],
                "concurrency": self.concurrency,
                "running": len(self.leases),
                "seen_at": Now(),
                "clock_at": timezone.now(),
            },
        )
        reported.refresh_from_db(fields=["seen_at"])
        self._watch_clock(reported)

    def _watch_clock(self, reported: WorkerProcess) -> None:
        """Leases go by the database's clock; what is signed and dated here goes by this host's."""
        ahead = reported.clock_ahead
        if ahead is not None and not self._clock_was_off:
            seconds = ahead.total_seconds()
            logger.warning(
                "This host's clock is %.0f s %s the database's: set it. Receivers may refuse its webhooks.",
                abs(seconds),
                "ahead of" if seconds > 0 else "behind",
            )
        self._clock_was_off = ahead is not None


@contextmanager
def _guarded(what: str) -> Iterator[None]:
    """The edge of a thread: what goes wrong is logged, and its database connection is given back."""
    try:
        yield
    except DatabaseError as error:
        logger.warning("The database cannot be used (%s): %s", what, error)
    except Exception:
        logger.exception("A thread of the worker failed (%s).", what)
    finally:
        connection.close()


_current: Worker | None = None


def start(queues: Sequence[str], concurrency: int, hear_of: Callable[[str], None] | None = None) -> Worker:
    """Make this process a worker of `queues`, and with `hear_of` (see Worker) of regions to come."""
    global _current
    _current = Worker(queues, concurrency, hear_of=hear_of)
    _current.start()
    if _current.delivers:
        serve_here(WEBHOOK_QUEUE, _current.deliver_soon)
    if _current.opens_batches:
        serve_here(BATCH_QUEUE, _current.batches_soon)
    return _current


def is_silent_for(seconds: float) -> bool:
    """Whether this process is a worker and its main thread has not looked around for so long."""
    return _current is not None and monotonic() - _current.looked_at > seconds


def current() -> Worker:
    """This process's worker; only a worker's own tasks may ask."""
    if _current is None:
        raise RuntimeError("this process was not started as a worker")
    return _current
