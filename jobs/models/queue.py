"""The table of jobs as a queue: what is in it, in which order it is served, and how it is claimed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connections, models
from django.db.models import Case, Count, ExpressionWrapper, F, FloatField, Min, Q, Sum, When
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from jobs.database_clock import seconds_from_now
from jobs.ids import first_id
from jobs.json_lists import holding
from jobs.models.project import Project
from jobs.models.recording import Recording
from jobs.models.state import ENDED, OPEN, Priority, Status

if TYPE_CHECKING:  # it imports this module
    from jobs.models.job import TranscriptionJob

# One statement claims the next job. Retries that are due stand in an index of their own, so that thousands
# of them waiting for a region do not have to be stepped over; among equals in priority they go first. What
# else its worker has to know is told with it: a second question would keep the provider waiting.
_CLAIM = """
WITH due AS (
    SELECT id, priority, 0 AS place FROM jobs_transcriptionjob
    WHERE queue = %(queue)s AND priority <= %(lowest)s AND status = 'waiting' AND run_at <= {now}
    ORDER BY priority, run_at LIMIT 1 {lock}
), fresh AS (
    SELECT id, priority, 1 AS place FROM jobs_transcriptionjob
    WHERE queue = %(queue)s AND priority <= %(lowest)s AND status = 'queued'
    ORDER BY priority, start_tag, id LIMIT 1 {lock}
)
UPDATE jobs_transcriptionjob
SET status = 'running', lease_token = %(token)s, lease_until = {lease_until}, worker = %(worker)s,
    run_at = NULL, claimed_at = {now}, started_at = coalesce(started_at, {now})
WHERE id = (
    SELECT id FROM (SELECT * FROM due UNION ALL SELECT * FROM fresh) AS candidate
    ORDER BY priority, place LIMIT 1
)
RETURNING *,
    (SELECT file FROM jobs_recording WHERE id = recording_id) AS audio_file,
    (SELECT size FROM jobs_recording WHERE id = recording_id) AS audio_size,
    (SELECT media_type FROM jobs_recording WHERE id = recording_id) AS audio_type,
    (SELECT improve_provider_models FROM jobs_project WHERE id = project_id) AS improves_models,
    (SELECT redact FROM jobs_project WHERE id = project_id) AS redacts
