"""Batches: made of many files, URLs or an archive, and moved as a whole.

A file or URL that cannot be taken is refused by itself, with its reason (RefusedItem); the rest goes on. What
takes longer than a request should is written into the batch's row and done by workers: opening archives
(jobs.batches.unpacking), and cancelling, requeuing and deleting more than MOVED_AT_ONCE jobs. Moving them is
never one transaction: each holds the batch after its own row, and with two of them others would wait in a
circle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from django.conf import settings
from django.core.files.storage import storages
from django.db import transaction
from django.db.models.functions import Now

from jobs import intake, lifecycle
from jobs.audio.probe import ProbeError
from jobs.audio.received import ReceivedFile
from jobs.batches import archives
from jobs.batches.completion import finish_if_done
from jobs.forgetting.deletion import delete_job
from jobs.ids import uuid7
from jobs.intake import INSERTED_AT_A_TIME, NotAccepted, Order, Remote
from jobs.models import (
    Batch,
    BatchArchive,
    BatchMove,
    InvalidTransition,
    Priority,
    RefusedItem,
    Status,
    TranscriptionJob,
)
from jobs.running.queues import BATCH_QUEUE
from jobs.running.wakeups import wake
from routing.regions import UnknownRegion

logger = logging.getLogger(__name__)

MOVED_AT_ONCE = 100
NAME_LENGTH = 300


def order_of(batch: Batch) -> Order:
    """What is asked for of a job that comes with the batch: it always goes through the queue."""
    return Order(
        project=batch.project,
        options=batch.options,
        mode="async",
        region=batch.region,
        priority=Priority(batch.priority),
        batch=batch,
        user=batch.created_by,
        key=batch.key,
    )


class Refusal(Protocol):
    """ProbeError, NotAccepted and ArchiveRefused are such."""

    code: str
    message: str


def refuse(batch: Batch, name: str, refusal: Refusal) -> None:
    """Write down that this item of the batch is no job, and why."""
    RefusedItem.objects.create(
        batch=batch, name=name[:NAME_LENGTH], code=refusal.code, message=refusal.message
    )


def refused_url(batch: Batch, url: str, message: str) -> RefusedItem:
    """A URL, or what stood in its place, that is none which may be called; not saved."""
    # PostgreSQL stores no NUL.
    name = url.replace("\0", "\N{REPLACEMENT CHARACTER}")[:NAME_LENGTH]
    return RefusedItem(batch=batch, name=name, code="invalid_url", message=message)


def archive_limits() -> archives.Limits:
    return archives.Limits(settings.BATCH_MAX_ITEMS, settings.MAX_UPLOAD_BYTES, settings.ARCHIVE_MAX_BYTES)


# Making one


def make_of_urls(
    batch: Batch, remotes: Sequence[Remote], refused: Sequence[RefusedItem], *, sealed: bool
) -> None:
    """Save the batch with a job for each URL, and those of which none is made; or nothing at all.

    NotAccepted if no region may take them, or the key may not have so many open jobs.
    """
    with transaction.atomic():
        batch.save(force_insert=True)
        intake.queue_all(order_of(batch), remotes)
        RefusedItem.objects.bulk_create(refused, batch_size=INSERTED_AT_A_TIME)
        if sealed:
            seal(batch)


def make_of_files(batch: Batch, uploads: Iterable[ReceivedFile], *, sealed: bool) -> None:
    """Save the batch with a job for each file. NotAccepted, and no batch, if no region may take them."""
    order = order_of(batch)
    intake.region_for(order)
    batch.save(force_insert=True)
    for upload in uploads:
        try:
            intake.submit(order, recording=intake.keep(batch.project, upload))
        except (ProbeError, NotAccepted) as error:
            refuse(batch, upload.name or "file", error)
    if sealed:
        seal(batch)


def make_of_archive(batch: Batch, upload: ReceivedFile, *, sealed: bool) -> None:
    """Save the batch and store the archive, for a worker to open.

    ArchiveRefused, and no batch, if it is none that can be opened; NotAccepted as above.
    """
    intake.region_for(order_of(batch))
    _keep_archive(batch, upload, partial(batch.save, force_insert=True), sealed=sealed)


def add_archive(batch: Batch, upload: ReceivedFile) -> None:
    """Store an archive that comes to a batch which is there already. ArchiveRefused, BatchSealed."""
    _keep_archive(batch, upload, batch.admit, sealed=False)


def _keep_archive(
    batch: Batch, upload: ReceivedFile, hold_batch: Callable[[], object], *, sealed: bool
) -> None:
    archives.check(upload, archive_limits())
    archive = BatchArchive(id=uuid7(), batch=batch, filename=(upload.name or "")[:255], size=upload.size or 0)
    upload.seek(0)
    archive.file = storages["default"].save(f"archives/{archive.pk}", upload)
    try:
        with transaction.atomic():
            hold_batch()
            archive.save(force_insert=True)
            if sealed:
                seal(batch)
    except Exception:
        storages["default"].delete(archive.file)
        raise
    transaction.on_commit(partial(wake, BATCH_QUEUE))


def seal(batch: Batch) -> None:
    """No more jobs are added; the batch is finished once none is open. Sealing twice is sealing once."""
    with transaction.atomic():
        held = Batch.objects.hold(batch.pk)
        if held is None or held.sealed_at is not None:
            return
        Batch.objects.filter(pk=batch.pk).update(sealed_at=Now())
        finish_if_done(batch.pk)


# Moving all of its jobs


def cancel(batch: Batch) -> None:
    """Cancel what is open and leave unopened what is; the batch is sealed with that."""
    batch.begin(BatchMove.CANCEL)
    seal(batch)
    _begin_moving(batch)


def requeue(batch: Batch) -> None:
    """Run what failed or died once more: the batch's next run, if it was finished."""
    batch.begin(BatchMove.REQUEUE)
    _begin_moving(batch)


def delete(batch: Batch) -> None:
    """Delete the batch with all its jobs and what is stored of them. It is not shown any more from now on."""
    batch.begin(BatchMove.DELETE)
    _begin_moving(batch)


def _begin_moving(batch: Batch) -> None:
    """The first jobs now, since most batches have no more; workers do the rest."""
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
            _close_archives(batch)
            jobs, move = jobs.filter(finished_at=None), lifecycle.cancel
        case BatchMove.REQUEUE:
            jobs, move = jobs.filter(status__in=(Status.FAILED, Status.DEAD)), lifecycle.requeue
        case BatchMove.DELETE:
            _close_archives(batch)
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
        batch.delete()
    else:
        batch.move_on(None)
    return True


def _try(move: Callable[[TranscriptionJob], object], job: TranscriptionJob) -> None:
    try:
        move(job)
    except InvalidTransition:
        logger.info("Job %s of batch %s moved by itself meanwhile.", job.pk, job.batch_id)
    except UnknownRegion as error:
        logger.warning("Job %s of batch %s cannot be requeued: %s", job.pk, job.batch_id, error)


def _close_archives(batch: Batch) -> None:
    files = list(batch.archives.unopened().values_list("file", flat=True))
    BatchArchive.objects.filter(batch=batch).close()
    for file in files:
        storages["default"].delete(file)
    with transaction.atomic():
        finish_if_done(batch.pk)
