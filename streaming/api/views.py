"""Live sessions over the API: listed, followed, exported and deleted."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.pagination import OldestFirst
from jobs.api.permissions import OPERATING, READING
from jobs.api.serializers import TranscriptSerializer
from jobs.api.views.scoped import PROJECT, ScopedViewSet
from jobs.audio.downloads import make_harmless
from jobs.audit import audited, record_read
from jobs.models.audit import Action
from jobs.transcripts.exports import FORMATS
from streaming import aftercare
from streaming.api.filters import StreamFilter
from streaming.api.serializers import (
    ResultSerializer,
    StreamDetailSerializer,
    StreamSerializer,
    StreamTimelineEntrySerializer,
)
from streaming.models import LiveSession
from streaming.transcript import transcript_of


class StreamViewSet(ScopedViewSet):
    needs: ClassVar = {
        "list": READING,
        "retrieve": READING,
        "destroy": OPERATING,
        "results": READING,
        "timeline": READING,
        "transcript": READING,
    }
    lists = ("list", "results", "timeline")
    queryset = LiveSession.objects.none()
    serializer_class = StreamDetailSerializer
    filterset_class = StreamFilter

    def get_queryset(self) -> QuerySet[LiveSession]:
        return self.in_projects(LiveSession.objects.all())

    @extend_schema(responses=StreamSerializer(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        """Streams, the newest first. `transcript` is null here."""
        page: Any = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(StreamSerializer(page, many=True).data)

    @extend_schema(responses=StreamDetailSerializer)
    def retrieve(self, request: Request, pk: UUID) -> Response:
        stream = self.get_object()
        record_read(Action.TRANSCRIPT_VIEWED, request, stream)
        return Response(StreamDetailSerializer(stream).data)

    def destroy(self, request: Request, pk: UUID) -> Response:
        """Delete the stream with its results, and the job and recording that were made of it.

        One that is still live is closed.
        """
        stream = self.get_object()
        with audited(Action.STREAM_DELETED, request, stream):
            aftercare.delete(stream)
        return Response(status=204)

    @extend_schema(responses=ResultSerializer(many=True), filters=False, operation_id="streams_results_list")
    def results(self, request: Request, pk: UUID) -> Response:
        """The final results so far, as they came: the oldest first."""
        stream = self.get_object()
        record_read(Action.TRANSCRIPT_VIEWED, request, stream)
        pages = _BySeq()
        page: Any = pages.paginate_queryset(stream.finals.all(), request, self)
        return pages.get_paginated_response(ResultSerializer(page, many=True).data)

    @extend_schema(
        responses=StreamTimelineEntrySerializer(many=True),
        filters=False,
        operation_id="streams_timeline_list",
    )
    def timeline(self, request: Request, pk: UUID) -> Response:
        """What happened to the stream's connections, the oldest first."""
        pages = OldestFirst()
        page: Any = pages.paginate_queryset(self.get_object().timeline.all(), request, self)
        return pages.get_paginated_response(StreamTimelineEntrySerializer(page, many=True).data)

    @extend_schema(
        responses={
            (200, "application/json"): TranscriptSerializer,
            (200, "text/plain"): OpenApiTypes.STR,
            (200, "application/x-subrip"): OpenApiTypes.STR,
            (200, "text/vtt"): OpenApiTypes.STR,
        },
        parameters=[OpenApiParameter("form", str, OpenApiParameter.PATH, enum=[*FORMATS])],
        operation_id="streams_transcript_retrieve",
    )
    def transcript(self, request: Request, pk: UUID, form: str) -> HttpResponseBase:
        """What was said so far as text, subtitles or JSON."""
        if form not in FORMATS:
            raise Http404
        stream = self.get_object()
        record_read(Action.TRANSCRIPT_EXPORTED, request, stream, format=form)
        export = FORMATS[form]
        response = HttpResponse(export.write(transcript_of(stream)), content_type=export.media_type)
        make_harmless(response)
        return response


class _BySeq(OldestFirst):
    ordering = "seq"
