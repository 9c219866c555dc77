"""Running a job apart: in a process of its own, with limits, because it brought its workers down before.

Only the child's own death makes the job dead. A worker that is killed while it watches costs nothing: its
lease runs out, and the job comes here again.
"""

from __future__ import annotations

import logging
import resource
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

from django.conf import settings
from django.db import connection
from structlog.contextvars import bound_contextvars

from jobs import lifecycle
from jobs.lifecycle import CallReport
from jobs.models import InvalidTransition, TranscriptionJob
from jobs.running.execution import longest_attempt
from jobs.running.leases import LeaseKeeper
from routing.transport import Call

logger = logging.getLogger(__name__)

BEGUN = b"begun\n"
MEMORY_BYTES = 2 * 1024**3
CPU_SECONDS = 120
LOOK_SECONDS = 0.2
# A child that did not get as far as the job says nothing about it, but may cost as much again at once.
UNBEGUN_SECONDS = 10.0
UNBEGUN = CallReport(error_code="isolation_failed", error_message="The job's own process could not begin.")


def limit_this_process() -> None:
    """The child's limits: address space, CPU time, and no core file."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run_apart(job: TranscriptionJob, leases: LeaseKeeper) -> None:
    """Run `job`, claimed by this process, in a child; bury it if the child dies of it."""
    # It is the child that calls the provider; this is for as long as the child may take.
    call = Call(longest_attempt(job) + CPU_SECONDS)
    with bound_contextvars(**job.log_ids), leases.hold(job, call):
        connection.close()
        code, begun = _watch(job, call)
        try:
            if code == 0:
                return
            if call.aborted:
                lifecycle.release(job)
            elif not begun:
                lifecycle.wait(job, UNBEGUN_SECONDS, UNBEGUN, counted=False)
            else:
                lifecycle.bury(job, _epitaph(code))
        except InvalidTransition:
            logger.info("Job %s ended or was taken over while it ran apart.", job.pk)


def _watch(job: TranscriptionJob, call: Call) -> tuple[int | None, bool]:
    """The child's exit code (None if it had to be killed for taking too long) and whether it had begun."""
    command = [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "run_isolated"]
    command += [str(job.pk), str(job.lease_token)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 (our own program)
    deadline = monotonic() + call.remaining()
    code: int | None = None
    try:
        while code is None and monotonic() < deadline and not call.aborted:
            try:
                code = child.wait(timeout=LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if child.poll() is None:
            child.kill()
        output, _ = child.communicate()
    return code, output.startswith(BEGUN)


def _epitaph(code: int | None) -> str:
    match code:
        case None:
            died = "it took too long and was killed"
        case negative if negative < 0:
            died = f"it was ended by {signal.Signals(-negative).name}"
        case _:
            died = f"it ended with exit code {code}"
    return f"The job brought down the process that it had to itself: {died}."
