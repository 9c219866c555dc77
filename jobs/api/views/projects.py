"""Projects and their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.filters import check_parameters
from jobs.api.permissions import MANAGING, READING
from jobs.api.serializers import (
    IssuedKeySerializer,
    KeyChangesSerializer,
    KeySerializer,
    ProjectSerializer,
    RetentionQuerySerializer,
    RetentionSerializer,
    RotationSerializer,
)
from jobs.api.views.scoped import PROJECT, ScopedViewSet
from jobs.audit import audited, record
from jobs.forgetting import erasure
from jobs.forgetting.preview import preview
from jobs.models import ApiKey, Project
from jobs.models.audit import Action


class ProjectViewSet(ScopedViewSet):
    needs: ClassVar = {
        "list": READING,
        "create": MANAGING,
        "retrieve": READING,
        "partial_update": MANAGING,
        "destroy": MANAGING,
        "retention": MANAGING,
    }
    refuses: ClassVar = {"retention": (400,)}
    queryset = Project.objects.none()
    serializer_class = ProjectSerializer

    def get_queryset(self) -> Any:
        return self.projects()

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(ProjectSerializer(page, many=True).data)

    def create(self, request: Request) -> Response:
        """A new project, which you operate. A key has its project, and makes none."""
        if isinstance(request.auth, ApiKey):
            raise PermissionDenied("A key belongs to a project and makes none: sign in.")
        user: Any = request.user
        wanted = ProjectSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        with transaction.atomic():
            project = Project.objects.found(user, **wanted.validated_data)
            record(Action.PROJECT_CREATED, request, project)
        return Response(ProjectSerializer(project).data, status=201)

    def retrieve(self, request: Request, pk: UUID) -> Response:
        return Response(ProjectSerializer(self.get_object()).data)

    def partial_update(self, request: Request, pk: UUID) -> Response:
        project = self.get_object()
        changes = ProjectSerializer(project, data=request.data, partial=True)
        changes.is_valid(raise_exception=True)
        with audited(Action.PROJECT_CHANGED, request, project, changed=sorted(changes.validated_data)):
            changes.save()
        return Response(changes.data)

    @extend_schema(parameters=[RetentionQuerySerializer], responses=RetentionSerializer)
    def retention(self, request: Request, pk: UUID) -> Response:
        """What the next purge deletes by the project's policies, or would by those in the query."""
        project = self.get_object()
        check_parameters(request.query_params, RetentionQuerySerializer().fields)
        asked = RetentionQuerySerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        kept = {
            "audio_days": project.keeps_audio_days,
            "transcript_days": project.keeps_transcript_days,
            **asked.validated_data,
        }
        goes: Any = {**kept, **asdict(preview(project, **kept))}
        return Response(RetentionSerializer(goes).data)

    @extend_schema(responses={202: None})
    def destroy(self, request: Request, pk: UUID) -> Response:
        """Gone at once with its keys and open jobs; all that is stored of it is erased within minutes."""
        project = self.get_object()
        with audited(Action.PROJECT_DELETED, request, project):
            erasure.begin(project, request)
        return Response(status=202)


class KeyViewSet(ScopedViewSet):
    needs: ClassVar = {
        "list": MANAGING,
        "create": MANAGING,
        "retrieve": MANAGING,
        "partial_update": MANAGING,
        "destroy": MANAGING,
        "rotate": MANAGING,
    }
    refuses: ClassVar = {"create": (404,), "rotate": (409,)}
    queryset = ApiKey.objects.none()
    serializer_class = KeySerializer

    def get_queryset(self) -> Any:
        return self.in_projects(ApiKey.objects.all())

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(KeySerializer(page, many=True).data)

    @extend_schema(request=KeySerializer, responses={201: IssuedKeySerializer}, parameters=[PROJECT])
    def create(self, request: Request) -> Response:
        """A new key; `key` is shown this once. A key can issue none that may do more than itself."""
        wanted = KeySerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        fields: dict[str, Any] = wanted.validated_data
        self._check_covered(fields["scopes"])
        project = self.project_to_act_in()
        with transaction.atomic():
            key, text = ApiKey.objects.issue(project, created_by=self._person(), **fields)
            record(Action.KEY_ISSUED, request, key)
        return Response({**KeySerializer(key).data, "key": text}, status=201)

    def retrieve(self, request: Request, pk: UUID) -> Response:
        return Response(KeySerializer(self.get_object()).data)

    @extend_schema(request=KeyChangesSerializer, responses=KeySerializer)
    def partial_update(self, request: Request, pk: UUID) -> Response:
        key = self.get_object()
        changes = KeyChangesSerializer(key, data=request.data, partial=True)
        changes.is_valid(raise_exception=True)
        with audited(Action.KEY_CHANGED, request, key, changed=sorted(changes.validated_data)):
            changes.save()
        return Response(changes.data)

    @extend_schema(request=RotationSerializer, responses={201: IssuedKeySerializer})
    def rotate(self, request: Request, pk: UUID) -> Response:
        """A new key in place of this one, which works on for `overlap_seconds`; `key` is shown this once."""
        old = self.get_object()
        self._check_covered(old.scopes)
        wanted = RotationSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        overlap = timedelta(seconds=wanted.validated_data["overlap_seconds"])
        with audited(Action.KEY_ROTATED, request, old):
            key, text = ApiKey.objects.rotate(old, overlap, created_by=self._person())
            record(Action.KEY_ISSUED, request, key)
        return Response({**KeySerializer(key).data, "key": text}, status=201)

    def _check_covered(self, scopes: Sequence[str]) -> None:
        by = self.request.auth
        if isinstance(by, ApiKey) and not by.covers(*scopes):
            raise PermissionDenied("A key cannot issue one that may do more than itself.")

    def _person(self) -> Any:
        return None if isinstance(self.request.auth, ApiKey) else self.request.user

    def destroy(self, request: Request, pk: UUID) -> Response:
        """Revokes it; it stays in the list, since jobs name it."""
        key = self.get_object()
        with audited(Action.KEY_REVOKED, request, key):
            key.revoke()
        return Response(status=204)
