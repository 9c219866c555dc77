"""Erasing a project with everything that it owns, or what one person, key, tag or customer has in it.

A project is gone at once, and erased as time allows: `begin` hides it, makes its keys useless and ends its
open jobs; the worker that does the purge (jobs.forgetting.retention) then erases it in bounded transactions.
Each deletes rows with all that hangs on them, writes down their files to be removed right after
(jobs.forgetting.files), and counts both: whoever is killed leaves nothing that is half erased, and the next
goes on. It is finished once the files are gone as well. An answer that a worker receives meanwhile it removes
itself (jobs.running.execution).

A part of a project is asked for by `ask`, and goes the same way: all that was there when it was asked for,
open jobs and live sessions too. The report is the Erasure's row, in which each step counts what it deletes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, TypeVar
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from jobs.audio.uploads import discard
from jobs.audit import name_of, record
from jobs.companions import companions
from jobs.forgetting.deletion import (
    close_archives,
    delete_batch,
    delete_events,
    delete_jobs,
    delete_unused_recordings,
    remove_archive,
)
from jobs.forgetting.files import check_removed, removed_for
from jobs.json_lists import holding
from jobs.models import (
    ApiKey,
    Batch,
    BatchArchive,
    Chore,
    Erasure,
    EvaluatedRecording,
    EvaluationRun,
    Project,
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
    report = _report_of(project).first() or Erasure.objects.create(project=project, subject=Subject.PROJECT)
    try:
        for step in _counted(report, _steps(project)):
            deleted += step
            yield step
        check_removed(report.pk)
        with transaction.atomic():
            if report.hold():
                report.finish()
                # Its numbers stay, by which its work was billed, and nobody's name.
                lines = UsageLine.objects.filter(project=project)
                lines.exclude(tag="").delete()
                lines.forget(user=None, key=None)
                # Also what has no files: keys, members, endpoints.
                project.delete()
                complete = True
    finally:
        if deleted or complete:
            record(Action.PROJECT_ERASED, about=named, complete=complete, counts=dict(deleted))


def _counted(erasure: Erasure, steps: Iterator[Counter[str]]) -> Iterator[Counter[str]]:
    """Each step in a transaction with its count, until another has finished it; several take turns."""
    while True:
        with transaction.atomic(), removed_for(erasure.pk):
            step = next(steps, None) if erasure.hold() else None
            if step is not None:
                erasure.count(step)
        if step is None:
            return
        yield step


def _report_of(project: Project) -> QuerySet[Erasure]:
    return Erasure.objects.filter(project=project, subject=Subject.PROJECT, finished_at=None)


class UnknownSubject(Exception):
    """There is no such user, or what was given says nobody. The message is for people."""


def value_of(project: Project, subject: str, text: str) -> Any:
    """What people write, a username or `name=value`, as Erasure has it; UnknownSubject."""
    if not text:
        raise UnknownSubject("Say whose.")
    if subject == Subject.USER:
        user = User.objects.filter(username=text).first()
        if user is None:
            raise UnknownSubject("There is no such user.")
        return user.pk
    if subject == Subject.KEY:
        try:
            return str(ApiKey.objects.get(project=project, pk=UUID(text)).pk)
        except (ValueError, ApiKey.DoesNotExist):
            raise UnknownSubject("The project has no key of this id.") from None
    if subject == Subject.METADATA:
        name, equals, value = text.partition("=")
        if not equals:
            raise UnknownSubject("Give metadata as name=value.")
        return metadata_of(name, value)
    return text


def metadata_of(name: str, value: str) -> dict[str, str]:
    """UnknownSubject for names that databases take for places in a list, or do not take."""
    if "\0" in name:
        raise UnknownSubject("Null characters are not allowed.")
    try:
        int(name)
    except ValueError:
        return {name: value}
    raise UnknownSubject("Metadata cannot be looked for by a name that is a number.")


def ask(project: Project, subject: Subject, value: Any, request: Any = None, *, actor: str = "") -> Erasure:
    """Have all that is of this subject erased, in the background. `value`: as Erasure has it."""
    with transaction.atomic():
        erasure = Erasure(project=project, subject=subject, value=value)
        # What is still to come of them would be later than this was asked for.
        for batch in erasure.of(Batch.objects.filter(archives__opened_at=None, archives__isnull=False)):
            close_archives(batch)
        erasure.requested_at = timezone.now()
        erasure.requested_by = actor or name_of(request)
        erasure.save(force_insert=True)
        record(Action.ERASURE_REQUESTED, request, erasure, actor=actor)
        Chore.objects.put_off(PURGE, 0)
    return erasure


def found(erasure: Erasure) -> Counter[str]:
    """How much there is of it now."""
    tables: list[tuple[str, QuerySet[Any]]] = [
        ("jobs", erasure.of(TranscriptionJob.objects.all())),
        ("uploads", erasure.of(Upload.objects.all())),
        ("batches", erasure.of(Batch.objects.all())),
    ]
    tables += [(name, erasure.of(rows)) for companion in companions() for name, rows in companion.tables()]
    tables.append(("evaluated", _evaluated(erasure)))
    return Counter({name: rows.count() for name, rows in tables})


def in_words(counts: Mapping[str, int]) -> str:
    told = (f"{number} {name.replace('_', ' ')}" for name, number in sorted(counts.items()) if number)
    return ", ".join(told) or "nothing"


def erase_part(erasure: Erasure) -> Iterator[Counter[str]]:
    """Erase what `ask` was asked for, or what is left of it; what each step deleted.

    Several may be at it, and take turns. OSError if storage does not let go of a file: it is not finished.
    """
    yield from _counted(erasure, _steps_of_part(erasure))
    check_removed(erasure.pk)
    with transaction.atomic():
        if erasure.hold():
            erasure.finish()
            record(Action.DATA_ERASED, about=erasure, counts=erasure.deleted)


def _steps_of_part(erasure: Erasure) -> Iterator[Counter[str]]:
    for companion in companions():
        yield from companion.erase_part(erasure)
    for jobs in _pages(erasure.of(TranscriptionJob.objects.all())):
        yield _erase_jobs(jobs)
    for batches in _pages(erasure.of(Batch.objects.filter(jobs=None))):
        for batch in batches:
            close_archives(batch)
            delete_batch(batch)
        _forget_log(batches)
        yield Counter(batches=len(batches))
    for evaluated in _pages(_evaluated(erasure)):
        EvaluatedRecording.objects.filter(pk__in=[each.pk for each in evaluated]).delete()
        yield Counter(evaluated=len(evaluated))
    lines = UsageLine.objects.filter(project=erasure.project_id)
    match erasure.subject:
        case Subject.USER:
            yield Counter(usage=lines.filter(user=erasure.value).forget(user=None))
        case Subject.KEY:
            yield Counter(usage=lines.filter(key=erasure.value).forget(key=None))
        case Subject.TAG:
            for run in EvaluationRun.objects.filter(project=erasure.project_id):
                run.forget_tag(erasure.value)
            yield Counter(usage=lines.filter(tag=erasure.value).exclude(tag="").delete()[0])
    # Last: with an upload its file goes, or it stays.
    for uploads in _pages(erasure.of(Upload.objects.all())):
        for upload in uploads:
            discard(upload)
        yield Counter(uploads=len(uploads))


def _evaluated(erasure: Erasure) -> QuerySet[EvaluatedRecording]:
    """What runs were told and heard of it, that no job of it names (those streamed have none)."""
    rows = EvaluatedRecording.objects.filter(run__project=erasure.project_id)
    return holding(rows, "tags", erasure.value) if erasure.subject == Subject.TAG else rows.none()


def _pages(rows: QuerySet[Row]) -> Iterator[list[Row]]:
    """Each row once, so that what is looked for in the rows themselves is not looked for again and again."""
    come_to = UUID(int=0)
    while page := list(rows.filter(pk__gt=come_to).order_by("pk")[:JOBS_AT_A_TIME]):
        come_to = page[-1].pk
        yield page


def _steps(project: Project) -> Iterator[Counter[str]]:
    for companion in companions():
        yield from companion.erase(project)
    while jobs := list(project.jobs.order_by()[:JOBS_AT_A_TIME]):
        yield _erase_jobs(jobs)
    for archives in _pages(BatchArchive.objects.filter(batch__project=project)):
        for archive in archives:
            remove_archive(archive)
        BatchArchive.objects.filter(pk__in=[archive.pk for archive in archives]).delete()
        yield Counter(archives=len(archives))
    for recordings in _pages(project.recordings.order_by()):
        yield Counter(recordings=delete_unused_recordings([recording.pk for recording in recordings]))
    while events := list(project.events.order_by().values_list("pk", flat=True)[:ROWS_AT_A_TIME]):
        delete_events(events)
        yield Counter(events=len(events))
    # Last: with an upload its file goes, or it stays.
    for uploads in _pages(project.uploads.order_by()):
        for upload in uploads:
            discard(upload)
        yield Counter(uploads=len(uploads))


def _erase_jobs(jobs: Sequence[TranscriptionJob]) -> Counter[str]:
    with transaction.atomic():
        evaluated = EvaluatedRecording.objects.filter(job__in=jobs).delete()[0]
        _forget_log(jobs)
        return delete_jobs([job.pk for job in jobs]) + Counter(evaluated=evaluated)


def _forget_log(rows: Sequence[Model]) -> None:
    """What the admin's own log calls them."""
    about = ContentType.objects.get_for_model(rows[0])
    LogEntry.objects.filter(content_type=about, object_id__in=[str(row.pk) for row in rows]).delete()
