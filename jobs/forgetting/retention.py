"""Deleting what is past its time, by each project's policies, with the counts as proof in the audit log.

- `audio_days`: stored audio, so many days after it came; its recording's row stays, and tells when it went.
- `transcript_days`: transcripts in all versions, the provider's answers, what webhooks were told and what is
  kept to be answered again (`Idempotency-Key`), so many days after the job ended; the job's row stays.
- The settings AUDIO_DAYS and TRANSCRIPT_DAYS say both for projects that do not.
- Projects that were deleted are erased (jobs.forgetting.erasure).
- What was asked to be erased of projects that stay is (jobs.forgetting.erasure).
- Entries of the audit log, and of the admin's own, go after a year.
- Recordings that no job came of, since the database failed in between, go after a day.
- Uploads that nobody has used for a day (jobs.audio.uploads).
- Files that were not or could not be removed when their rows were (jobs.forgetting.files).

What is still needed by an open job, or still to be delivered, waits until it is not. One process at a time
does it, once an hour and when asked, in bounded transactions; files go right after, and what storage does
not remove then is tried again every hour (jobs.forgetting.files), so that one file holds up nothing else.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from jobs.audio import uploads
from jobs.audit import record
from jobs.companions import companions
from jobs.forgetting import erasure
from jobs.forgetting.deletion import delete_events, delete_if_unused
from jobs.forgetting.files import remove, remove_due
from jobs.models import (
    AuditEntry,
    Chore,
    Delivery,
    DeliveryStatus,
    Erasure,
    IdempotencyKey,
    Project,
    Recording,
    Subject,
    Transcript,
    TranscriptionJob,
    Upload,
    Waveform,
)
from jobs.models.audit import KEPT_FOR, Action

logger = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0
# Of whoever does it, renewed with each step.
LEASE_SECONDS = 60.0
AT_A_TIME = 200
Row = TypeVar("Row", bound=Model)
UNATTACHED_FOR, UNATTACHED_LOOKED_FOR = timedelta(days=1), timedelta(days=7)


def purge_when_due(stopping: Callable[[], bool]) -> None:
    """Purge if it is time to, and leave the rest to another when this process is `stopping`."""
    if not Chore.objects.claim(erasure.PURGE, LEASE_SECONDS):
        return
    seen = set(Project.objects.hidden().values_list("pk", flat=True))
    for _ in purging():
        if stopping():
            Chore.objects.put_off(erasure.PURGE, 0)
            return
        Chore.objects.put_off(erasure.PURGE, LEASE_SECONDS)
    Chore.objects.put_off(erasure.PURGE, EVERY_SECONDS)
    if Project.objects.hidden().exclude(pk__in=seen).exists():
        # Deleted meanwhile, and asked for what has just been put off.
        Chore.objects.put_off(erasure.PURGE, 0)


def purging() -> Iterator[Counter[str]]:
    """Delete all that is past its time; what each step, which is one transaction, deleted."""
    yield from _each(Project.objects.hidden(), erasure.erase)
    asked = Erasure.objects.filter(finished_at=None).exclude(subject=Subject.PROJECT).order_by("pk")
    yield from _each(asked, erasure.erase_part)
    yield from _each(Project.objects.forgetting(), _purge)
    yield from _each(Upload.objects.expired(), _expire)
    while files := remove_due():
        yield Counter(files=files)
    while unattached := _delete_unattached():
        yield Counter(unattached=unattached)
    while old := _delete_entries():
        yield Counter(audit_entries=old)
    while old := _delete_admin_entries():
        yield Counter(admin_entries=old)


def _each(rows: Iterable[Row], forget: Callable[[Row], Iterator[Counter[str]]]) -> Iterator[Counter[str]]:
    """One after the other: what is stored of one may be out of reach."""
    for row in rows:
        try:
            yield from forget(row)
        except OSError as error:
            logger.warning("%s %s cannot be purged to the end yet: %s", type(row).__name__, row.pk, error)


def _purge(project: Project) -> Iterator[Counter[str]]:
    deleted: Counter[str] = Counter()
    try:
        for what, step in STEPS:
            for number in step(project):
                deleted[what] += number
                yield Counter({what: number})
        for companion in companions():
            while step_deleted := companion.forget(project):
                deleted += step_deleted
                yield step_deleted
    finally:
        if deleted:
            record(Action.DATA_PURGED, about=project, counts=dict(deleted))


def _expire(upload: Upload) -> Iterator[Counter[str]]:
    uploads.expire(upload)
    yield Counter(uploads=1)


def _repeated(step: Callable[[Project], int]) -> Callable[[Project], Iterator[int]]:
    """Until it deletes nothing more."""
    return lambda project: iter(partial(step, project), 0)


def past_audio(project: Project, days: int) -> QuerySet[Recording]:
    """Recordings whose audio is older, and which no open job needs."""
    wanted = TranscriptionJob.objects.open().filter(recording=OuterRef("pk"))
    return project.recordings.filter(
        ~Exists(wanted), audio_deleted_at=None, created_at__lt=Now() - timedelta(days=days)
    )


def past_transcripts(project: Project, days: int) -> QuerySet[Transcript]:
    """In all versions, of jobs that ended before."""
    ended_before = Now() - timedelta(days=days)
    return Transcript.objects.filter(job__project=project, job__finished_at__lt=ended_before)


def _audio(project: Project) -> int:
    if project.keeps_audio_days is None:
        return 0
    past = past_audio(project, project.keeps_audio_days)
    with transaction.atomic():
        # A requeue locks it as well, so that it finds its audio or is refused.
        recordings = list(past.select_for_update(skip_locked=True).order_by()[:AT_A_TIME])
        remove(each.file.name for each in recordings if each.file.name)
        Recording.objects.filter(pk__in=[each.pk for each in recordings]).update(audio_deleted_at=Now())
        Waveform.objects.filter(recording__in=recordings).delete()
    return len(recordings)


def _transcripts(project: Project) -> Iterator[int]:
    """Job by job, so that those whose transcripts are gone are passed once, and not before every step."""
    if project.keeps_transcript_days is None:
        return
    past = past_transcripts(project, project.keeps_transcript_days)
    come_to = UUID(int=0)
    while True:
        with transaction.atomic():
            found = past.filter(job__gte=come_to).order_by("job").values_list("pk", "answer", "job")
            transcripts = list(found[:AT_A_TIME])
            remove({answer for _, answer, _ in transcripts if answer})
            Transcript.objects.filter(pk__in=[pk for pk, _, _ in transcripts]).delete()
        if not transcripts:
            return
        yield len(transcripts)
        come_to = transcripts[-1][2]


def _events(project: Project) -> int:
    if project.keeps_transcript_days is None:
        return 0
    to_come = Delivery.objects.filter(event=OuterRef("pk"), status=DeliveryStatus.PENDING)
    past = project.events.filter(
        ~Exists(to_come), created_at__lt=Now() - timedelta(days=project.keeps_transcript_days)
    )
    events = list(past.order_by().values_list("pk", flat=True)[:AT_A_TIME])
    delete_events(events)
    return len(events)


def _answers(project: Project) -> int:
    """What is kept for a day, if transcripts are not; also what was answered after their purge."""
    if project.keeps_transcript_days is None:
        return 0
    ended_before = Now() - timedelta(days=project.keeps_transcript_days)
    past = IdempotencyKey.objects.filter(
        project=project, answer__isnull=False, job__finished_at__lt=ended_before
    )
    keys = list(past.values_list("pk", flat=True)[:AT_A_TIME])
    IdempotencyKey.objects.filter(pk__in=keys).forget_answers()
    return len(keys)


STEPS = (
    ("audio", _repeated(_audio)),
    ("transcripts", _transcripts),
    ("events", _repeated(_events)),
    ("answers", _repeated(_answers)),
)


def _delete_unattached() -> int:
    """Of the last days alone: the purge before this one did the rest."""
    recent = Recording.objects.filter(
        created_at__gt=Now() - UNATTACHED_LOOKED_FOR, created_at__lt=Now() - UNATTACHED_FOR
    )
    wanted = Exists(TranscriptionJob.objects.filter(recording=OuterRef("pk")))
    begun = Exists(Upload.objects.filter(recording=OuterRef("pk")))
    unattached = list(recent.filter(~wanted, ~begun).order_by()[:AT_A_TIME])
    for recording in unattached:
        # Looked at again, under its lock.
        delete_if_unused(recording)
    return len(unattached)


def _delete_entries() -> int:
    past = AuditEntry.objects.filter(at__lt=Now() - KEPT_FOR).order_by("at")
    entries = list(past.values_list("pk", flat=True)[:AT_A_TIME])
    AuditEntry.objects.filter(pk__in=entries).delete()
    return len(entries)


def _delete_admin_entries() -> int:
    # They come in the order of their keys, and have no index by time.
    oldest = LogEntry.objects.order_by("pk").values_list("pk", "action_time")[:AT_A_TIME]
    before = timezone.now() - KEPT_FOR
    entries = [pk for pk, at in oldest if at < before]
    LogEntry.objects.filter(pk__in=entries).delete()
    return len(entries)
