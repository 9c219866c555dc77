"""What the world is told: events, and their deliveries as rows."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from django.db import connections, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.database_clock import seconds_from_now
from jobs.ids import uuid7
from jobs.models.job import TranscriptionJob
from jobs.models.project import Project

# So that a receiver that hangs holds up its own deliveries alone.
IN_FLIGHT_PER_RECEIVER = 2
# Any number that no other advisory lock of this database has.
_CLAIMING = 7_305_112_907


class EventType(models.TextChoices):
    JOB_COMPLETED = "job.completed"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    BATCH_COMPLETED = "batch.completed"
    STREAM_ENDED = "stream.ended"
    TEST = "test"


class Event(models.Model):
    """Something that happened, written in the transaction in which it did.

    A run ends once, so each run of a job has one event, and the run's number is the event's sequence. What
    other events tell of has a number of its own, or happens once.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="events")
    type = models.CharField(max_length=30, choices=EventType)
    job = models.ForeignKey(TranscriptionJob, null=True, on_delete=models.CASCADE, related_name="events")
    sequence = models.PositiveIntegerField(default=1)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("job", "sequence"), name="one_event_per_run"),)

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


def as_json(data: dict[str, Any]) -> bytes:
    """As it goes over the wire. Numbers of any size: PostgreSQL gives 1e20 back as an integer."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


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
        """Up to `limit` due deliveries, the longest due first, now leased to the caller.

        Of one receiver at most IN_FLIGHT_PER_RECEIVER are leased at a time, whoever they are leased to.
        """
        with transaction.atomic(using=self.db):
            self._claim_in_turn()
            chosen = self._next_due(limit)
            self.filter(pk__in=chosen).update(
                lease_token=uuid4(), lease_until=seconds_from_now(lease_seconds)
            )
            return list(self.filter(pk__in=chosen).select_related("event__project"))

    def _next_due(self, limit: int) -> list[UUID]:
        leased = self.filter(lease_token__isnull=False, lease_until__gt=Now())
        in_flight = Counter(leased.values_list("receiver", flat=True))
        chosen: list[UUID] = []
        while wanted := limit - len(chosen):
            busy = [receiver for receiver, number in in_flight.items() if number >= IN_FLIGHT_PER_RECEIVER]
            free = self.due().exclude(receiver__in=busy).exclude(pk__in=chosen).order_by("run_at")
            # Whoever settles or deletes one has it locked.
            free = free.select_for_update(skip_locked=True)
            found = list(free.values_list("pk", "receiver")[:wanted])
            for pk, receiver in found:
                if in_flight[receiver] < IN_FLIGHT_PER_RECEIVER:
                    in_flight[receiver] += 1
                    chosen.append(pk)
            if len(found) < wanted:
                break
        return chosen

    def _claim_in_turn(self) -> None:
        """Two that count at once would both find room. SQLite has one writer at a time anyway."""
        connection = connections[self.db]
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIMING])

    def locked(self) -> dict[UUID, UUID | None]:
        """Those that still exist, until the transaction ends nobody else's to change, and their leases.

        Always in the same order, so that nobody waits in a circle.
        """
        return dict(self.order_by("pk").select_for_update(of=("self",)).values_list("pk", "lease_token"))

    def settle_delivered(self) -> None:
        """Their receivers took them. For whoever has them locked and found the leases to be its own."""
        self.update(
            status=DeliveryStatus.DELIVERED,
            attempts=F("attempts") + 1,
            delivered_at=Now(),
            lease_token=None,
            lease_until=None,
        )


def receiver_of(url: str) -> str:
    """Whom a URL, which is one that may be called, leads to: scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or (80 if parts.scheme == 'http' else 443)}"[:300]


class Delivery(models.Model):
    """One event on its way to one address.

    pending -> delivered | failed. An attempt that fails leaves it pending with a later `run_at`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    url = models.URLField(max_length=2000)
    receiver = models.CharField(max_length=300, editable=False, help_text="Its scheme, host and port.")
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
            # DeliveryQuerySet.claim: who is busy
            models.Index(
                fields=("receiver",), condition=Q(lease_token__isnull=False), name="delivery_leased"
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
