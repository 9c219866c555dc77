"""Deleting a job or a batch with all that is stored of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from uuid import UUID

from django.db import transaction

from jobs.batches import completion
from jobs.forgetting.files import remove
from jobs.models import (
    Batch,
    BatchArchive,
    Delivery,
    Event,
    Recording,
    Transcript,
    TranscriptionJob,
    Upload,
)


def delete_job(job: TranscriptionJob) -> None:
    delete_jobs([job.pk])


def delete_jobs(ids: Collection[UUID]) -> Counter[str]:
    """Delete jobs with transcripts, history and answers, and recordings that no other has; how many of each.

    Open jobs too: whoever runs one finds its lease gone and abandons the call. Of an answer that arrives in
    that very moment it removes what it stored, unless it is killed then.
    Files go once the rows are gone for good, so that no row is ever left without its file.
    """
    with transaction.atomic():
        found = TranscriptionJob.objects.filter(pk__in=ids)
        # Before what hangs on them is looked for: whoever ends a job or a delivery writes more of it.
        locked = list(found.select_for_update(of=("self",)).order_by("pk"))
        Delivery.objects.filter(event__job__in=locked).locked()
        # Locked as well: of two that delete its last two jobs, one sees that it is the last.
        recordings = _locked({job.recording_id for job in locked if job.recording_id})
        answers = _answers_of(locked)
        found.filter(pk__in=[job.pk for job in locked]).delete()
        for batch in sorted({job.batch_id for job in locked if job.batch_id}):
            completion.finish_if_done(batch)
        remove(answers)
        return Counter(jobs=len(locked), recordings=_delete_unused(recordings))


def _answers_of(jobs: Collection[TranscriptionJob]) -> set[str]:
    """The names under which the provider's answers to all their runs may be stored."""
    names = set(Transcript.objects.filter(job__in=jobs).exclude(answer="").values_list("answer", flat=True))
    for job in jobs:
        begun = job.run if job.started_at is not None else job.run - 1
        names |= {f"answers/{job.pk}/{run}.json" for run in range(1, begun + 1)}
    return names


def delete_if_unused(recording: Recording) -> None:
    """Delete the recording and its audio unless a job has it, or an upload by which it may be submitted."""
    with transaction.atomic():
        locked = _locked({recording.pk})
        if not Upload.objects.filter(recording__in=locked).exists():
            _delete_unused(locked)


def delete_unused_recordings(ids: Collection[UUID]) -> int:
    """Delete those that no job has, with their audio and what they were uploaded by; how many."""
    with transaction.atomic():
        return _delete_unused(_locked(ids))


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


def _locked(ids: Collection[UUID]) -> list[Recording]:
    return list(Recording.objects.select_for_update().filter(pk__in=ids).order_by("pk"))


def _delete_unused(locked: Collection[Recording]) -> int:
    unused = list(Recording.objects.filter(pk__in=[each.pk for each in locked], jobs=None))
    Recording.objects.filter(pk__in=[each.pk for each in unused]).delete()
    remove(each.file.name for each in unused if each.file.name)
    return len(unused)
