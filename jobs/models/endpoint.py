"""Webhook endpoints: who is told of a project's events without being named by a job."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from jobs.ids import uuid7
from jobs.models.event import Event, EventType
from jobs.models.project import Project
from jobs.models.signing import Signing
from routing.addresses import without_query

# An endpoint is given up when nothing but failures was heard of it for this long; but never for a single bad
# day that many events fell on, and never for the few attempts at a receiver that is seldom told anything.
FAILING_AT_MOST = timedelta(days=5)
FAILURES_AT_LEAST = 20
FAILURES_APART = timedelta(days=2)

# A test is sent to the endpoint that is tested, whatever it hears of.
SUBSCRIBABLE = [choice for choice in EventType.choices if choice[0] != EventType.TEST]


class DisabledReason(models.TextChoices):
    BY_HAND = "by_hand", "was disabled by hand"
    GONE = "gone", "answered 410 Gone"
    FAILING = "failing", "has failed for five days"
    DELETED = "deleted", "was deleted"


class EndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def existing(self) -> EndpointQuerySet:
        """Without those that are deleted, and only wait to be forgotten."""
        return self.exclude(disabled_reason=DisabledReason.DELETED)

    def enabled(self) -> EndpointQuerySet:
        return self.filter(disabled_at=None)

    def failing(self) -> EndpointQuerySet:
        """To be looked after: those that fail, and those that were given up."""
        return self.existing().filter(Q(failing_since__isnull=False) | Q(disabled_reason__in=GIVEN_UP))

    def hearing(self, project_id: UUID, kind: str) -> list[tuple[UUID, str]]:
        """Ids and addresses of those that are told of such an event. Asked at the end of every job."""
        enabled = self.enabled().filter(project_id=project_id).values_list("pk", "url", "event_types")
        return [(pk, url) for pk, url, types in enabled if not types or kind in types]


GIVEN_UP = (DisabledReason.GONE, DisabledReason.FAILING)


class WebhookEndpoint(Signing):
    """An address of a project's that is told of its events, signed with a secret of its own.

        enabled -> disabled (by hand, by 410 Gone, by failing for days) -> enabled
        enabled, disabled -> deleted -> forgotten

    A deleted one stays for a while, since somebody who read it may just be writing a delivery to it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="endpoints")
    url = models.URLField(max_length=2000)
    description = models.CharField(max_length=200, blank=True)
    event_types = models.JSONField(
        default=list, blank=True, help_text="What it is told of; none named means everything."
    )
    disabled_at = models.DateTimeField(null=True, editable=False)
    disabled_reason = models.CharField(max_length=10, choices=DisabledReason, blank=True, editable=False)
    failing_since = models.DateTimeField(
        null=True, editable=False, help_text="Nothing but failures since then."
    )
    failures = models.PositiveIntegerField(default=0, editable=False, help_text="Since then.")
    last_failed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[EndpointQuerySet] = EndpointQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "webhook endpoint"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(disabled_at=None, disabled_reason="")
                | Q(disabled_at__isnull=False, disabled_reason__in=DisabledReason.values),
                name="endpoint_is_disabled_for_a_reason",
            ),
        )
        indexes = (
            # EndpointQuerySet.failing
            models.Index(
                fields=("failing_since",), condition=Q(failing_since__isnull=False), name="endpoint_failing"
            ),
        )

    def __str__(self) -> str:
        return self.description or without_query(self.url)

    @property
    def is_enabled(self) -> bool:
        return self.disabled_at is None

    @property
    def wears_out_patience(self) -> bool:
        """Whether the next failure is the last that is put up with."""
        if self.failing_since is None or self.last_failed_at is None:
            return False
        return (
            timezone.now() - self.failing_since >= FAILING_AT_MOST
            and self.failures + 1 >= FAILURES_AT_LEAST
            and self.last_failed_at - self.failing_since >= FAILURES_APART
        )

    def heard(self) -> models.QuerySet[Event]:
        """The events that it hears of, of any time."""
        events = Event.objects.filter(project=self.project_id).exclude(type=EventType.TEST)
        return events.filter(type__in=self.event_types) if self.event_types else events

    def note_failures(self, count: int) -> None:
        """That many attempts failed. For whoever has the row locked."""
        now = timezone.now()
        self.failing_since = self.failing_since or now
        self.last_failed_at = now
        self.failures += count
        self.save(update_fields=("failing_since", "last_failed_at", "failures"))

    def note_success(self) -> None:
        self.failing_since = self.last_failed_at = None
        self.failures = 0
        self.save(update_fields=("failing_since", "last_failed_at", "failures"))

    def disable(self, reason: DisabledReason) -> bool:
        """Tell it nothing more; False if it is told nothing already. (Deliveries: jobs.webhooks.endpoints)"""
        told = WebhookEndpoint.objects.existing().filter(pk=self.pk)
        if reason != DisabledReason.DELETED:
            told = told.enabled()
        if not told.update(disabled_at=Now(), disabled_reason=reason):
            return False
        self.refresh_from_db(fields=("disabled_at", "disabled_reason"))
        return True

    def enable(self) -> None:
        """Begin anew, with no failures held against it; nothing if it is enabled."""
        anew = {"disabled_at": None, "disabled_reason": "", "failing_since": None, "last_failed_at": None}
        disabled = WebhookEndpoint.objects.existing().filter(pk=self.pk, disabled_at__isnull=False)
        disabled.update(**anew, failures=0)
        self.refresh_from_db(fields=(*anew, "failures"))
