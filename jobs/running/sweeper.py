"""What becomes of jobs that nobody looks after.

Every worker sweeps. Each move is fenced, so they may overlap. Storage is not asked: one that hangs would
keep a worker from all of this, and from reporting that it is here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db.models import QuerySet
from django.db.models.functions import Now
from structlog.contextvars import bound_contextvars

from jobs import lifecycle, metrics, usage
from jobs.audio.received import remove_abandoned
from jobs.forgetting.files import left_to_the_purge
from jobs.models import IdempotencyKey, InvalidTransition, Status, TranscriptionJob, WorkerProcess
from jobs.models.worker import FORGOTTEN_AFTER
from jobs.running.failover import leave_regions
from jobs.running.leases import is_running_here
from jobs.webhooks import endpoints

logger = logging.getLogger(__name__)

AT_A_TIME = 500


def sweep() -> None:
    """Queue again what lost its lease, fail what is past its deadline, forget what is long gone.

    And leave regions that cannot do their work, and remove the files that processes of this host were
    receiving when they were killed.
    """
    with left_to_the_purge():
        _each("stalled_job", TranscriptionJob.objects.stalled(), lifecycle.lose_lease)
        _each("overdue_job", TranscriptionJob.objects.overdue(), lifecycle.pass_deadline)
    leave_regions()
    IdempotencyKey.objects.expired().delete()
    WorkerProcess.objects.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()
    endpoints.forget()
    remove_abandoned()
    usage.merge_when_due()


def reclaim_from_the_dead() -> None:
    """Expire at once the leases of this host's processes that are gone, as after a kill and a restart."""
    running = TranscriptionJob.objects.filter(status=Status.RUNNING)
    names = running.values_list("worker", flat=True).distinct()
    gone = [name for name in names if is_running_here(name) is False]
    running.filter(worker__in=gone).update(lease_until=Now())
    WorkerProcess.objects.filter(name__in=gone).delete()
    sweep()


def _each(what: str, jobs: QuerySet[TranscriptionJob], move: Callable[[TranscriptionJob], None]) -> None:
    for job in jobs[:AT_A_TIME]:
        try:
            move(job)
        except InvalidTransition:
            continue
        metrics.RESCUES.labels(what).inc()
        with bound_contextvars(**job.log_ids):
            logger.warning("Swept job %s: it is %s now.", job.pk, job.status)
