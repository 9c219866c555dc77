"""Live sessions over the API: listed, followed, exported and deleted."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import close_old_connections
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.errors import RETRY_AFTER_SECONDS, BadRequest
from jobs.api.pagination import OldestFirst
from jobs.api.permissions import OPERATING, READING
from jobs.api.serializers import TranscriptSerializer
from jobs.api.views.scoped import PROJECT, ScopedViewSet
from jobs.audio.downloads import make_harmless
from jobs.audit import audited, record_read
from jobs.models.audit import Action
from jobs.transcripts.exports import FORMATS
from streaming import aftercare, viewers
from streaming.api.filters import StreamFilter
from streaming.api.serializers import (
    EventSerializer,
    ResultSerializer,
    StreamDetailSerializer,
    StreamSerializer,
    StreamTimelineEntrySerializer,
)
from streaming.models import LiveSession
from streaming.transcript import transcript_of

LAST_EVENT = OpenApiParameter(
    "Last-Event-ID", str, OpenApiParameter.HEADER, description="The id of the last event that was seen."
)


class TooManyViewers(APIException):
    status_code = 503
    default_code = "service_unavailable"
    default_detail = "As many follow streams here as may: try again soon."
    wait = RETRY_AFTER_SECONDS


class StreamViewSet(ScopedViewSet):
    needs: ClassVar = {
        "list": READING,
        "retrieve": READING,
        "destroy": OPERATING,
        "results": READING,
        "timeline": READING,
        "transcript": READING,
        "events": READING,
    }
    refuses: ClassVar = {"events": (400, 503)}
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
        pages = _ByTime()
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

    @extend_schema(
        responses={(200, "text/event-stream"): EventSerializer, 204: None},
        parameters=[LAST_EVENT],
        operation_id="streams_events_retrieve",
    )
    def events(self, request: Request, pk: UUID) -> HttpResponseBase:
        """Follow the stream by server-sent events: all final results, from the first one on, as they come.

        `result` events have what `results/` shows, and the result's seq as their id: a client that reconnects
        with it as `Last-Event-ID` goes on after it. `state` events tell `state` and `reason`; the answer ends
        with the stream, and at times before. 204 when the stream is over and all of it was seen.
        """
        stream = self.get_object()
        seen = request.headers.get("Last-Event-ID", "")
        if seen and (not seen.isdecimal() or len(seen) > 18):
            raise BadRequest("Last-Event-ID must be the id of an event.", "invalid_event_id")
        if stream.is_ended and seen and int(seen) >= stream.last_seq:
            # Which keeps browsers from asking again.
            return HttpResponse(status=204)
        if viewers.how_many() >= settings.LIVE_VIEWERS:
            raise TooManyViewers
        record_read(Action.TRANSCRIPT_VIEWED, request, stream)
        # It may go on for long, and the connection would be kept for it alone.
        close_old_connections()
        response = StreamingHttpResponse(
            viewers.follow(stream.pk, int(seen or 0)), content_type="text/event-stream"
        )
        response["Cache-Control"] = "no-store"
        # Of nginx, which would hold events back until they fill a page.
        response["X-Accel-Buffering"] = "no"
        return response


class _BySeq(OldestFirst):
    ordering = "seq"


class _ByTime(OldestFirst):
    ordering = "at"
