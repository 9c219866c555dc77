"""Deleting a job or a batch with all that is stored of it."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db import transaction

from jobs.batches import completion
from jobs.forgetting.files import remove
from jobs.models import Batch, BatchArchive, Delivery, Event, Recording, TranscriptionJob, Upload


def delete_job(job: TranscriptionJob) -> None:
    """Delete the job with its transcripts, history and answers, and the recording if no other job has it.

    Open jobs too: whoever runs one finds its lease gone and abandons the call. Of an answer that arrives in
    that very moment it removes what it stored, unless it is killed then.
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
        remove(answers)
        if recording is not None:
            _delete_if_unused(recording)


def answers_of(job: TranscriptionJob) -> list[str]:
    """The names under which the provider's answers to all its runs may be stored."""
    kept = job.transcripts.exclude(answer="").values_list("answer", flat=True)
    begun = job.run if job.started_at is not None else job.run - 1
    return sorted({*kept, *(f"answers/{job.pk}/{run}.json" for run in range(1, begun + 1))})


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
        remove([name])


def remove_answer(job: TranscriptionJob) -> None:
    """Once the transaction is committed, remove what was answered to this run, of which no transcript came.

    Whoever stored it may have been killed in between.
    """
    if job.started_at is not None:
        remove([job.answer_name])


def delete_batch(batch: Batch) -> None:
    """Delete a batch whose jobs are deleted and whose archives are closed."""
    with transaction.atomic():
        delete_events(list(batch.events.values_list("pk", flat=True)))
        batch.delete()


def close_archives(batch: Batch) -> None:
    """Leave unopened what is, and remove what is stored of it."""
    with transaction.atomic():
        closed = list(batch.archives.unopened().select_for_update(of=("self",)).order_by("pk"))
        batch.archives.filter(pk__in=[archive.pk for archive in closed]).close()
        for archive in closed:
            remove_archive(archive)
        completion.finish_if_done(batch.pk)


def remove_archive(archive: BatchArchive) -> None:
    """Once the transaction that closes it is committed, remove the archive, and what its next member left.

    Whoever stored that may have been killed before it was a recording.
    """
    names = [archive.file]
    if not Recording.objects.filter(pk=archive.recording_id).exists():
        names.append(Recording.stored_name(archive.recording_id))
    remove(names)


def delete_events(ids: Collection[UUID]) -> None:
    """Delete events with their deliveries, and what is written of those meanwhile."""
    with transaction.atomic():
        Delivery.objects.filter(event__in=ids).locked()
        Event.objects.filter(pk__in=ids).delete()


def _locked_recording(job: TranscriptionJob) -> Recording | None:
    """The job's recording, locked: two that delete its last two jobs take turns."""
    if job.recording_id is None:
        return None
    return Recording.objects.select_for_update().filter(pk=job.recording_id).first()


def _delete_if_unused(locked: Recording) -> None:
    if locked.jobs.exists():
        return
    name = locked.file.name
    locked.delete()
    if name:
        remove([name])
