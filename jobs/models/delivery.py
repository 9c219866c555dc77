"""Deliveries: each event on its way to each address, and each POST of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from django.db import models, transaction
from django.db.models import Case, Count, F, Min, Q, Value, When
from django.db.models.functions import Now

from jobs.database_clock import seconds_from_now
from jobs.database_turns import Turn, wait_for
from jobs.ids import uuid7
from jobs.models.endpoint import WebhookEndpoint
from jobs.models.event import Event
from jobs.models.project import Project
from jobs.models.signing import Signing
from routing.addresses import without_query

# So that a receiver that hangs holds up its own deliveries alone.
RUNS_PER_RECEIVER = 2


class DeliveryStatus(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


# Failed, or failing and to be tried again.
IN_TROUBLE = Q(status=DeliveryStatus.FAILED) | Q(status=DeliveryStatus.PENDING, attempts__gt=0)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def pending(self) -> DeliveryQuerySet:
        """To be attempted, now or later."""
        return self.filter(status=DeliveryStatus.PENDING)

    def in_trouble(self) -> DeliveryQuerySet:
        """Those that failed, and those that have so far."""
        return self.filter(IN_TROUBLE)

    def due(self) -> DeliveryQuerySet:
        """To be attempted now."""
        return self.idle().pending().filter(run_at__lte=Now())

    def due_since(self) -> datetime | None:
        """Since when the oldest that is due has been; None if none is."""
        due = self.pending().filter(run_at__lte=Now())
        return cast("datetime | None", due.aggregate(first=Min("run_at"))["first"])

    def idle(self) -> DeliveryQuerySet:
        """Nobody is at it, or whoever was has not come back."""
        return self.filter(Q(lease_token=None) | Q(lease_until__lte=Now()))

    def waiting(self) -> DeliveryQuerySet:
        """Pending, and leased to nobody."""
        return self.pending().filter(lease_token=None)

    def claim(
        self,
        runs: int,
        lease_seconds: float,
        *,
        length: int = 1,
        leave: Collection[str] = (),
        singly: Collection[str] = (),
    ) -> list[list[Delivery]]:
        """Up to `runs` runs of due deliveries, each to one receiver and now leased to the caller.

        Receivers come in the order in which they have waited; none that is to be left alone. One has at most
        RUNS_PER_RECEIVER under way, whoever they are leased to, of up to `length` deliveries; those that are
        served `singly` have one, of one delivery.
        """
        with transaction.atomic(using=self.db):
            # Two that count at once would both find room.
            wait_for(Turn.CLAIMING_DELIVERIES, self.db)
            leases = {
                pk: token
                for pks in self._share_out(runs, length, leave, singly)
                for token in [uuid4()]
                for pk in pks
            }
            # Whoever settles or deletes one has it locked.
            free = self.due().filter(pk__in=leases).select_for_update(skip_locked=True, of=("self",))
            found = list(free.select_related("event__project", "event__job", "endpoint").order_by("run_at"))
            claimed: dict[UUID, list[Delivery]] = {}
            for delivery in found:
                delivery.lease_token = leases[delivery.pk]
                claimed.setdefault(delivery.lease_token, []).append(delivery)
            self._lease(claimed, lease_seconds)
        return list(claimed.values())

    def _share_out(
        self, runs: int, length: int, leave: Collection[str], singly: Collection[str]
    ) -> list[list[UUID]]:
        leased = self.filter(lease_token__isnull=False, lease_until__gt=Now()).order_by()
        under_way = Counter(
            dict(leased.values_list("receiver").annotate(Count("lease_token", distinct=True)))
        )

        def room(receiver: str) -> int:
            return (1 if receiver in singly else RUNS_PER_RECEIVER) - under_way[receiver]

        passed = {*leave, *(receiver for receiver in under_way if room(receiver) <= 0)}
        due: dict[str, list[UUID]] = {}
        while len(due) < runs:
            # One that is due by the thousand hides others: it is looked past then.
            others = self.due().exclude(receiver__in={*passed, *due}).order_by("run_at")
            found = list(others.values_list("receiver", "pk")[: runs * length])
            for receiver, pk in found:
                due.setdefault(receiver, []).append(pk)
            if len(found) < runs * length:
                break
        served = list(due)[:runs]
        shares = Counter(served)
        # Every one its first run before any has a second.
        for receiver in served:
            if shares.total() < runs and len(due[receiver]) > 1 and room(receiver) > 1:
                shares[receiver] += 1
        return [
            due[receiver][: 1 if receiver in singly else share * length][nth::share]
            for receiver, share in shares.items()
            for nth in range(share)
        ]

    def _lease(self, claimed: dict[UUID, list[Delivery]], seconds: float) -> None:
        if not claimed:
            return
        of_run = [
            When(pk__in=[delivery.pk for delivery in run], then=Value(token))
            for token, run in claimed.items()
        ]
        chosen = self.filter(pk__in=[delivery.pk for run in claimed.values() for delivery in run])
        chosen.update(
            lease_token=Case(*of_run, output_field=models.UUIDField()), lease_until=seconds_from_now(seconds)
        )

    def locked(self) -> dict[UUID, UUID | None]:
        """Those that still exist, until the transaction ends nobody else's to change, and their leases.

        Always in the same order, so that nobody waits in a circle.
        """
        return dict(self.order_by("pk").select_for_update(of=("self",)).values_list("pk", "lease_token"))

    def replay(self) -> int:
        """Deliver them again, by a schedule that begins anew; how many they are. Not those under way."""
        return self.idle().update(
            status=DeliveryStatus.PENDING,
            run_at=Now(),
            delivered_at=None,
            attempts_before_replay=F("attempts"),
            # Of one who has not come back: what it still writes is of no account.
            lease_token=None,
            lease_until=None,
        )

    def give_back(self) -> None:
        """They were claimed and not attempted. For whoever found the leases to be its own, here and below."""
        self.update(lease_token=None, lease_until=None)

    def settle_delivered(self) -> None:
        """Their receivers took them. For whoever has them locked."""
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
    """One event on its way to one address: an endpoint's, or without one the callback of a job or batch.

        pending -> delivered | failed
        delivered, failed -> pending (replay: the schedule of retries begins anew)

    An attempt that fails leaves it pending with a later `run_at`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    endpoint = models.ForeignKey(
        # Its index: delivery_of_endpoint.
        WebhookEndpoint,
        null=True,
        db_index=False,
        on_delete=models.CASCADE,
        related_name="deliveries",
    )
    url = models.URLField(max_length=2000)
    receiver = models.CharField(max_length=300, editable=False, help_text="Its scheme, host and port.")
    status = models.CharField(max_length=10, choices=DeliveryStatus, default=DeliveryStatus.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    attempts_before_replay = models.PositiveIntegerField(default=0)
    run_at = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    delivered_at = models.DateTimeField(null=True)

    objects: ClassVar[DeliveryQuerySet] = DeliveryQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = (
            models.UniqueConstraint(fields=("event", "endpoint"), name="one_delivery_per_endpoint"),
            models.UniqueConstraint(
                fields=("event", "url"), condition=Q(endpoint=None), name="one_delivery_per_callback"
            ),
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
            # The API's list, newest first
            models.Index(fields=("endpoint", "-id"), name="delivery_of_endpoint"),
            # DeliveryQuerySet.in_trouble, newest first: few of many
            models.Index(fields=("-id",), condition=IN_TROUBLE, name="delivery_in_trouble"),
        )

    def __str__(self) -> str:
        return f"{self.event.type} to {self.shown_url}"

    @property
    def shown_url(self) -> str:
        return without_query(self.url)

    @property
    def project(self) -> Project:
        return self.event.project

    @property
    def project_id(self) -> UUID:
        return self.event.project_id

    @property
    def signing(self) -> Signing:
        """Whose secrets sign it."""
        return self.endpoint or self.event.project

    @property
    def tries(self) -> int:
        """Attempts since it was made or replayed: where it is in the schedule of retries."""
        return self.attempts - self.attempts_before_replay

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
    address = models.CharField(max_length=45, blank=True, help_text="The IP address that answered.")
    response = models.TextField(blank=True, help_text="The first 4 kB of what the receiver answered.")

    class Meta:
        ordering = ("number",)

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.status_code or self.error}"

    @property
    def took_it(self) -> bool:
        """Whether the receiver did: any 2xx (Standard Webhooks 1.0.0)."""
        return self.status_code is not None and 200 <= self.status_code < 300
