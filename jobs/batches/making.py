"""Making batches: of many files, of URLs, or of an archive for workers to open (jobs.batches.unpacking).

A file or URL that cannot be taken is refused by itself, with its reason (RefusedItem); the rest goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from django.conf import settings
from django.core.files.storage import storages
from django.db import IntegrityError, transaction

from jobs import intake
from jobs.audio.keeping import keep
from jobs.audio.probe import ProbeError
from jobs.audio.received import ReceivedFile
from jobs.batches import archives
from jobs.batches.completion import seal
from jobs.forgetting import files
from jobs.forgetting.deletion import delete_if_unused
from jobs.ids import uuid7
from jobs.intake import INSERTED_AT_A_TIME, AlreadyAccepted, Order, Remote
from jobs.models import Batch, BatchArchive, IdempotencyKey, KeyReused, Priority, Recording, RefusedItem
from jobs.queues import BATCH_QUEUE
from jobs.refusal import NotAccepted, Refusal
from jobs.running.wakeups import wake

logger = logging.getLogger(__name__)

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


def refuse(batch: Batch, name: str, refusal: Refusal) -> None:
    """Write down that this item of the batch is no job, and why."""
    RefusedItem.objects.create(
        batch=batch, name=name[:NAME_LENGTH], code=refusal.code, message=refusal.message
    )


def not_stored(error: OSError) -> NotAccepted:
    """The refusal of what could not be stored; why goes into the log."""
    logger.error("An upload could not be stored.", exc_info=error)
    advice = "Try again; if it happens again, the disk of the service may be full."
    return NotAccepted("not_stored", f"It could not be stored. {advice}")


def refused_url(batch: Batch, url: str, message: str) -> RefusedItem:
    """A URL, or what stood in its place, that is none which may be called; not saved."""
    # PostgreSQL stores no NUL.
    name = url.replace("\0", "\N{REPLACEMENT CHARACTER}")[:NAME_LENGTH]
    return RefusedItem(batch=batch, name=name, code="invalid_url", message=message)


def archive_limits() -> archives.Limits:
    return archives.Limits(settings.BATCH_MAX_ITEMS, settings.MAX_UPLOAD_BYTES, settings.ARCHIVE_MAX_BYTES)


def make_of_urls(
    batch: Batch,
    remotes: Sequence[Remote],
    refused: Sequence[RefusedItem],
    *,
    sealed: bool,
    named: IdempotencyKey | None = None,
) -> None:
    """Save the batch with a job for each URL, and those of which none is made; or nothing at all.

    NotAccepted if no region may take them, or the key may not have so many open jobs. AlreadyAccepted, or
    KeyReused, here and below, if what it is `named` by was used meanwhile.
    """
    with transaction.atomic():
        _begin(batch, named)
        intake.queue_all(order_of(batch), remotes)
        RefusedItem.objects.bulk_create(refused, batch_size=INSERTED_AT_A_TIME)
        if sealed:
            seal(batch)


def make_of_files(
    batch: Batch, uploads: Iterable[ReceivedFile], *, sealed: bool, named: IdempotencyKey | None = None
) -> None:
    """Save the batch with a job for each file, and those of which none is made; or nothing at all.

    NotAccepted if no region may take them.
    """
    order = order_of(batch)
    intake.first_place_for(order)
    # First, since it takes its time: of whoever is killed in it there is no batch, which a repeat would be
    # answered with, and the purge deletes recordings without a job.
    found = [(upload.name or "file", _kept(batch, upload)) for upload in uploads]
    try:
        with transaction.atomic():
            _begin(batch, named)
            for name, kept in found:
                try:
                    if isinstance(kept, Refusal):
                        raise kept
                    intake.submit(order, recording=kept)
                except (ProbeError, NotAccepted) as refusal:
                    refuse(batch, name, refusal)
            if sealed:
                seal(batch)
    except (AlreadyAccepted, KeyReused):
        for _, kept in found:
            if isinstance(kept, Recording):
                delete_if_unused(kept)
        raise


def _kept(batch: Batch, upload: ReceivedFile) -> Recording | ProbeError | NotAccepted:
    """The file as a recording, or why it is none."""
    try:
        return keep(batch.project, upload)
    except (ProbeError, NotAccepted) as refusal:
        return refusal
    except OSError as error:
        return not_stored(error)


def make_of_archive(
    batch: Batch, upload: ReceivedFile, *, sealed: bool, named: IdempotencyKey | None = None
) -> None:
    """Save the batch and store the archive, for a worker to open.

    ArchiveRefused, and no batch, if it is none that can be opened; NotAccepted as above.
    """
    intake.first_place_for(order_of(batch))
    _keep_archive(batch, upload, partial(_begin, batch, named), sealed=sealed)


def _begin(batch: Batch, named: IdempotencyKey | None) -> None:
    """Save the batch, together with what names its making."""
    try:
        with transaction.atomic():
            batch.save(force_insert=True)
            if named is not None:
                named.insert(batch=batch)
    except IntegrityError:
        earlier = named and named.earlier()
        if earlier:
            raise AlreadyAccepted(earlier) from None
        raise


def add_archive(batch: Batch, upload: ReceivedFile) -> None:
    """Store an archive that comes to a batch which is there already. ArchiveRefused, BatchSealed."""
    _keep_archive(batch, upload, batch.admit, sealed=False)


def _keep_archive(
    batch: Batch, upload: ReceivedFile, hold_batch: Callable[[], object], *, sealed: bool
) -> None:
    archives.check(upload, archive_limits())
    archive = BatchArchive(id=uuid7(), batch=batch, filename=(upload.name or "")[:255], size=upload.size or 0)
    archive.file = f"archives/{archive.pk}"
    reserved = files.reserve(archive.file)
    upload.seek(0)
    try:
        archive.file = storages["default"].save(archive.file, upload)
        with transaction.atomic():
            hold_batch()
            archive.save(force_insert=True)
            reserved.delete()
            if sealed:
                seal(batch)
    except Exception:
        files.remove([archive.file])
        raise
    transaction.on_commit(partial(wake, BATCH_QUEUE))
