"""Transcription jobs: the row is the job, and the table is the queue."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections, models
from django.db.models import Case, F, Q, Value, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from jobs.database_clock import seconds_from_now
from jobs.ids import uuid7
from jobs.models.key import ApiKey
from jobs.models.project import Project
from jobs.models.recording import Recording
from jobs.queues import ISOLATION_QUEUE

CRASHES_TO_ISOLATION = 2
# A job's place in the queue is told, but not at any price.
MOST_COUNTED = 10_000


class Status(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


class Mode(models.TextChoices):
    SYNC = "sync"
    ASYNC = "async"


class Priority(models.IntegerChoices):
    """Lower goes first."""

    HIGH = 0, "high"
    NORMAL = 1, "normal"
    LOW = 2, "low"


OPEN = (Status.QUEUED, Status.RUNNING, Status.WAITING)
ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.DEAD)

ENTERED_FROM: dict[Status, tuple[Status, ...]] = {
    Status.RUNNING: (Status.QUEUED, Status.WAITING),
    Status.WAITING: (Status.RUNNING,),
    Status.QUEUED: (Status.RUNNING, *ENDED),
    Status.COMPLETED: (Status.RUNNING,),
    Status.FAILED: OPEN,
    Status.CANCELLED: OPEN,
    Status.DEAD: (Status.RUNNING,),
}


# What people ask of a job, by the status that it enters: where from, and how that is told.
MOVES_OF_PEOPLE = {
    Status.CANCELLED: (OPEN, "only an open one can be cancelled"),
    Status.QUEUED: (ENDED, "only one that has ended can be requeued"),
}


class InvalidTransition(Exception):
    """The job is not (or no longer) in a status that allows the move, or its lease is another's now."""

    def __init__(self, job: TranscriptionJob, status: Status) -> None:
        allowed, rule = MOVES_OF_PEOPLE.get(status, (tuple(Status), ""))
        if job.status in allowed:
            message = f"Job {job.pk} cannot become {status}: it ended or is another's by now."
        else:
            message = f"The job is {job.status}; {rule}."
        super().__init__(message)


