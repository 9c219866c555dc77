"""Batches: jobs that were asked for together."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID, uuid4

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from jobs.database_clock import seconds_from_now
from jobs.ids import uuid7
from jobs.models.key import ApiKey
from jobs.models.project import Project
from jobs.models.state import Priority, RequestedMode
from jobs.refusal import Refusal


class BatchSealed(Refusal):
    """The batch takes no more jobs."""

    status = 409

    def __init__(self, batch: Batch) -> None:
        advice = "it takes no more jobs. Make another one for them."
        super().__init__("batch_sealed", f"The batch {batch} is sealed: {advice}")


class BatchMove(models.TextChoices):
    """What is being done to all jobs of a batch, by workers where there are many."""

    CANCEL = "cancel"
    REQUEUE = "requeue"
    DELETE = "delete"


class BatchQuerySet(models.QuerySet["Batch"]):
    def shown(self) -> BatchQuerySet:
        """But for those that are being deleted."""
        return self.exclude(move=BatchMove.DELETE)

    def moving(self) -> BatchQuerySet:
        """Those with a move still to be made, or made to the end."""
        return self.exclude(move="")

    def hold(self, pk: UUID) -> Batch | None:
        """The batch, until the transaction ends nobody else's to seal, finish, reopen or add to."""
        return self.select_for_update(no_key=True).filter(pk=pk).first()


class Batch(models.Model):
    """Jobs that were asked for together, and what holds for those that do not say otherwise.

        open -> sealed -> finished -> sealed (a job of it is requeued: the next run)

    Sealed, it takes no more jobs; finished, none of its jobs is open. Whoever ends, adds, requeues or deletes
    a job of it holds the batch's row then (`BatchQuerySet.hold`) until the transaction ends, always after the
    job's own row: of two jobs that end at once, the second so sees the first one's end.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="batches")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL
    )
    key = models.ForeignKey(ApiKey, null=True, editable=False, on_delete=models.SET_NULL)
    name = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    callback_url = models.URLField(max_length=2000, blank=True, help_text="Told when it is finished.")

    # For jobs that do not say otherwise
    options = models.JSONField(default=dict)
    mode = models.CharField(max_length=5, choices=RequestedMode, default=RequestedMode.AUTO)
    region = models.CharField(max_length=50, blank=True)
    priority = models.PositiveSmallIntegerField(choices=Priority, default=Priority.NORMAL)

    # How it goes
    run = models.PositiveIntegerField(default=1, help_text="1, and one more each time it is opened again.")
    move = models.CharField(max_length=10, choices=BatchMove, blank=True)
    moved_at = models.DateTimeField(null=True, help_text="When the move was asked for.")
    moved_to = models.UUIDField(null=True, help_text="The last job that it has come to.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sealed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[BatchQuerySet] = BatchQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name_plural = "batches"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(finished_at=None) | Q(sealed_at__isnull=False),
                name="batch_is_sealed_once_finished",
            ),
        )
        indexes = (
            # The API's and the admin's lists, newest first
            models.Index(fields=("project", "-id"), name="batch_of_project"),
            # BatchQuerySet.moving
            models.Index(fields=("moved_at",), condition=~Q(move=""), name="batch_moving"),
        )

    def __str__(self) -> str:
        return self.name or f"batch {self.pk.hex[-8:]}"

    def defaults(self) -> dict[str, Any]:
        """What a job that says nothing of it is submitted with."""
        return {
            "project": self.project_id,
            "options": self.options,
            "mode": self.mode,
            "region": self.region,
            "priority": Priority(self.priority),
        }

    def admit(self) -> None:
        """Hold the batch, to add to it in this transaction; BatchSealed if it takes no more."""
        held = Batch.objects.hold(self.pk)
        if held is None:
            raise BatchSealed(self)
        held.check_open()

    def check_open(self) -> None:
        """BatchSealed if it takes no more jobs."""
        if self.sealed_at is not None or self.move == BatchMove.DELETE:
            raise BatchSealed(self)

    def begin(self, move: BatchMove) -> None:
        """Have this done to all its jobs, in place of what was being done. Deleting is not taken back."""
        # This host's clock: the instant is what one move is told from the next by.
        fields = {"move": move, "moved_at": timezone.now(), "moved_to": None}
        if Batch.objects.shown().filter(pk=self.pk).update(**fields):
            for name, value in fields.items():
                setattr(self, name, value)

    def move_on(self, to: UUID | None) -> None:
        """The move has come to this job; None: to the last. Nothing if something else was asked for since."""
        same = Batch.objects.filter(pk=self.pk, move=self.move, moved_at=self.moved_at)
        if to is not None:
            same.update(moved_to=to)
        elif same.update(move=""):
            self.move = ""
        self.moved_to = to


class RefusedItem(models.Model):
    """What was sent with a batch and became no job, and why."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="refused")
    name = models.CharField(max_length=300, help_text="Of the file, or the URL.")
    code = models.CharField(max_length=60)
    message = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.name}: {self.code}"


