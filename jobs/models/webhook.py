"""What the world is told: events, and their deliveries as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import uuid4

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.database_clock import seconds_from_now
from jobs.ids import uuid7
from jobs.models.job import TranscriptionJob
from jobs.models.project import Project


class EventType(models.TextChoices):
    JOB_COMPLETED = "job.completed"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"


class Event(models.Model):
    """Something that happened, written in the transaction in which it did.

    A run ends once, so each run of a job has one event, and the run's number is the event's sequence.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="events")
    type = models.CharField(max_length=30, choices=EventType)
    job = models.ForeignKey(TranscriptionJob, null=True, on_delete=models.CASCADE, related_name="events")
    sequence = models.PositiveIntegerField()
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("job", "sequence"), name="one_event_per_run"),)

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class DeliveryStatus(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def due(self) -> DeliveryQuerySet:
        """To be attempted now: nobody is at it, or whoever was has not come back."""
        return self.filter(
            Q(lease_until=None) | Q(lease_until__lte=Now()),
            status=DeliveryStatus.PENDING,
            run_at__lte=Now(),
        )

    def claim(self, limit: int, lease_seconds: float) -> list[Delivery]:
        """Up to `limit` due deliveries, now leased to the caller under one new token."""
        token = uuid4()
        due = list(self.due().order_by("run_at").values_list("pk", flat=True)[:limit])
        if not due:
            return []
        self.due().filter(pk__in=due).update(lease_token=token, lease_until=seconds_from_now(lease_seconds))
        return list(self.filter(lease_token=token).select_related("event__project"))

    def settle_delivered(self, deliveries: Sequence[Delivery]) -> None:
        """Their receivers took them. One whose lease was lost meanwhile stays as it is."""
        for token in {delivery.lease_token for delivery in deliveries}:
            self.filter(pk__in=[delivery.pk for delivery in deliveries], lease_token=token).update(
                status=DeliveryStatus.DELIVERED,
                attempts=F("attempts") + 1,
                delivered_at=Now(),
                lease_token=None,
                lease_until=None,
            )


class Delivery(models.Model):
    """One event on its way to one address.

    pending -> delivered | failed. An attempt that fails leaves it pending with a later `run_at`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    url = models.URLField(max_length=2000)
    status = models.CharField(max_length=10, choices=DeliveryStatus, default=DeliveryStatus.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    run_at = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    delivered_at = models.DateTimeField(null=True)

    objects: ClassVar[DeliveryQuerySet] = DeliveryQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = (
            models.UniqueConstraint(fields=("event", "url"), name="one_delivery_per_address"),
            models.CheckConstraint(
                condition=Q(status__in=DeliveryStatus.values), name="delivery_status_is_known"
            ),
        )
        indexes = (
            # DeliveryQuerySet.due
            models.Index(fields=("run_at",), condition=Q(status=DeliveryStatus.PENDING), name="delivery_due"),
            # DeliveryQuerySet.claim
            models.Index(
                fields=("lease_token",), condition=Q(lease_token__isnull=False), name="delivery_leased"
            ),
        )

    def __str__(self) -> str:
        return f"{self.event.type} to {self.url}"

    def retry_in(self, seconds: float) -> bool:
        """Attempt it again then. False when the lease was lost meanwhile, here and below."""
        return self._leave(run_at=seconds_from_now(seconds))

    def give_up(self) -> bool:
        return self._leave(status=DeliveryStatus.FAILED)

    def _leave(self, **fields: Any) -> bool:
        return bool(
            Delivery.objects.filter(pk=self.pk, lease_token=self.lease_token).update(
                lease_token=None, lease_until=None, attempts=F("attempts") + 1, **fields
            )
        )


class DeliveryAttempt(models.Model):
    """One POST of a delivery: what was answered, or why nothing was."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="log")
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    duration = models.FloatField(help_text="seconds")
    status_code = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=200, blank=True)
    response = models.TextField(blank=True, help_text="The first 4 kB of what the receiver answered.")

    class Meta:
        ordering = ("number",)

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.status_code or self.error}"