# One statement claims the next job. Retries that are due stand in an index of their own, so that thousands
# of them waiting for a region do not have to be stepped over; among equals in priority they go first.
_CLAIM = """
WITH due AS (
    SELECT id, priority, 0 AS place FROM jobs_transcriptionjob
    WHERE queue = %(queue)s AND status = 'waiting' AND run_at <= {now}
    ORDER BY priority, run_at LIMIT 1 {lock}
), fresh AS (
    SELECT id, priority, 1 AS place FROM jobs_transcriptionjob
    WHERE queue = %(queue)s AND status = 'queued'
    ORDER BY priority, start_tag, id LIMIT 1 {lock}
)
UPDATE jobs_transcriptionjob
SET status = 'running', lease_token = %(token)s, lease_until = {lease_until}, worker = %(worker)s,
    run_at = NULL, claimed_at = {now}, started_at = coalesce(started_at, {now})
WHERE id = (
    SELECT id FROM (SELECT * FROM due UNION ALL SELECT * FROM fresh) AS candidate
    ORDER BY priority, place LIMIT 1
)
RETURNING *
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
_NEXT_START_TAG = """
SELECT coalesce(max(tag), 0) FROM (
    SELECT min(start_tag) AS tag FROM jobs_transcriptionjob
    WHERE queue = %s AND priority = %s AND status = 'queued'
    UNION ALL
    SELECT max(start_tag) + 1 FROM jobs_transcriptionjob
    WHERE queue = %s AND priority = %s AND project_id = %s AND status = 'queued'
) AS tags
"""


class JobQuerySet(models.QuerySet["TranscriptionJob"]):
    def visible_to(self, user: User) -> JobQuerySet:
        return self.filter(project__in=Project.objects.visible_to(user))

    def open(self) -> JobQuerySet:
        return self.filter(status__in=OPEN)

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

    def tagged(self, tag: str) -> JobQuerySet:
        if connections[self.db].features.supports_json_field_contains:
            return self.filter(tags__contains=[tag])
        among_tags = "EXISTS (SELECT 1 FROM json_each(jobs_transcriptionjob.tags) WHERE value = %s)"
        return self.filter(RawSQL(among_tags, (tag,), output_field=models.BooleanField()))  # noqa: S611

    def stalled(self) -> JobQuerySet:
        """Running, but nobody has renewed the lease."""
        return self.filter(status=Status.RUNNING, lease_until__lt=Now())

    def overdue(self) -> JobQuerySet:
        """Still to be begun after their deadline."""
        return self.filter(status__in=(Status.QUEUED, Status.WAITING), deadline_at__lt=Now())

    def claim(self, queue: str, worker: str, lease_seconds: float) -> TranscriptionJob | None:
        """The next job that this queue may run, leased to `worker`; None when there is none.

        Priority and then fairness between projects (`start_tag`) decide which. Losing a race costs nothing:
        PostgreSQL skips rows that another is claiming, SQLite claims one after the other.
        """
        connection, token, now = connections[self.db], uuid4(), timezone.now()
        values: dict[str, Any] = {"queue": queue, "worker": worker}
        if connection.vendor == "postgresql":
            values |= {"token": token, "lease": lease_seconds}
        else:
            written = connection.ops.adapt_datetimefield_value
            until = now + timedelta(seconds=lease_seconds)
            values |= {"token": token.hex, "now": written(now), "until": written(until)}
        return next(iter(list(self.raw(_CLAIM_FOR[connection.vendor], values))), None)

    def claim_one(self, job: TranscriptionJob, worker: str, lease_seconds: float) -> bool:
        """Claim this very job, whatever stands before it; whether that went well."""
        now = timezone.now()
        return bool(
            self.claimable(job.queue)
            .filter(pk=job.pk)
            .update(
                status=Status.RUNNING,
                lease_token=uuid4(),
                lease_until=seconds_from_now(lease_seconds),
                worker=worker,
                run_at=None,
                claimed_at=now,
                started_at=Coalesce("started_at", now),
            )
        )

    def renew(self, tokens: list[UUID], lease_seconds: float) -> set[UUID]:
        """Renew these leases; the tokens of those that are lost."""
        held = self.filter(lease_token__in=tokens, status=Status.RUNNING)
        if held.update(lease_until=seconds_from_now(lease_seconds)) == len(tokens):
            return set()
        return set(tokens) - set(held.values_list("lease_token", flat=True))

    def next_start_tag(self, project: Project, queue: str, priority: int) -> int:
        """The start tag of the project's next job in this queue.

        Start-time fair queueing: a job goes one place behind its project's last queued one, but never before
        what the queue serves now. A project with 10,000 files in line so delays another's single file by at
        most one of its own. Two submissions at once may get the same tag, which only makes them equals.
        """
        connection = connections[self.db]
        project_id = project.pk if connection.vendor == "postgresql" else project.pk.hex
        with connection.cursor() as cursor:
            cursor.execute(_NEXT_START_TAG, [queue, priority, queue, priority, project_id])
            return int(cursor.fetchone()[0])


class TranscriptionJob(models.Model):
    """One recording to be transcribed, once for each run.

        queued -> running -> completed | failed | cancelled | dead
        running -> waiting (until run_at) -> running
        running -> queued (lease lost, shutdown)
        queued, waiting -> failed (deadline) | cancelled
        completed, failed, cancelled, dead -> queued (requeue: the next run)

    Each move is one conditional UPDATE. Whoever runs a job holds a lease: a token written with the claim and
    asked for by every later write, so that a worker that was thought dead can change nothing.
    What else is written with a move (attempts, transcripts, events) is in jobs.lifecycle.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="jobs")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL
    )
    key = models.ForeignKey(ApiKey, null=True, editable=False, on_delete=models.SET_NULL)

    # What is to be done
    recording = models.ForeignKey(Recording, null=True, on_delete=models.CASCADE, related_name="jobs")
    url = models.URLField(max_length=2000, blank=True)
    options = models.JSONField(default=dict)
    metadata = models.JSONField(default=dict, blank=True)
    tags = models.JSONField(default=list, blank=True)
    callback_url = models.URLField(max_length=2000, blank=True)

    # Where and when
    mode = models.CharField(max_length=5, choices=Mode, default=Mode.ASYNC)
    receipt = models.JSONField(default=dict, help_text="How mode and region were chosen.")
    region = models.CharField(max_length=50)
    pinned = models.BooleanField(default=False, help_text="The region was asked for and is binding.")
    queue = models.CharField(max_length=60)
    priority = models.PositiveSmallIntegerField(choices=Priority, default=Priority.NORMAL)
    start_tag = models.BigIntegerField(default=0)
    run_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)

    # How it goes
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    run = models.PositiveIntegerField(default=1)
    attempts = models.PositiveIntegerField(default=0, help_text="Counted ones, in this run.")
    deferrals = models.PositiveIntegerField(default=0, help_text="Waits that were no attempts, in this run.")
    crashes = models.PositiveIntegerField(default=0, help_text="Leases lost in a row.")
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    worker = models.CharField(max_length=120, blank=True, help_text="Who holds the lease.")
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    duration = models.FloatField(null=True, help_text="seconds of audio")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    claimed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[JobQuerySet] = JobQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(status__in=Status.values), name="job_status_is_known"),
            models.CheckConstraint(
                condition=Q(status=Status.RUNNING, lease_token__isnull=False, lease_until__isnull=False)
                | ~Q(status=Status.RUNNING) & Q(lease_token=None, lease_until=None),
                name="job_is_leased_while_running",
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.WAITING) | Q(run_at__isnull=False),
                name="job_waits_until_an_instant",
            ),
            models.CheckConstraint(
                condition=Q(status__in=ENDED, finished_at__isnull=False)
                | ~Q(status__in=ENDED) & Q(finished_at=None),
                name="job_is_finished_once_ended",
            ),
        )
        indexes = (
            # JobQuerySet.claim: fresh ones, then due ones
            models.Index(
                fields=("queue", "priority", "start_tag", "id"),
                condition=Q(status=Status.QUEUED),
                name="job_queued",
            ),
            models.Index(
                fields=("queue", "priority", "run_at"),
                condition=Q(status=Status.WAITING),
                name="job_waiting",
            ),
            # JobQuerySet.next_start_tag
            models.Index(
                fields=("queue", "priority", "project", "start_tag"),
                condition=Q(status=Status.QUEUED),
                name="job_last_of_project",
            ),
            # JobQuerySet.stalled, renew
            models.Index(fields=("lease_until",), condition=Q(status=Status.RUNNING), name="job_leased"),
            models.Index(fields=("lease_token",), condition=Q(status=Status.RUNNING), name="job_held"),
            # JobQuerySet.overdue
            models.Index(
                fields=("deadline_at",),
                condition=Q(status__in=(Status.QUEUED, Status.WAITING)),
                name="job_deadline",
            ),
            # The API's and the admin's lists, newest first
            models.Index(fields=("project", "-id"), name="job_of_project"),
            models.Index(fields=("status", "-id"), name="job_by_status"),
        )

    def __str__(self) -> str:
        return str(self.recording or self.url or self.id)

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    @property
    def answer_name(self) -> str:
        """Where the provider's raw answer to this run is stored."""
        return f"answers/{self.id}/{self.run}.json"

    def position(self) -> int | None:
        """How many jobs go before it, counted up to 10,000; None unless it is queued."""
        if self.status != Status.QUEUED:
            return None
        return TranscriptionJob.objects.before(self)[:MOST_COUNTED].count()

    def lease_to(self, worker: str, lease_seconds: float) -> None:
        """Make a job that is not saved yet one that `worker` runs from the start."""
        self.status = Status.RUNNING
        self.lease_token = uuid4()
        self.worker = worker
        self.claimed_at = self.started_at = self.created_at
        # An expression, until `insert` has had the database evaluate it.
        vars(self).update(lease_until=seconds_from_now(lease_seconds))

    def insert(self) -> None:
        """Save a new job, and read what the database's clock says when it is asked for."""
        clocked = [name for name, value in vars(self).items() if hasattr(value, "resolve_expression")]
        self.save(force_insert=True)
        for name in clocked:
            vars(self).pop(name, None)

    # Moves of whoever holds the lease

    def complete(self, duration: float | None) -> None:
        self._enter_held(
            Status.COMPLETED,
            attempts=self.attempts + 1,
            crashes=0,
            error_code="",
            error_message="",
            duration=self.duration if duration is None else duration,
            finished_at=Now(),
        )

    def fail(self, code: str, message: str, *, counted: bool = True) -> None:
        self._enter_held(
            Status.FAILED,
            attempts=self.attempts + counted,
            error_code=code,
            error_message=message,
            run_at=None,
            finished_at=Now(),
        )

    def wait(self, seconds: float, code: str, message: str, *, counted: bool) -> None:
        """Leave the lease and be claimed again after `seconds`: an attempt that counts, or a deferral."""
        self._enter_held(
            Status.WAITING,
            mode=Mode.ASYNC,
            run_at=seconds_from_now(seconds),
            attempts=self.attempts + counted,
            deferrals=self.deferrals + (not counted),
            error_code=code,
            error_message=message,
            # An attempt that counts was survived.
            crashes=0 if counted else self.crashes,
        )

    def release(self) -> None:
        """Go back into the queue untouched: this process is shutting down."""
        self._enter_held(Status.QUEUED, mode=Mode.ASYNC)

    def bury(self, message: str) -> None:
        """It brought down even the process that it had to itself."""
        self._enter_held(
            Status.DEAD, error_code="killed_its_worker", error_message=message, finished_at=Now()
        )

    # Moves of others

    def lose_lease(self) -> None:
        """Nobody renewed the lease: queue again, in isolation if that has happened before.

        Only a worker's death counts towards isolation; one that had the job there already was killed by
        something else, or it would have buried the job.
        """
        self._enter(
            Status.QUEUED,
            still=Q(lease_until__lt=Now()),
            mode=Mode.ASYNC,
            crashes=F("crashes") + 1,
            queue=Case(
                When(crashes__gte=CRASHES_TO_ISOLATION - 1, then=Value(ISOLATION_QUEUE)), default=F("queue")
            ),
        )

    def cancel(self) -> None:
        """End it now, in whatever open status. A call under way is abandoned and its answer dropped."""
        self._enter(Status.CANCELLED, error_code="", error_message="", run_at=None, finished_at=Now())

    def pass_deadline(self) -> None:
        self._enter(
            Status.FAILED,
            still=Q(status__in=(Status.QUEUED, Status.WAITING)),
            error_code="deadline_exceeded",
            error_message="The job's deadline passed before it could be transcribed.",
            run_at=None,
            finished_at=Now(),
        )

    def requeue(self, *, queue: str, start_tag: int, deadline_in: float, **changes: Any) -> None:
        """Run once more: the next run, with nothing counted."""
        self._enter(
            Status.QUEUED,
            still=Q(status__in=ENDED, run=self.run),
            run=self.run + 1,
            queue=queue,
            start_tag=start_tag,
            deadline_at=seconds_from_now(deadline_in),
            attempts=0,
            deferrals=0,
            crashes=0,
            error_code="",
            error_message="",
            run_at=None,
            started_at=None,
            finished_at=None,
            **changes,
        )

    def _enter_held(self, status: Status, **fields: Any) -> None:
        self._enter(status, still=Q(status=Status.RUNNING, lease_token=self.lease_token), **fields)

    def _enter(self, status: Status, *, still: Q | None = None, **fields: Any) -> None:
        """Enter `status` if the row allows it and is `still` as described; InvalidTransition if not."""
        row = TranscriptionJob.objects.filter(still or Q(), pk=self.pk, status__in=ENTERED_FROM[status])
        moved = row.update(status=status, lease_token=None, lease_until=None, worker="", **fields)
        if not moved:
            raise InvalidTransition(self, status)
        self.status = status
        for name, value in fields.items():
            if hasattr(value, "resolve_expression"):
                # By the database's clock: read when it is asked for.
                vars(self).pop(name, None)
            else:
                setattr(self, name, value)


class AttemptOutcome(models.TextChoices):
    COMPLETED = "completed"
    RETRIED = "retried"
    DEFERRED = "deferred"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    LOST = "lost"
    CRASHED = "crashed"


class Attempt(models.Model):
    """One time that somebody held the job's lease, written when it ended.

    `outcome_unknown` marks a call whose answer never came although the request had gone out: it may be
    billed.
    """

    job = models.ForeignKey(TranscriptionJob, on_delete=models.CASCADE, related_name="history")
    run = models.PositiveIntegerField()
    lease_token = models.UUIDField()
    region = models.CharField(max_length=50)
    worker = models.CharField(max_length=120)
    outcome = models.CharField(max_length=10, choices=AttemptOutcome)
    outcome_unknown = models.BooleanField(default=False)
    counted = models.BooleanField()
    status_code = models.PositiveSmallIntegerField(null=True, help_text="The provider's.")
    request_id = models.CharField(max_length=100, blank=True, help_text="The provider's.")
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("job", "lease_token"), name="attempt_once"),)

    def __str__(self) -> str:
        return f"{self.outcome} in {self.region}"