class ArchiveQuerySet(models.QuerySet["BatchArchive"]):
    def unopened(self) -> ArchiveQuerySet:
        """Not opened to the end yet."""
        return self.filter(opened_at=None)

    def due(self) -> ArchiveQuerySet:
        """To be opened now: nobody is at it, or whoever was has not come back."""
        return self.unopened().filter(Q(lease_until=None) | Q(lease_until__lte=Now()))

    def close(self) -> None:
        """Leave them unopened: whoever opens one finds that it is not theirs any more."""
        self.unopened().update(opened_at=Now(), lease_token=None, lease_until=None)

    def claim(self, lease_seconds: float) -> BatchArchive | None:
        """The longest due, now leased to the caller."""
        with transaction.atomic(using=self.db):
            archive = self.due().order_by("id").select_for_update(skip_locked=True, of=("self",)).first()
            if archive is None:
                return None
            token = uuid4()
            self.filter(pk=archive.pk).update(
                lease_token=token, lease_until=seconds_from_now(lease_seconds), claims=F("claims") + 1
            )
        return self.select_related("batch__project", "batch__key", "batch__created_by").get(pk=archive.pk)


class ArchiveLost(Exception):
    """The archive is another's to open by now, or its batch was cancelled or deleted."""


class BatchArchive(models.Model):
    """An archive that was sent with a batch: work for whoever claims it, one member after the other.

    Each member is dealt with in one transaction together with `pass_to`, so that one who is killed and the
    one who takes over never make two jobs of a member. `recording_id` is the name reserved for the next
    member's recording, so that what was stored of it before a kill is found again, or replaced.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="archives")
    filename = models.CharField(max_length=255, blank=True)
    file = models.CharField(max_length=200, editable=False, help_text="Its stored name.")
    size = models.BigIntegerField(help_text="bytes")
    next_member = models.PositiveIntegerField(default=0)
    recording_id = models.UUIDField(default=uuid7, editable=False)
    claims = models.PositiveIntegerField(default=0, help_text="Since the last member.")
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    opened_at = models.DateTimeField(null=True, help_text="To the end.")

    objects: ClassVar[ArchiveQuerySet] = ArchiveQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("id",)
        indexes = (
            # ArchiveQuerySet.due
            models.Index(fields=("lease_until",), condition=Q(opened_at=None), name="archive_due"),
        )

    def __str__(self) -> str:
        return self.filename or str(self.id)

    def pass_to(self, member: int, lease_seconds: float) -> None:
        """All members before this one are dealt with; ArchiveLost if the archive is another's."""
        self._held(
            next_member=member, recording_id=uuid7(), claims=0, lease_until=seconds_from_now(lease_seconds)
        )

    def renew(self, lease_seconds: float) -> None:
        self._held(lease_until=seconds_from_now(lease_seconds))

    def end(self) -> None:
        """Nothing is left to be done."""
        self._held(opened_at=Now(), lease_token=None, lease_until=None)

    def give_back(self, *, for_seconds: float = 0.0) -> None:
        """Let somebody else go on, not before so many seconds."""
        self._held(lease_token=None, lease_until=seconds_from_now(for_seconds), claims=0)

    def _held(self, **fields: Any) -> None:
        mine = BatchArchive.objects.unopened().filter(pk=self.pk, lease_token=self.lease_token)
        if not mine.update(**fields):
            raise ArchiveLost
        for name in ("next_member", "recording_id", "claims"):
            if name in fields:
                setattr(self, name, fields[name])
