"""Following a job from a program that runs for a moment, where nobody else may be there to run it."""

from __future__ import annotations

from django.conf import settings

from jobs.models import TranscriptionJob, WorkerProcess
from jobs.running.execution import execute
from jobs.running.leases import keeper


def is_alone() -> bool:
    """Whether no worker is alive, so that jobs wait until this process runs them itself."""
    return not WorkerProcess.objects.alive().exists()


def advance(job: TranscriptionJob, *, alone: bool) -> None:
    """Read again how far the job is; if we are alone, run it if it may be run now."""
    job.refresh_from_db()
    if alone and TranscriptionJob.objects.claim_one(job, keeper().name, settings.LEASE_SECONDS):
        job.refresh_from_db()
        execute(job, keeper())
        job.refresh_from_db()
