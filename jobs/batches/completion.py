"""When a batch is finished, and when it is open again.

1. Whoever ends a job of a batch asks here, in the same transaction and after the job's own row is written,
   whether that was the last one. Batches' rows are held meanwhile, so of two that end at once the second to
   hold it sees what the first has committed: one of them finishes the batch, and only one.
2. Nothing is counted for that: the question is whether there is one open job, asked of an index that holds
   the open jobs of batches alone. A job outside of any batch is not asked about.
3. A requeue opens the batch again as its next run, so that each run has one `batch.completed`.
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs import events
from jobs.batches.progress import tally_of
from jobs.models import Batch, BatchMove, EventType, TranscriptionJob


def seal(batch: Batch) -> None:
    """No more jobs are added; the batch is finished once none is open. Sealing twice is sealing once."""
    with transaction.atomic():
        held = Batch.objects.hold(batch.pk)
        if held is None or held.sealed_at is not None:
            return
        Batch.objects.filter(pk=batch.pk).update(sealed_at=Now())
        finish_if_done(batch.pk)


def finish_if_done(batch_id: UUID) -> None:
    """Finish the batch, and tell of it, if it is sealed and nothing of it is open."""
    batch = Batch.objects.hold(batch_id)
    if batch is None or batch.sealed_at is None or batch.finished_at is not None:
        return
    if TranscriptionJob.objects.unfinished_in(batch_id).exists() or batch.archives.unopened().exists():
        return
    Batch.objects.filter(pk=batch_id).update(finished_at=Now())
    if batch.move != BatchMove.DELETE:
        _tell(batch)


def reopen(batch_id: UUID) -> None:
    """A job of the batch runs once more, and so does the batch if it was finished."""
    batch = Batch.objects.hold(batch_id)
    if batch is not None and batch.finished_at is not None:
        Batch.objects.filter(pk=batch_id).update(finished_at=None, run=F("run") + 1)


def _tell(batch: Batch) -> None:
    tally = tally_of(batch)
    url = f"{settings.PUBLIC_URL}/api/v1/batches/{batch.pk}/"
    data = {
        "id": str(batch.pk),
        "project": str(batch.project_id),
        "name": batch.name or None,
        "run": batch.run,
        "sequence": batch.run,
        "counts": tally.counts,
        "refused": tally.refused,
        "duration": tally.seconds,
        "metadata": batch.metadata,
        "url": url,
        "export_url": f"{url}export.zip",
    }
    events.emit(
        batch.project_id,
        EventType.BATCH_COMPLETED,
        data,
        batch=batch,
        sequence=batch.run,
        callback_url=batch.callback_url,
    )
