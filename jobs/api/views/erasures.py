"""Erasing what somebody has in a project, and the reports of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.bodies import BodySerializer
from jobs.api.permissions import MANAGING
from jobs.api.views.scoped import PROJECT, ScopedViewSet
from jobs.forgetting import erasure
from jobs.models import ApiKey, Erasure, Subject

KEPT = (
    {"what": "usage", "why": "Requests, audio and cost by day, for billing; without whose they were."},
    {
        "what": "audit",
        "why": "Who did what when, and what it was called, for a year: to be answered for.",
    },
)


class ErasureRequestSerializer(BodySerializer):
    """Just one of these."""

    user = serializers.CharField(required=False, help_text="A username: what they submitted in person.")
    key = serializers.UUIDField(required=False, help_text="A key's id: what was submitted with it.")
    tag = serializers.CharField(required=False, max_length=128)
    metadata = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text='One name with its value: `{"customer": "42"}`.',
    )
    dry_run = serializers.BooleanField(default=False, help_text="Only count what there is of it.")

    def validate_metadata(self, pairs: Mapping[str, str]) -> Mapping[str, str]:
        if len(pairs) != 1:
            raise serializers.ValidationError("Give one name with its value.")
        try:
            return erasure.metadata_of(*next(iter(pairs.items())))
        except erasure.UnknownSubject as error:
            raise serializers.ValidationError(str(error)) from None

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if len(given.keys() - {"dry_run"}) != 1:
            raise serializers.ValidationError("Give just one of user, key, tag and metadata.")
        return given


class KeptSerializer(serializers.Serializer[Any]):
    what = serializers.CharField()
    why = serializers.CharField()


class ErasureSerializer(serializers.Serializer[Erasure]):
    id = serializers.UUIDField(allow_null=True, help_text="Null for a dry run.")
    project = serializers.UUIDField()
    subject = serializers.ChoiceField(Subject.choices)
    requested_by = serializers.CharField()
    requested_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True, help_text="Null: it goes on.")
    deleted = serializers.DictField(child=serializers.IntegerField(), help_text="How many of what so far.")
    left = serializers.DictField(
        child=serializers.IntegerField(), help_text="How much of it is there now; empty once it is finished."
    )
    kept = KeptSerializer(many=True)

    def to_representation(self, row: Erasure) -> dict[str, Any]:
        return {
            "id": None if row._state.adding else row.pk,
            "project": row.project_id,
            "subject": row.subject,
            "requested_by": row.requested_by,
            "requested_at": row.requested_at,
            "finished_at": row.finished_at,
            "deleted": row.deleted,
            "left": {} if row.finished_at else dict(erasure.found(row)),
            "kept": KEPT,
        }


class ErasureViewSet(ScopedViewSet):
    needs: ClassVar = {"list": MANAGING, "retrieve": MANAGING, "create": MANAGING}
    refuses: ClassVar = {"create": (404,)}
    queryset = Erasure.objects.none()
    serializer_class = ErasureSerializer

    def get_queryset(self) -> Any:
        user: Any = self.request.user
        if not isinstance(self.request.auth, ApiKey) and user.is_staff:
            # Also of projects that are gone.
            named = self.project_named()
            return Erasure.objects.filter(project=named) if named else Erasure.objects.all()
        return self.in_projects(Erasure.objects.all())

    @extend_schema(responses=ErasureSerializer(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        """Erasures that were asked for, deleted projects too, the newest first, each with its report."""
        page: Any = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(ErasureSerializer(page, many=True).data)

    def retrieve(self, request: Request, pk: Any) -> Response:
        """The report: what was deleted, when, by whose order, and what is kept and why."""
        return Response(ErasureSerializer(self.get_object()).data)

    @extend_schema(
        request=ErasureRequestSerializer,
        responses={200: ErasureSerializer, 202: ErasureSerializer},
        parameters=[PROJECT],
    )
    def create(self, request: Request) -> Response:
        """Erase all that a user, key, tag or customer has in the project, within minutes: 202.

        Jobs with recordings, transcripts, answers, events and deliveries; live sessions; uploads; batches.
        Whole projects are erased by deleting them.
        """
        wanted = ErasureRequestSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = dict(wanted.validated_data)
        dry_run = given.pop("dry_run")
        project = self.project_to_act_in()
        [(name, value)] = given.items()
        if name in ("user", "key"):
            try:
                value = erasure.value_of(project, name, str(value))
            except erasure.UnknownSubject as error:
                raise serializers.ValidationError({name: str(error)}) from None
        if dry_run:
            return Response(ErasureSerializer(Erasure(project=project, subject=name, value=value)).data)
        asked = erasure.ask(project, Subject(name), value, request)
        return Response(ErasureSerializer(asked).data, status=202)
