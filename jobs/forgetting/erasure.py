"""Erasing a project with everything that it owns, or what one person, key, tag or customer has in it.

A project is gone at once, and erased as time allows: `begin` hides it, makes its keys useless and ends its
open jobs; the worker that does the purge (jobs.forgetting.retention) then erases it in bounded transactions.
Files go before the rows that name them, within the transaction: whoever is killed in between leaves rows,
which the next finds, and never a file that nothing names. An answer that a worker receives meanwhile it
removes itself (jobs.running.execution).

A part of a project is asked for by `ask`, and goes the same way: all that was there when it was asked for,
open jobs and live sessions too. The report is the Erasure's row, in which each step counts what it deletes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from copy import copy
from typing import Any, TypeVar
from uuid import UUID

from django.contrib.auth.models import User
from django.core.files.storage import storages
from django.db import transaction
from django.db.models import Model, QuerySet

from jobs.audio.uploads import discard
from jobs.audit import name_of, record
from jobs.batches import completion
from jobs.companions import companions
from jobs.forgetting.deletion import (
    answers_of,
    close_archives,
    delete_batch,
    delete_events,
    delete_if_unused,
)
from jobs.models import (
    Batch,
    BatchArchive,
    Chore,
    Delivery,
    Erasure,
    Project,
    Recording,
    Subject,
    TranscriptionJob,
    Upload,
    UsageLine,
)
from jobs.models.audit import Action

JOBS_AT_A_TIME = 100
ROWS_AT_A_TIME = 500
PURGE = "purge"
Row = TypeVar("Row", bound=Model)


def begin(project: Project, request: Any = None) -> None:
    """Make the project disappear, and have it erased. Doing it again changes nothing."""
    with transaction.atomic():
        # Their webhooks would tell of what is to be forgotten: no event.
        project.jobs.all().end_all()
        BatchArchive.objects.filter(batch__project=project).close()
        for companion in companions():
            companion.end_all(project)
        # Last: whoever is about to end one of them refers to the project, which is locked from here on.
        project.hide()
        if not _report_of(project).exists():
            by = name_of(request)
            Erasure.objects.create(project=project, subject=Subject.PROJECT, requested_by=by)
        Chore.objects.put_off(PURGE, 0)


def erase(project: Project) -> Iterator[Counter[str]]:
    """Erase a hidden project; what each step deleted. The audit log is told the sum, however it ends."""
    deleted: Counter[str] = Counter()
    named, complete = copy(project), False
    report = _report_of(project).first()
    try:
        for step in _steps(project):
            deleted += step
            if report is not None:
                report.count(step)
            yield step
        # Its numbers stay, by which its work was billed; tags may name people.
        UsageLine.objects.filter(project=project).exclude(tag="").delete()
        # Also what has no files: keys, members, endpoints.
        project.delete()
        if report is not None:
            report.finish()
        complete = True
    finally:
        if deleted or complete:
            record(Action.PROJECT_ERASED, about=named, complete=complete, counts=dict(deleted))


def _report_of(project: Project) -> QuerySet[Erasure]:
    return Erasure.objects.filter(project=project, subject=Subject.PROJECT, finished_at=None)


class UnknownSubject(Exception):
    """There is no such user, or what was given says nobody. The message is for people."""


def value_of(subject: str, text: str) -> Any:
    """What people write, a username or `name=value`, as Erasure has it; UnknownSubject."""
    if subject == Subject.USER:
        user = User.objects.filter(username=text).first()
        if user is None:
            raise UnknownSubject("There is no such user.")
        return user.pk
    if subject == Subject.KEY:
        try:
            return str(UUID(text))
        except ValueError:
            raise UnknownSubject("A key is named by its id.") from None
    if subject == Subject.METADATA:
        name, equals, value = text.partition("=")
        if not equals or name.isdigit():
            raise UnknownSubject("Give metadata as name=value, the name being no number.")
        return {name: value}
    return text


def ask(project: Project, subject: Subject, value: Any, request: Any = None, *, actor: str = "") -> Erasure:
    """Have all that is of this subject erased, in the background. `value`: as Erasure has it."""
    with transaction.atomic():
        erasure = Erasure(project=project, subject=subject, value=value)
        erasure.requested_by = actor or name_of(request)
        erasure.save(force_insert=True)
        record(Action.ERASURE_REQUESTED, request, erasure, actor=actor)
        Chore.objects.put_off(PURGE, 0)
    return erasure


def found(project: Project, subject: Subject, value: Any) -> Counter[str]:
    """How much there is of it now."""
    erasure = Erasure(project=project, subject=subject, value=value)
    tables: list[tuple[str, QuerySet[Any]]] = [
        ("jobs", erasure.of(TranscriptionJob.objects.all())),
        ("uploads", erasure.of(Upload.objects.all())),
        ("batches", erasure.of(Batch.objects.all())),
    ]
    tables += [(name, erasure.of(rows)) for companion in companions() for name, rows in companion.tables()]
    return Counter({name: rows.count() for name, rows in tables})


def erase_part(erasure: Erasure) -> Iterator[Counter[str]]:
    """Erase what `ask` was asked for, or what is left of it; what each step deleted."""
    steps = _steps_of_part(erasure)
    while True:
        with transaction.atomic():
            step = next(steps, None)
            if step is not None:
                erasure.count(step)
        if step is None:
            break
        yield step
    with transaction.atomic():
        erasure.finish()
        record(Action.DATA_ERASED, about=erasure, counts=erasure.deleted)


def _steps_of_part(erasure: Erasure) -> Iterator[Counter[str]]:
    for companion in companions():
        yield from companion.erase_part(erasure)
    for jobs in _pages(erasure.of(TranscriptionJob.objects.all())):
        yield _erase_jobs(jobs) + _delete_recordings({job.recording_id for job in jobs if job.recording_id})
    for uploads in _pages(erasure.of(Upload.objects.all())):
        for upload in uploads:
            discard(upload)
        yield Counter(uploads=len(uploads))
    for batches in _pages(erasure.of(Batch.objects.filter(jobs=None))):
        for batch in batches:
            close_archives(batch)
            delete_batch(batch)
        yield Counter(batches=len(batches))
    tagged = UsageLine.objects.filter(project=erasure.project_id, tag=erasure.value or "").exclude(tag="")
    if erasure.subject == Subject.TAG and (count := tagged.delete()[0]):
        yield Counter(usage_tags=count)


def _pages(rows: QuerySet[Row]) -> Iterator[list[Row]]:
    """Each row once, so that what is looked for in the rows themselves is not looked for again and again."""
    come_to = UUID(int=0)
    while page := list(rows.filter(pk__gt=come_to).order_by("pk")[:JOBS_AT_A_TIME]):
        come_to = page[-1].pk
        yield page


def _delete_recordings(ids: Collection[UUID]) -> Counter[str]:
    """Those that no other job has."""
    unused = Recording.objects.filter(pk__in=ids, jobs=None)
    count = 0
    for recording in unused:
        delete_if_unused(recording)
        count += 1
    return Counter(recordings=count)


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
        for batch in sorted({job.batch_id for job in found if job.batch_id}):
            completion.finish_if_done(batch)
    return Counter(jobs=len(found))
