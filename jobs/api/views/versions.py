"""The versions of a transcript: the provider's, and what people made of them."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.corrections import CorrectionSerializer, VersionSerializer
from jobs.api.permissions import READING, REVIEWING
from jobs.api.views.scoped import ScopedViewSet
from jobs.audit import audited, name_of
from jobs.corrections import correct, restore
from jobs.models import Transcript, TranscriptionJob
from jobs.models.audit import Action


class VersionViewSet(ScopedViewSet):
    needs: ClassVar = {"list": READING, "create": REVIEWING}
    refuses: ClassVar = {"create": (409,)}
    queryset = TranscriptionJob.objects.none()
    serializer_class = VersionSerializer

    def get_queryset(self) -> Any:
        return self.in_projects(TranscriptionJob.objects.select_related("project"))

    @extend_schema(responses=VersionSerializer(many=True), operation_id="jobs_versions_list")
    def list(self, request: Request, pk: UUID) -> Response:
        """All versions of the transcript, the newest first. `transcript.json?version=` has what each says."""
        versions = Transcript.objects.filter(job=self.get_object()).only(
            "version", "run", "author", "language", "confidence", "speakers", "created_at"
        )
        page: Any = self.paginate_queryset(versions)
        return self.get_paginated_response(VersionSerializer(page, many=True).data)

    @extend_schema(
        request=CorrectionSerializer, responses={201: VersionSerializer}, operation_id="jobs_versions_create"
    )
    def create(self, request: Request, pk: UUID) -> Response:
        """Correct the transcript: the next version, which exports are of from then on.

        409 `transcript_changed` if there is a later version than the one that it is based on.
        """
        job = self.get_object()
        correction = CorrectionSerializer(data=request.data)
        correction.is_valid(raise_exception=True)
        asked: dict[str, Any] = dict(correction.validated_data)
        based_on, earlier = asked.pop("based_on"), asked.pop("restore", None)
        author = name_of(request)
        with audited(Action.TRANSCRIPT_CORRECTED, request, job, based_on=based_on):
            if earlier is None:
                version = correct(job, author, based_on, **asked)
            else:
                version = restore(job, author, based_on, earlier)
        return Response(VersionSerializer(version).data, status=201)
