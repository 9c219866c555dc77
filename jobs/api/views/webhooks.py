"""Webhook endpoints, the secrets that sign what they are sent, and the log of deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.filters import DeliveryFilter
from jobs.api.permissions import MANAGING, OPERATING, READING
from jobs.api.serializers import RotationSerializer, SecretSerializer
from jobs.api.views.scoped import PROJECT, ScopedViewSet
from jobs.api.webhooks import (
    DeliverySerializer,
    EndpointSerializer,
    MadeEndpointSerializer,
    ReplayedSerializer,
    ReplaySerializer,
)
from jobs.audit import audited, record
from jobs.models import Delivery, DisabledReason, WebhookEndpoint
from jobs.models.audit import Action
from jobs.models.signing import Signing
from jobs.webhooks import deliverer, endpoints


class EndpointViewSet(ScopedViewSet):
    needs: ClassVar = {
        "list": READING,
        "create": MANAGING,
        "retrieve": READING,
        "partial_update": MANAGING,
        "destroy": MANAGING,
        "secret": MANAGING,
        "rotate": MANAGING,
        "test": OPERATING,
        "replay": OPERATING,
    }
    refuses: ClassVar = {"create": (404, 409), "secret": (409,), "replay": (409,)}
    queryset = WebhookEndpoint.objects.none()
    serializer_class = EndpointSerializer

    def get_queryset(self) -> QuerySet[WebhookEndpoint]:
        return self.in_projects(WebhookEndpoint.objects.existing().select_related("project"))

    @extend_schema(parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(EndpointSerializer(page, many=True).data)

    @extend_schema(request=EndpointSerializer, responses={201: MadeEndpointSerializer}, parameters=[PROJECT])
    def create(self, request: Request) -> Response:
        """An address that is told of the project's events, with the secret that signs what it is told."""
        wanted = EndpointSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        fields = dict(wanted.validated_data)
        enabled = fields.pop("is_enabled")
        endpoint = WebhookEndpoint(project=self.project_to_act_in(), **fields)
        with audited(Action.WEBHOOK_ADDED, request, endpoint):
            endpoints.add(endpoint, enabled=enabled)
        return Response(MadeEndpointSerializer(endpoint).data, status=201)

    def retrieve(self, request: Request, pk: UUID) -> Response:
        return Response(EndpointSerializer(self.get_object()).data)

    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Change it. What is on its way to one that is disabled fails; enabled again, it can be replayed."""
        endpoint = self.get_object()
        changes = EndpointSerializer(endpoint, data=request.data, partial=True)
        changes.is_valid(raise_exception=True)
        with audited(Action.WEBHOOK_CHANGED, request, endpoint, changed=sorted(changes.initial_data)):
            endpoints.change(endpoint, dict(changes.validated_data))
        return Response(EndpointSerializer(endpoint).data)

    def destroy(self, request: Request, pk: UUID) -> Response:
        """It is told nothing more, and soon its log is gone too."""
        endpoint = self.get_object()
        with audited(Action.WEBHOOK_DELETED, request, endpoint):
            endpoints.disable(endpoint, DisabledReason.DELETED)
        return Response(status=204)

    @extend_schema(responses=SecretSerializer, operation_id="webhooks_endpoint_secret_retrieve")
    def secret(self, request: Request, pk: UUID) -> Response:
        """What signs deliveries to this endpoint (Standard Webhooks)."""
        return _revealed(self.get_object(), request)

    @extend_schema(
        request=RotationSerializer,
        responses=SecretSerializer,
        operation_id="webhooks_endpoint_rotate_create",
    )
    def rotate(self, request: Request, pk: UUID) -> Response:
        """A new secret; for `overlap_seconds` the one before signs beside it."""
        return _rotated(self.get_object(), request)

    @extend_schema(request=None, responses=DeliverySerializer)
    def test(self, request: Request, pk: UUID) -> Response:
        """Send it a `test` event now, and say what came of it; it is given 15 seconds to answer."""
        endpoint = self.get_object()
        delivery = deliverer.deliver_test(endpoint)
        record(Action.WEBHOOK_TESTED, request, endpoint, status_code=delivery.log.get().status_code)
        return Response(DeliverySerializer(delivery).data)

    @extend_schema(request=ReplaySerializer, responses={202: ReplayedSerializer})
    def replay(self, request: Request, pk: UUID) -> Response:
        """Deliver the events of some time again: 10,000 at most, among them what it missed while disabled."""
        endpoint = self.get_object()
        wanted = ReplaySerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        asked = wanted.validated_data
        since, until = asked["after"].isoformat(), asked["before"].isoformat()
        with transaction.atomic():
            count = endpoints.replay_range(endpoint, **asked)
            record(Action.WEBHOOK_REPLAYED, request, endpoint, since=since, until=until, count=count)
        return Response({"replayed": count}, status=202)


class DeliveryViewSet(ScopedViewSet):
    """All of a project, those to callback URLs included."""

    needs: ClassVar = {"list": READING, "retrieve": READING, "replay": OPERATING}
    refuses: ClassVar = {"replay": (409,)}
    queryset = Delivery.objects.none()
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilter

    def get_queryset(self) -> QuerySet[Delivery]:
        deliveries = Delivery.objects.filter(event__project__in=self.projects())
        return deliveries.select_related("event__project", "endpoint").prefetch_related("log")

    @extend_schema(parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        """The log, the newest first, with every attempt; it goes back 30 days."""
        page: Any = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(DeliverySerializer(page, many=True).data)

    def retrieve(self, request: Request, pk: UUID) -> Response:
        return Response(DeliverySerializer(self.get_object()).data)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    def replay(self, request: Request, pk: UUID) -> Response:
        """Deliver it again, whatever has come of it so far, with the same message id."""
        delivery = self.get_object()
        with audited(Action.WEBHOOK_REPLAYED, request, delivery):
            endpoints.replay(delivery)
        return Response(DeliverySerializer(self.get_object()).data, status=202)


class EndpointDeliveryViewSet(DeliveryViewSet):
    def get_queryset(self) -> QuerySet[Delivery]:
        theirs = self.in_projects(WebhookEndpoint.objects.existing())
        return super().get_queryset().filter(endpoint=get_object_or_404(theirs, pk=self.kwargs["endpoint"]))

    @extend_schema(operation_id="webhooks_endpoint_deliveries_list")
    def list(self, request: Request, endpoint: UUID) -> Response:  # type: ignore[override]  # of the URL
        """The log of one endpoint, the newest first, with every attempt; it goes back 30 days."""
        return super().list(request)


class WebhookSecretViewSet(ScopedViewSet):
    needs: ClassVar = {"retrieve": MANAGING, "rotate": MANAGING}
    refuses: ClassVar = {"retrieve": (400, 404, 409), "rotate": (404,)}
    serializer_class = SecretSerializer

    @extend_schema(parameters=[PROJECT])
    def retrieve(self, request: Request) -> Response:
        """What signs deliveries to a job's `callback_url` (Standard Webhooks)."""
        return _revealed(self.project_to_act_in(), request)

    @extend_schema(request=RotationSerializer, parameters=[PROJECT])
    def rotate(self, request: Request) -> Response:
        """A new secret; for `overlap_seconds` the one before signs beside it."""
        return _rotated(self.project_to_act_in(), request)


def _revealed(signing: Signing, request: Request) -> Response:
    # Read first: one that cannot be is not revealed.
    secret = signing.webhook_secret
    record(Action.SECRET_REVEALED, request, signing)
    return Response({"secret": secret})


def _rotated(signing: Signing, request: Request) -> Response:
    wanted = RotationSerializer(data=request.data)
    wanted.is_valid(raise_exception=True)
    overlap = wanted.validated_data["overlap_seconds"]
    with audited(Action.SECRET_ROTATED, request, signing, overlap_seconds=overlap):
        signing.rotate_webhook_secret(timedelta(seconds=overlap))
    return Response({"secret": signing.webhook_secret})
