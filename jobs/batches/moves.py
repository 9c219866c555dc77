"""Moving whole batches: cancelling, requeuing and deleting all their jobs.

MOVED_AT_ONCE jobs are moved within the request; what is more is written into the batch's row and done by
workers. It is never one transaction: each job's move holds the batch after the job's own row, and with two of
them others would wait in a circle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from django.db import transaction
from structlog.contextvars import bound_contextvars

from jobs import lifecycle
from jobs.batches.completion import seal
from jobs.forgetting.deletion import close_archives, delete_batch, delete_job
from jobs.models import Batch, BatchMove, InvalidTransition, Status, TranscriptionJob
from jobs.models.state import AudioDeleted
from jobs.queues import BATCH_QUEUE
from jobs.refusal import NotAccepted
from jobs.running.wakeups import wake
from routing.regions import UnknownRegion

logger = logging.getLogger(__name__)

MOVED_AT_ONCE = 100


Noted = AbstractContextManager[None]


def cancel(batch: Batch, noted: Noted | None = None) -> None:
    """Cancel what is open and leave unopened what is; the batch is sealed with that.

    What the context `noted` writes, here and below, is committed together with the move's being asked for.
    """
    _move(batch, BatchMove.CANCEL, noted)


def requeue(batch: Batch, noted: Noted | None = None) -> None:
    """Run what failed or died once more: the batch's next run, if it was finished."""
    _move(batch, BatchMove.REQUEUE, noted)


def delete(batch: Batch, noted: Noted | None = None) -> None:
    """Delete the batch with all its jobs and what is stored of them. It is not shown any more from now on."""
    _move(batch, BatchMove.DELETE, noted)


def _move(batch: Batch, move: BatchMove, noted: Noted | None) -> None:
    """The first jobs now, since most batches have no more; workers do the rest."""
    with noted or nullcontext():
        batch.begin(move)
    if not move_some(batch):
        transaction.on_commit(partial(wake, BATCH_QUEUE))


def move_some(batch: Batch) -> bool:
    """Do to MOVED_AT_ONCE of the batch's jobs what is to be done to all; whether that was the last of it.

    Each job is come to once. Every move asks for the job's status and run, so it does no harm when two do
    this at once, or one is killed in it.
    """
    jobs = TranscriptionJob.objects.filter(batch=batch).select_related("project")
    move: Callable[[TranscriptionJob], object]
    match batch.move:
        case BatchMove.CANCEL:
            seal(batch)
            close_archives(batch)
            jobs, move = jobs.filter(finished_at=None), lifecycle.cancel
        case BatchMove.REQUEUE:
            jobs, move = jobs.filter(status__in=(Status.FAILED, Status.DEAD)), lifecycle.requeue
        case BatchMove.DELETE:
            close_archives(batch)
            move = delete_job
        case _:
            return True
    if batch.moved_to:
        jobs = jobs.filter(pk__gt=batch.moved_to)
    chosen = list(jobs.order_by("pk")[: MOVED_AT_ONCE + 1])
    for job in chosen[:MOVED_AT_ONCE]:
        _try(move, job)
    if len(chosen) > MOVED_AT_ONCE:
        batch.move_on(chosen[MOVED_AT_ONCE - 1].pk)
        return False
    if batch.move == BatchMove.DELETE:
        delete_batch(batch)
    else:
        batch.move_on(None)
    return True


def _try(move: Callable[[TranscriptionJob], object], job: TranscriptionJob) -> None:
    with bound_contextvars(**job.log_ids):
        try:
            move(job)
        except (AudioDeleted, NotAccepted, UnknownRegion) as error:
            logger.warning("Job %s of batch %s cannot be requeued: %s", job.pk, job.batch_id, error)
        except (InvalidTransition, TranscriptionJob.DoesNotExist):
            logger.info("Job %s of batch %s moved by itself or was deleted meanwhile.", job.pk, job.batch_id)
