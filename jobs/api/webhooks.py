"""What the API shows of webhook endpoints and deliveries, and what may be said of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from jobs.api.bodies import BodySerializer
from jobs.api.known import ChoiceField
from jobs.api.submissions import CallableURLField
from jobs.models import Delivery, DeliveryAttempt, DeliveryStatus, EventType, WebhookEndpoint
from jobs.models.endpoint import SUBSCRIBABLE, DisabledReason


class EndpointSerializer(BodySerializer, serializers.ModelSerializer[WebhookEndpoint]):
    url = CallableURLField(private="WEBHOOK_ALLOW_PRIVATE", help_text="Public and https.")
    description = serializers.CharField(max_length=200, allow_blank=True, default="")
    event_types = serializers.ListField(
        child=ChoiceField(choices=SUBSCRIBABLE),
        max_length=len(SUBSCRIBABLE),
        default=list,
        help_text="What it is told of; none named means everything.",
    )
    enabled = serializers.BooleanField(source="is_enabled", default=True)
    disabled_reason = serializers.ChoiceField(
        choices=DisabledReason.choices,
        read_only=True,
        allow_null=True,
        help_text="by_hand; gone: it answered 410; failing: for five days.",
    )
    failing_since = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="Nothing but failures since then."
    )
    previous_secret_until = serializers.DateTimeField(
        source="previous_webhook_secret_until",
        read_only=True,
        allow_null=True,
        help_text="Until then both secrets sign; null if one does.",
    )

    class Meta:
        model = WebhookEndpoint
        fields = (
            "id",
            "project",
            "url",
            "description",
            "event_types",
            "enabled",
            "disabled_at",
            "disabled_reason",
            "failing_since",
            "previous_secret_until",
            "created_at",
        )
        read_only_fields = ("id", "project", "disabled_at", "created_at")

    def to_representation(self, endpoint: WebhookEndpoint) -> dict[str, Any]:
        shown = super().to_representation(endpoint)
        until = endpoint.previous_webhook_secret_until
        if until is not None and until <= timezone.now():
            shown["previous_secret_until"] = None
        return {**shown, "disabled_reason": endpoint.disabled_reason or None}


class MadeEndpointSerializer(EndpointSerializer):
    secret = serializers.CharField(source="webhook_secret", read_only=True)

    class Meta(EndpointSerializer.Meta):
        fields = (*EndpointSerializer.Meta.fields, "secret")  # type: ignore[assignment]


class DeliveryAttemptSerializer(serializers.ModelSerializer[DeliveryAttempt]):
    number = serializers.IntegerField(help_text="From 1 up, replays included.")
    status_code = serializers.IntegerField(allow_null=True, help_text="What the receiver answered.")
    error = serializers.CharField(allow_null=True, help_text="Why it answered nothing.")
    address = serializers.CharField(allow_null=True, help_text="The IP address that answered.")
    duration = serializers.FloatField(help_text="seconds")
    response = serializers.CharField(help_text="The first 4 kB of what the receiver answered.")

    class Meta:
        model = DeliveryAttempt
        fields = ("number", "started_at", "duration", "status_code", "error", "address", "response")

    def to_representation(self, attempt: DeliveryAttempt) -> dict[str, Any]:
        shown = super().to_representation(attempt)
        return {**shown, "error": attempt.error or None, "address": attempt.address or None}


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    message_id = serializers.CharField(source="event.message_id", help_text="The header webhook-id.")
    type = serializers.ChoiceField(source="event.type", choices=EventType.choices)
    job = serializers.UUIDField(source="event.job_id", allow_null=True)
    endpoint = serializers.UUIDField(
        source="endpoint_id", allow_null=True, help_text="null: it goes to a callback_url."
    )
    status = serializers.ChoiceField(choices=DeliveryStatus.choices)
    attempts = serializers.IntegerField(help_text="Made so far.")
    run_at = serializers.DateTimeField(allow_null=True, help_text="When it is attempted next.")
    created_at = serializers.DateTimeField(source="event.created_at", help_text="Of the event.")
    data = serializers.DictField(  # type: ignore[assignment]  # hides the serializer's own, unused here
        source="event.data", help_text="What is sent."
    )
    log = DeliveryAttemptSerializer(many=True, help_text="The attempts, the oldest first.")

    class Meta:
        model = Delivery
        fields = (
            "id",
            "message_id",
            "type",
            "job",
            "endpoint",
            "url",
            "status",
            "attempts",
            "run_at",
            "created_at",
            "delivered_at",
            "data",
            "log",
        )

    def to_representation(self, delivery: Delivery) -> dict[str, Any]:
        shown = super().to_representation(delivery)
        return shown if delivery.status == DeliveryStatus.PENDING else {**shown, "run_at": None}


class ReplaySerializer(BodySerializer):
    after = serializers.DateTimeField(help_text="Events from then on …")
    before = serializers.DateTimeField(
        default=timezone.now, help_text="… and before this; now, if not given."
    )
    failed_only = serializers.BooleanField(
        default=True, help_text="Only what failed, or was never sent; false: all over again."
    )

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        after: datetime = fields["after"]
        if after >= fields["before"]:
            raise serializers.ValidationError({"after": "This must be before `before`, and in the past."})
        return fields


class ReplayedSerializer(serializers.Serializer[Any]):
    replayed = serializers.IntegerField(help_text="Events that are delivered again.")
