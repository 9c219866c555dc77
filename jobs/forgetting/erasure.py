"""Deleting a project with everything that it owns: it is gone at once, and erased as time allows.

`begin` hides the project, makes its keys useless and ends its open jobs; the worker that does the purge
(jobs.forgetting.retention) then erases it in bounded transactions. Files go before the rows that name them,
within the transaction: whoever is killed in between leaves rows, which the next finds, and never a file that
nothing names. An answer that a worker receives meanwhile it removes itself (jobs.running.execution).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import copy

from django.core.files.storage import storages
from django.db import transaction

from jobs.audio.uploads import discard
from jobs.audit import record
from jobs.companions import companions
from jobs.forgetting.deletion import answers_of, delete_events
from jobs.models import BatchArchive, Chore, Delivery, Project, Recording, TranscriptionJob, UsageLine
from jobs.models.audit import Action

JOBS_AT_A_TIME = 100
ROWS_AT_A_TIME = 500
PURGE = "purge"


def begin(project: Project) -> None:
    """Make the project disappear, and have it erased. Doing it again changes nothing."""
    with transaction.atomic():
        # Their webhooks would tell of what is to be forgotten: no event.
        project.jobs.all().end_all()
        BatchArchive.objects.filter(batch__project=project).close()
        for companion in companions():
            companion.end_all(project)
        # Last: whoever is about to end one of them refers to the project, which is locked from here on.
        project.hide()
        Chore.objects.put_off(PURGE, 0)


def erase(project: Project) -> Iterator[Counter[str]]:
    """Erase a hidden project; what each step deleted. The audit log is told the sum, however it ends."""
    deleted: Counter[str] = Counter()
    named, complete = copy(project), False
    try:
        for step in _steps(project):
            deleted += step
            yield step
        # Its numbers stay, by which its work was billed; tags may name people.
        UsageLine.objects.filter(project=project).exclude(tag="").delete()
        # Also what has no files: keys, members, endpoints.
        project.delete()
        complete = True
    finally:
        if deleted or complete:
            record(Action.PROJECT_ERASED, about=named, complete=complete, counts=dict(deleted))


def _steps(project: Project) -> Iterator[Counter[str]]:
    for companion in companions():
        yield from companion.erase(project)
    while jobs := list(project.jobs.order_by()[:JOBS_AT_A_TIME]):
        yield _erase_jobs(jobs)
    for archive in BatchArchive.objects.filter(batch__project=project):
        storages["default"].delete(archive.file)
        # Of the member that it was at when whoever opened it was killed.
        storages["default"].delete(Recording.stored_name(archive.recording_id))
    while unfinished := list(project.uploads.order_by()[:JOBS_AT_A_TIME]):
        for upload in unfinished:
            discard(upload)
        yield Counter(uploads=len(unfinished))
    while recordings := list(project.recordings.order_by()[:JOBS_AT_A_TIME]):
        with transaction.atomic():
            for recording in recordings:
                recording.delete_audio()
            project.recordings.filter(pk__in=[recording.pk for recording in recordings]).delete()
        yield Counter(recordings=len(recordings))
    while events := list(project.events.order_by().values_list("pk", flat=True)[:ROWS_AT_A_TIME]):
        delete_events(events)
        yield Counter(events=len(events))


def _erase_jobs(jobs: list[TranscriptionJob]) -> Counter[str]:
    with transaction.atomic():
        locked = TranscriptionJob.objects.filter(pk__in=[job.pk for job in jobs])
        # Before what hangs on them is looked for: whoever ends a job or a delivery writes more of it.
        found = list(locked.select_for_update(of=("self",)).order_by("pk"))
        Delivery.objects.filter(event__job__in=found).locked()
        names = [name for job in found for name in answers_of(job)]
        for name in names:
            storages["default"].delete(name)
        locked.delete()
    return Counter(jobs=len(found))