"""
_CLAIM_FOR = {
    "postgresql": _CLAIM.format(
        now="now()",
        lease_until="now() + %(lease)s * interval '1 second'",
        lock="FOR UPDATE SKIP LOCKED",
    ),
    # One writer at a time, so there is nothing to skip; on our own host, so our clock is the database's, and
    # finer than the milliseconds that SQLite tells.
    "sqlite": _CLAIM.format(now="%(now)s", lease_until="%(until)s", lock=""),
}


# Two reads of an index's end each; the ORM would go through all that is queued.
_NEXT_PLACE = """
SELECT coalesce(max(tag), 0), {now} FROM (
    SELECT min(start_tag) AS tag FROM jobs_transcriptionjob
    WHERE queue = %s AND priority = %s AND status = 'queued'
    UNION ALL
    SELECT max(start_tag) + 1 FROM jobs_transcriptionjob
    WHERE queue = %s AND priority = %s AND project_id = %s AND status = 'queued'
) AS tags
"""


# By hand as well: every upload asks, and Django would take longer to write it than the database to answer it.
_DUPLICATE = """
SELECT id FROM jobs_transcriptionjob WHERE recording_id = (
    SELECT id FROM jobs_recording WHERE project_id = %s AND sha256 = %s AND id <> %s ORDER BY id DESC LIMIT 1
) ORDER BY id DESC LIMIT 1
"""


def _with_audio(job: TranscriptionJob, using: str) -> TranscriptionJob:
    """`job` as `_CLAIM` tells it, with what it tells besides where a reader looks for it."""
    audio = [vars(job).pop(name) for name in ("audio_file", "audio_size", "audio_type")]
    if job.recording_id is not None:
        job.recording = Recording.from_db(
            using, ("id", "file", "size", "media_type"), (job.recording_id, *audio)
        )
    redacts = json.loads(vars(job).pop("redacts"))
    policy = job.project_id, vars(job).pop("improves_models"), redacts
    job.project = Project.from_db(using, ("id", "improve_provider_models", "redact"), policy)
    return job


def billed() -> Case:
    """Seconds that the provider bills: those of all channels that are transcribed each by itself."""
    every_channel = When(options__multichannel=True, then=F("duration") * F("recording__channels"))
    return Case(every_channel, default=F("duration"), output_field=FloatField())


def first_queued() -> Min:
    """When the first of those that are queued was: when it was made, or requeued (`queued_at` of a job)."""
    ahead = timedelta(seconds=settings.JOB_DEADLINE_SECONDS)
    requeued = ExpressionWrapper(F("deadline_at") - ahead, output_field=models.DateTimeField())
    queued_at = Case(When(run=1, then=F("created_at")), default=requeued)
    return Min(queued_at, filter=Q(status=Status.QUEUED))


class JobQuerySet(models.QuerySet["TranscriptionJob"]):
    def open(self) -> JobQuerySet:
        return self.filter(status__in=OPEN)

    def lanes(self) -> models.QuerySet[TranscriptionJob, Any]:
        """What is open by `queue`, `priority` and `status`: how many `jobs`, how many `claimable` now.

        `queued_since`: of those that are queued, when the first was.
        """
        claimable = Q(status=Status.QUEUED) | Q(status=Status.WAITING, run_at__lte=Now())
        return (
            self.open()
            .order_by()
            .values("queue", "priority", "status")
            .annotate(
                jobs=Count("pk"),
                claimable=Count("pk", filter=claimable),
                queued_since=first_queued(),
            )
        )

    def ended_by_status(self) -> dict[str, int]:
        """How many there are, by an index alone."""
        ended = self.filter(status__in=ENDED).order_by().values_list("status")
        return dict(ended.annotate(jobs=Count("pk")))

    def end_all(self) -> None:
        """Cancel what is open, telling nobody: their project is deleted."""
        self.open().update(
            status=Status.CANCELLED,
            lease_token=None,
            lease_until=None,
            worker="",
            run_at=None,
            finished_at=Now(),
        )

    def reach(self, limit: int) -> bool:
        """Whether there are so many, without counting further."""
        return self[:limit].count() == limit

    def measured(self, *by: str) -> Iterable[dict[str, Any]]:
        """By these and `model`: how many `jobs`, of how many the duration is `known`, `seconds` of audio.

        `billed` are those that the provider bills.
        """
        measures = {"known": Count("duration"), "seconds": Sum("duration"), "billed": Sum(billed())}
        rows: Iterable[dict[str, Any]] = (
            self.order_by()
            .annotate(model=KT("options__model"))
            .values(*by, "model")
            .annotate(jobs=Count("id"), **measures)
        )
        return rows

    def unfinished_in(self, batch_id: UUID) -> JobQuerySet:
        """The open jobs of a batch, by an index of theirs that asks for `finished_at`."""
        return self.filter(batch=batch_id, finished_at=None)

    def claimable(self, queue: str) -> JobQuerySet:
        """What `claim` chooses from."""
        due = Q(status=Status.WAITING, run_at__lte=Now())
        return self.filter(Q(status=Status.QUEUED) | due, queue=queue)

    def before(self, job: TranscriptionJob) -> JobQuerySet:
        """What `claim` chooses before `job`, which is queued."""
        due = Q(status=Status.WAITING, run_at__lte=Now(), priority__lte=job.priority)
        same = Q(priority=job.priority)
        earlier = same & (Q(start_tag__lt=job.start_tag) | Q(start_tag=job.start_tag, id__lt=job.pk))
        fresh = Q(status=Status.QUEUED) & (Q(priority__lt=job.priority) | earlier)
        return self.filter(due | fresh, queue=job.queue)

    def made_after(self, at: datetime) -> JobQuerySet:
        # An id is made within a second before `created_at`, and the lists' indexes have ids in order: what
        # lies outside is not read.
        return self.filter(created_at__gt=at, id__gte=first_id(at, later=-1))

    def made_before(self, at: datetime) -> JobQuerySet:
        return self.filter(created_at__lt=at, id__lt=first_id(at, later=1))

    def tagged(self, tag: str) -> JobQuerySet:
        return cast(JobQuerySet, holding(self, "tags", tag))

    def stalled(self) -> JobQuerySet:
        """Running, but nobody has renewed the lease."""
        return self.filter(status=Status.RUNNING, lease_until__lt=Now())

    def overdue(self) -> JobQuerySet:
        """Still to be begun after their deadline."""
        return self.filter(status__in=(Status.QUEUED, Status.WAITING), deadline_at__lt=Now())

    def claim(
        self, queue: str, worker: str, lease_seconds: float, *, lowest: Priority = Priority.LOW
    ) -> TranscriptionJob | None:
        """The next job that this queue may run, leased to `worker`; None when there is none.

        `lowest`: jobs below this priority are left; without idle capacity, those of low priority.

        It brings what a worker has to know of its recording and project; what else they hold is deferred.
        Priority and then fairness between projects (`start_tag`) decide which. Losing a race costs nothing:
        PostgreSQL skips rows that another is claiming, SQLite claims one after the other.
        """
        connection, token, now = connections[self.db], uuid4(), timezone.now()
        values: dict[str, Any] = {"queue": queue, "worker": worker, "lowest": lowest.value}
        if connection.vendor == "postgresql":
            values |= {"token": token, "lease": lease_seconds}
        else:
            written = connection.ops.adapt_datetimefield_value
            until = now + timedelta(seconds=lease_seconds)
            values |= {"token": token.hex, "now": written(now), "until": written(until)}
        for job in list(self.raw(_CLAIM_FOR[connection.vendor], values)):
            return _with_audio(job, self.db)
        return None

    def claim_one(self, job: TranscriptionJob, worker: str, lease_seconds: float) -> bool:
        """Claim this very job, whatever stands before it; whether that went well."""
        return bool(
            self.claimable(job.queue)
            .filter(pk=job.pk)
            .update(
                status=Status.RUNNING,
                lease_token=uuid4(),
                lease_until=seconds_from_now(lease_seconds),
                worker=worker,
                run_at=None,
                claimed_at=Now(),
                started_at=Coalesce("started_at", Now()),
            )
        )

    def move(self, project: Project, priority: int, *, region: str, queue: str) -> int:
        """Have these of one project and priority stand in another queue, behind the project's last there.

        In the order in which they stood; what waited may be begun at once. How many that were: whoever is
        claimed first stays.
        """
        in_line = self.filter(status__in=(Status.QUEUED, Status.WAITING), pinned=False)
        first = in_line.aggregate(first=Min("start_tag"))["first"]
        if first is None:
            return 0
        return in_line.update(
            region=region,
            queue=queue,
            start_tag=F("start_tag") + self.next_start_tag(project, queue, priority) - first,
            run_at=Case(When(status=Status.WAITING, then=Now())),
        )

    def renew(self, tokens: list[UUID], lease_seconds: float) -> set[UUID]:
        """Renew these leases; the tokens of those that are lost."""
        held = self.filter(lease_token__in=tokens, status=Status.RUNNING)
        if held.update(lease_until=seconds_from_now(lease_seconds)) == len(tokens):
            return set()
        return set(tokens) - set(held.values_list("lease_token", flat=True))

    def duplicate_of(self, recording: Recording) -> UUID | None:
        """The last job of the last recording in the project that is the same, byte for byte, or None."""
        connection = connections[self.db]
        ids = recording.project_id, recording.pk
        project_id, own = ids if connection.vendor == "postgresql" else (each.hex for each in ids)
        with connection.cursor() as cursor:
            cursor.execute(_DUPLICATE, [project_id, recording.sha256, own])
            found = cursor.fetchone()
        return found and (found[0] if connection.vendor == "postgresql" else UUID(found[0]))

    def next_start_tag(self, project: Project, queue: str, priority: int) -> int:
        """The start tag of the project's next job in this queue.

        Start-time fair queueing: a job goes one place behind its project's last queued one, but never before
        what the queue serves now. A project with 10,000 files in line so delays another's single file by at
        most one of its own. Two submissions at once may get the same tag, which only makes them equals.
        """
        return self.next_place(project, queue, priority)[0]

    def next_place(self, project: Project, queue: str, priority: int) -> tuple[int, datetime]:
        """The same, and what the database's clock shows, for a job that is leased to whoever makes it."""
        connection = connections[self.db]
        on_postgresql = connection.vendor == "postgresql"
        project_id = project.pk if on_postgresql else project.pk.hex
        with connection.cursor() as cursor:
            statement = _NEXT_PLACE.format(now="now()" if on_postgresql else "NULL")
            cursor.execute(statement, [queue, priority, queue, priority, project_id])
            tag, now = cursor.fetchone()
        # SQLite is on our own host.
        return int(tag), now or timezone.now()
