"""The leases that this process holds, and keeping them.

One thread renews all of them every HEARTBEAT_SECONDS. A lease that is found lost has its call aborted: its
answer could not be written any more. Another thread, which never asks the database, watches the clock: when a
lease has not been renewed for three quarters of its time (three heartbeats), because the database is gone or
merely hangs, the process counts itself as cut off, and aborts its calls before others may make them again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from time import monotonic
from uuid import UUID

from django.conf import settings
from django.db import connection
from structlog.contextvars import bound_contextvars

from jobs import lifecycle
from jobs.models import InvalidTransition, TranscriptionJob
from routing.transport import Call

logger = logging.getLogger(__name__)

# Of its time, after which a lease that could not be renewed is given up.
CUT_OFF_AFTER = 0.75
WATCH_SECONDS = 0.5
# How long after its call's deadline a job may still take before its thread counts as stuck.
STUCK_AFTER_SECONDS = 60.0


def process_name() -> str:
    """`host:pid:start`, which no other process has or will have. It names the holder of a lease."""
    return _name_of(os.getpid())


@cache
def _name_of(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{_started(pid)}"


def is_running_here(name: str) -> bool | None:
    """Whether the process of this name is alive; None when it is another host's, which cannot be told."""
    host, pid, started = name.rsplit(":", 2)
    if host != socket.gethostname():
        return None
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """When the process started, told from a later one of the same id; "" if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if os.path.exists("/proc/self"):
            return ""
    # No /proc, as on macOS: whether the id is in use is all that can be told.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "-"


@dataclass(slots=True)
class Held:
    """A job whose lease this process holds, and the provider call made under it. Instants are monotonic."""

    job: TranscriptionJob
    call: Call
    stuck_at: float
    renewed_at: float


class LeaseKeeper:
    """Holds and renews the leases of one process. Thread-safe."""

    def __init__(self) -> None:
        self.name = process_name()
        self._held: dict[UUID, Held] = {}
        self._changed = threading.Lock()
        self._threads: list[threading.Thread] = []

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_cut_off(self) -> bool:
        """A lease could not be renewed for so long that others may have it soon."""
        return bool(self._not_renewed())

    @property
    def has_stuck_threads(self) -> bool:
        """A job's thread goes on long after the deadline of its call: only the process's end can end it."""
        now = monotonic()
        with self._changed:
            return any(held.stuck_at <= now for held in self._held.values())

    @contextmanager
    def hold(self, job: TranscriptionJob, call: Call) -> Iterator[None]:
        """Keep the job's lease while the block runs; `call` is aborted if it is lost."""
        token = job.lease_token
        if token is None:
            raise ValueError(f"Job {job.pk} is not claimed.")
        now = monotonic()
        with self._changed:
            self._held[token] = Held(job, call, now + call.remaining() + STUCK_AFTER_SECONDS, now)
            if not all(thread.is_alive() for thread in self._threads) or not self._threads:
                self._threads = [
                    threading.Thread(target=self._beat, name="heartbeat", daemon=True),
                    threading.Thread(target=self._watch, name="leases", daemon=True),
                ]
                for thread in self._threads:
                    thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._held.pop(token, None)

    def heartbeat(self) -> None:
        """Renew all leases once, but for those of threads that are stuck: another process is to take over.

        Raises what the database raises; `is_cut_off` tells when that has gone on for too long.
        """
        began, live = monotonic(), self._live()
        if not live:
            return
        lost = TranscriptionJob.objects.renew(list(live), settings.LEASE_SECONDS)
        for token, held in live.items():
            if token not in lost:
                held.renewed_at = began
            elif token in self._held:
                _warn("The lease of job %s is lost.", held.job)
                held.call.abort()

    def drain(self, grace: float) -> None:
        """Wait until nothing runs here any more, `grace` seconds at most; then give the rest back.

        Their threads may go on, but can write nothing: end the process. Jobs whose threads are stuck are left
        to the sweeper, which counts it against them.
        """
        deadline, pause = monotonic() + grace, threading.Event()
        while self._live() and monotonic() < deadline:
            pause.wait(0.05)
        for held in self._live().values():
            try:
                lifecycle.release(held.job)
            except InvalidTransition:
                logger.info("Job %s ended just now.", held.job.pk)
        connection.close()

    def _live(self) -> dict[UUID, Held]:
        """What is held by its token, but for what is held by threads that are stuck."""
        now = monotonic()
        with self._changed:
            return {token: held for token, held in self._held.items() if held.stuck_at > now}

    def _not_renewed(self) -> list[Held]:
        """What others may hold soon."""
        since = monotonic() - CUT_OFF_AFTER * settings.LEASE_SECONDS
        return [held for held in self._live().values() if held.renewed_at < since]

    def _beat(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(settings.HEARTBEAT_SECONDS)
            try:
                self.heartbeat()
            except Exception as error:  # noqa: BLE001 (a thread's edge)
                logger.warning("A heartbeat did not reach the database: %s", type(error).__name__)
            finally:
                connection.close()

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(min(WATCH_SECONDS, settings.HEARTBEAT_SECONDS))
            for held in self._not_renewed():
                if not held.call.aborted:
                    _warn("The lease of job %s could not be renewed: given up.", held.job)
                    held.call.abort()


def _warn(message: str, job: TranscriptionJob) -> None:
    with bound_contextvars(**job.log_ids):
        logger.warning(message, job.pk)


@cache
def keeper() -> LeaseKeeper:
    """This process's own."""
    return LeaseKeeper()
