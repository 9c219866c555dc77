"""Deleting a job with all that is stored of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from uuid import UUID

from django.core.files.storage import storages
from django.db import transaction

from jobs.batches import completion
from jobs.models import Delivery, Recording, TranscriptionJob, Upload

logger = logging.getLogger(__name__)


def delete_job(job: TranscriptionJob) -> None:
    """Delete the job with its transcripts, history and answers, and the recording if no other job has it.

    Open jobs too: whoever runs one finds its lease gone and abandons the call. An answer that arrives in that
    very moment may be left in storage, under a name that nothing refers to any more.
    Files go once the rows are gone for good, so that no row is ever left without its file.
    """
    with transaction.atomic():
        # Before what hangs on them is looked for: whoever ends the job or a delivery writes more of it.
        locked = TranscriptionJob.objects.select_for_update().filter(pk=job.pk).first()
        if locked is None:
            return
        Delivery.objects.filter(event__job=locked).locked()
        recording = _locked_recording(locked)
        answers = answers_of(locked)
        locked.delete()
        if locked.batch_id:
            completion.finish_if_done(locked.batch_id)
        transaction.on_commit(partial(_remove, answers))
        if recording is not None:
            _delete_if_unused(recording)


def answers_of(job: TranscriptionJob) -> list[str]:
    """The names under which the provider's answers to all its runs may be stored."""
    kept = job.transcripts.exclude(answer="").values_list("answer", flat=True)
    return sorted({*kept, *(f"answers/{job.pk}/{run}.json" for run in range(1, job.run + 1))})


def delete_if_unused(recording: Recording) -> None:
    """Delete the recording and its audio unless a job has it, or an upload by which it may be submitted."""
    with transaction.atomic():
        locked = Recording.objects.select_for_update().filter(pk=recording.pk).first()
        if locked is not None and not Upload.objects.filter(recording=locked).exists():
            _delete_if_unused(locked)


def remove_unattached(job_id: UUID, lease_token: UUID | None) -> None:
    """Once the transaction is committed, remove what was fetched under this lease, if it was not attached.

    Whoever held the lease may have been killed in between.
    """
    name = Recording.stored_name(lease_token)
    if not Recording.objects.filter(jobs=job_id, file=name).exists():
        transaction.on_commit(partial(_remove, [name]))


def _locked_recording(job: TranscriptionJob) -> Recording | None:
    """The job's recording, locked: two that delete its last two jobs take turns."""
    if job.recording_id is None:
        return None
    return Recording.objects.select_for_update().filter(pk=job.recording_id).first()


def _delete_if_unused(locked: Recording) -> None:
    if locked.jobs.exists():
        return
    stored = locked.file.name
    locked.delete()
    transaction.on_commit(partial(_remove, [stored]))


def _remove(names: Iterable[str | None]) -> None:
    for name in filter(None, names):
        try:
            storages["default"].delete(name)
        except OSError as error:
            logger.warning("%s could not be removed from storage: %s", name, error)
