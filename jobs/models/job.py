"""Transcription jobs: the row is the job, and the table is the queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

from django.conf import settings
from django.db import models
from django.db.models import Case, Count, F, Q, Sum, Value, When
from django.db.models.functions import Now
from django.utils import timezone

from jobs.database_clock import seconds_from_now
from jobs.ids import uuid7
from jobs.models.batch import Batch
from jobs.models.key import ApiKey
from jobs.models.project import Project
from jobs.models.queue import JobQuerySet
from jobs.models.recording import Recording
from jobs.models.state import ENDED, ENTERED_FROM, OPEN, InvalidTransition, Mode, NotInLine, Priority, Status
from jobs.queues import ISOLATION_QUEUE
from routing.addresses import without_query

CRASHES_TO_ISOLATION = 2
# A job's place in the queue is told, but not at any price.
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a queue runs before a job: how many jobs, seconds of audio, and jobs of unknown length."""

    jobs: int
    audio: float
    unknown: int


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
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL, db_index=False
    )
    key = models.ForeignKey(
        ApiKey, null=True, editable=False, on_delete=models.SET_NULL, db_index=False, related_name="jobs"
    )
    batch = models.ForeignKey(
        Batch,
        null=True,
        editable=False,
        on_delete=models.CASCADE,
        related_name="jobs",
        db_index=False,  # job_of_batch
    )

    # What is to be done
    recording = models.ForeignKey(Recording, null=True, on_delete=models.CASCADE, related_name="jobs")
    url = models.URLField(max_length=2000, blank=True)
    options = models.JSONField(default=dict)
    metadata = models.JSONField(default=dict, blank=True)
    tags = models.JSONField(default=list, blank=True)
    callback_url = models.URLField(max_length=2000, blank=True)
    callback_method = models.CharField(
        max_length=4,
        blank=True,
        default="",
        help_text="Of a callback as Deepgram makes it; empty: the callback is a webhook.",
    )

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
    traceparent = models.CharField(
        max_length=55, blank=True, default="", db_default="", help_text="Of what asked for this run."
    )

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
            # intake.check_room
            models.Index(fields=("key",), condition=Q(status__in=OPEN), name="job_open_of_key"),
            # The API's and the admin's lists, newest first
            models.Index(fields=("key", "-id"), name="job_of_key"),
            models.Index(fields=("created_by", "-id"), name="job_of_person"),
            models.Index(
                fields=("project", "error_code", "-id"),
                condition=Q(error_code__gt=""),
                name="job_by_error",
            ),
            models.Index(fields=("project", "-id"), name="job_of_project"),
            models.Index(fields=("status", "-id"), name="job_by_status"),
            # The admin's list by several filters at once: also where few or none match, no row is read
            models.Index(
                fields=("-id", "status", "mode", "region", "priority", "project", "created_at"),
                name="job_listed",
            ),
            # A batch's jobs and how many of them are in each status; those outside batches cost nothing
            models.Index(fields=("batch", "id"), condition=Q(batch__isnull=False), name="job_of_batch"),
            # JobQuerySet.unfinished_in
            models.Index(
                fields=("batch",),
                condition=Q(batch__isnull=False, finished_at=None),
                name="job_unfinished_in_batch",
            ),
        )

    def __str__(self) -> str:
        return str(self.recording or without_query(self.url) or self.id)

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    @property
    def queued_at(self) -> datetime:
        """When it was made, or requeued. A deadline is counted from then; that of a first run may be any."""
        if self.run == 1 or self.deadline_at is None:
            return self.created_at
        return self.deadline_at - timedelta(seconds=settings.JOB_DEADLINE_SECONDS)

    @property
    def log_ids(self) -> dict[str, str]:
        """For the lines that are logged of it."""
        return {"job_id": str(self.pk)} | ({"attempt_id": str(self.lease_token)} if self.lease_token else {})

    @property
    def answer_name(self) -> str:
        """Where the provider's raw answer to this run is stored."""
        return f"answers/{self.id}/{self.run}.json"

    def ahead(self) -> Ahead | None:
        """What goes before it, counted up to 10,000 jobs; None unless it is queued."""
        if self.status != Status.QUEUED:
            return None
        before = TranscriptionJob.objects.before(self)[:MOST_COUNTED]
        found = before.aggregate(
            jobs=Count("pk"), audio=Sum("duration", default=0.0), unknown=Count("pk", Q(duration=None))
        )
        return Ahead(**found)

    def lease_to(self, worker: str, lease_seconds: float, now: datetime) -> None:
        """Make a job that is not saved yet one that `worker` runs from the start. `now`: the database's."""
        self.status = Status.RUNNING
        self.lease_token = uuid4()
        self.worker = worker
        self.claimed_at = self.started_at = now
        self.lease_until = now + timedelta(seconds=lease_seconds)

    def insert(self) -> None:
        """Save a new job, and read what the database's clock says when it is asked for."""
        clocked = [name for name, value in vars(self).items() if hasattr(value, "resolve_expression")]
        self.save(force_insert=True)
        for name in clocked:
            vars(self).pop(name, None)

    def label(self, **labels: Any) -> None:
        """Replace `metadata` or `tags`, which decide nothing."""
        if labels:
            TranscriptionJob.objects.filter(pk=self.pk).update(**labels)
            vars(self).update(labels)

    def prioritise(self, priority: Priority, start_tag: int) -> None:
        """Stand there in the queue of another priority; NotInLine if it stands in none."""
        standing = TranscriptionJob.objects.filter(pk=self.pk, status__in=(Status.QUEUED, Status.WAITING))
        if not standing.update(priority=priority, start_tag=start_tag):
            raise NotInLine(self)
        self.priority, self.start_tag = priority, start_tag

    def attach(self, recording: Recording) -> None:
        """Take what was fetched from the job's URL for its recording. It goes on running."""
        held = TranscriptionJob.objects.filter(
            pk=self.pk, status=Status.RUNNING, lease_token=self.lease_token
        )
        if not held.update(recording=recording, duration=recording.duration):
            raise InvalidTransition.into(self, Status.RUNNING)
        self.recording, self.duration = recording, recording.duration

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

    def wait(self, seconds: float, code: str, message: str, *, counted: bool, **line: Any) -> None:
        """Leave the lease and be claimed again after `seconds`: an attempt that counts, or a deferral.

        `line`: region, queue and start tag, if it is to stand in another queue.
        """
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
            **line,
        )

    def release(self) -> None:
        """Go back into the queue untouched: this process is shutting down."""
        self._enter_held(Status.QUEUED, mode=Mode.ASYNC)

    def bury(self, message: str) -> None:
        """It brought down even the process that it had to itself."""
        self._enter_held(
            Status.DEAD, error_code="killed_its_worker", error_message=message, finished_at=Now()
        )

    def lose_lease(self) -> None:
        """Nobody renewed the lease: queue again, in isolation if that has happened before.

        Only a worker's death counts towards isolation; one that had the job there already was killed by
        something else, or it would have buried the job.
        """
        self._enter(
            Status.QUEUED,
            still=Q(lease_until__lt=Now(), lease_token=self.lease_token),
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
            raise InvalidTransition.into(self, status)
        self.status = status
        for name, value in fields.items():
            if hasattr(value, "resolve_expression"):
                # By the database's clock: read when it is asked for.
                vars(self).pop(name, None)
            else:
                setattr(self, name, value)
