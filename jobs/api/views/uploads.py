"""Large files, a part at a time: the core of tus 1.0 where files are ours, or else S3's multipart uploads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, cast
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.errors import BadRequest, TooLarge, WrongTusVersion
from jobs.api.parsers import OffsetParser, length_of
from jobs.api.permissions import READING, SUBMITTING
from jobs.api.serializers import (
    RecordingSerializer,
    UploadPartSerializer,
    UploadRequestSerializer,
    UploadSerializer,
)
from jobs.api.views.scoped import PROJECT, ScopedViewSet
from jobs.audio import uploads
from jobs.models import ApiKey, Upload

TUS_VERSION = "1.0.0"
OFFSET = OpenApiParameter(
    "Upload-Offset", int, OpenApiParameter.HEADER, required=True, description="Where the body begins."
)
TUS = OpenApiParameter("Tus-Resumable", str, OpenApiParameter.HEADER, enum=[TUS_VERSION])


class UploadViewSet(ScopedViewSet):
    needs: ClassVar = {
        "list": READING,
        "create": SUBMITTING,
        "retrieve": READING,
        "receive": SUBMITTING,
        "complete": SUBMITTING,
        "destroy": SUBMITTING,
    }
    refuses: ClassVar = {
        "create": (404, 409, 411, 413, 507),
        "retrieve": (409, 412),
        "receive": (408, 409, 411, 412, 413, 415, 507),
        "complete": (409, 415, 507),
    }
    queryset = Upload.objects.none()
    serializer_class = UploadSerializer

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.headers.get("Tus-Resumable", TUS_VERSION) != TUS_VERSION:
            raise WrongTusVersion(TUS_VERSION)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Tus-Resumable"] = TUS_VERSION
        answer["Cache-Control"] = "no-store"
        return answer

    def get_queryset(self) -> QuerySet[Upload]:
        return self.in_projects(Upload.objects.usable().select_related("recording", "project"))

    def list(self, request: Request) -> Response:
        """Uploads that can be gone on with or submitted, the newest first. `parts` is null here."""
        page: Any = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(UploadSerializer(page, many=True).data)

    @extend_schema(request=UploadRequestSerializer, responses={201: UploadSerializer}, parameters=[PROJECT])
    def create(self, request: Request) -> Response:
        """Begin an upload. Send its bytes, then submit it: `{"upload": id}` at `jobs/`.

        With `parts` null, by PATCH here; else each part by PUT to its own `url`, in any order.
        """
        wanted = UploadRequestSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        key = request.auth if isinstance(request.auth, ApiKey) else None
        upload = uploads.begin(
            self.project_to_act_in(),
            user=None if key else request.user,  # type: ignore[arg-type]
            key=key,
            **wanted.validated_data,
        )
        location = request.build_absolute_uri(f"{upload.pk}/")
        return Response(self._shown(upload), status=201, headers={"Location": location})

    def retrieve(self, request: Request, pk: UUID) -> Response:
        """How far it has come; HEAD tells it in the header Upload-Offset alone. `parts` have fresh URLs."""
        upload = self.get_object()
        shown = self._shown(upload)
        return Response(shown, headers=_stands(shown["offset"]) | {"Upload-Length": str(upload.size)})

    @extend_schema(
        request={OffsetParser.media_type: OpenApiTypes.BINARY},
        responses={204: None},
        parameters=[OFFSET, TUS],
    )
    def receive(self, request: Request, pk: UUID) -> Response:
        """Append the body, which begins at Upload-Offset: where the upload stands, or it is a 409.

        What has come is kept when the connection breaks: ask for the offset and go on from there.
        """
        upload = self.get_object()
        offset = request.headers.get("Upload-Offset", "")
        if not (offset.isdecimal() and len(offset) < 16):
            raise BadRequest("Upload-Offset must say where the body begins.")
        if int(offset) + length_of(request) > upload.size:
            raise TooLarge(f"The upload was announced with {upload.size} bytes; this goes beyond them.")
        body = cast(Iterable[bytes], request.data)
        return Response(status=204, headers=_stands(uploads.receive(upload, int(offset), body)))

    @extend_schema(request=None, responses=RecordingSerializer)
    def complete(self, request: Request, pk: UUID) -> Response:
        """Measure what has arrived, to be told now what a submission would be told."""
        return Response(RecordingSerializer(uploads.finish(self.get_object())).data)

    def destroy(self, request: Request, pk: UUID) -> Response:
        """Give it up. A recording that a job has stays."""
        uploads.discard(self.get_object())
        return Response(status=204)

    def _shown(self, upload: Upload) -> dict[str, Any]:
        offset, parts = uploads.progress(upload)
        sent = None if parts is None else [UploadPartSerializer(part).data for part in parts]
        return {**UploadSerializer(upload).data, "offset": offset, "parts": sent}


def _stands(offset: int) -> dict[str, str]:
    return {"Upload-Offset": str(offset)}
