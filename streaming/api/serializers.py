"""What the API shows of live sessions, which it calls streams."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from jobs.api.serializers import JobErrorSerializer
from streaming.models import EndReason, FinalResult, LiveSession, State, TimelineEntry
from streaming.transcript import transcript_of
from streaming.viewers import result_as_json

REASONS = [(value, value) for value in EndReason.values]


class LatencySerializer(serializers.Serializer[Any]):
    """From the arrival of the last audio that a result covers to its sending."""

    p50_ms = serializers.FloatField()
    p95_ms = serializers.FloatField()
    p99_ms = serializers.FloatField()
    results = serializers.IntegerField(help_text="How many were measured.")


class PolicySerializer(serializers.Serializer[Any]):
    """What a project has the provider do."""

    mip_opt_out = serializers.BooleanField()
    redact = serializers.ListField(child=serializers.CharField())


class StreamTranscriptSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()
    confidence = serializers.FloatField(allow_null=True)
    language = serializers.CharField(allow_null=True)


class StreamSerializer(serializers.Serializer[LiveSession]):
    """A stream. `transcript` is null in lists."""

    id = serializers.UUIDField()
    project = serializers.UUIDField()
    state = serializers.ChoiceField(choices=State.choices)
    reason = serializers.ChoiceField(choices=REASONS, allow_null=True, help_text="How it ended.")
    error = JobErrorSerializer(allow_null=True)
    options = serializers.DictField(help_text="Deepgram's parameters, as they were allowed.")
    tags = serializers.ListField(child=serializers.CharField())
    resumable = serializers.BooleanField()
    record = serializers.BooleanField(help_text="Its audio is kept and transcribed once more, as `job`.")
    region = serializers.CharField(allow_null=True, help_text="Null until the provider was reached.")
    request_id = serializers.CharField(allow_null=True, help_text="As its results name it.")
    policy = PolicySerializer(
        allow_null=True, help_text="The project's, when it was opened or last resumed; null of old ones."
    )
    duration = serializers.FloatField(help_text="seconds of audio")
    reconnects = serializers.IntegerField(help_text="Connections to the provider that had to be replaced.")
    resumes = serializers.IntegerField(help_text="How often its client came back.")
    latency = LatencySerializer(allow_null=True)
    client_latency = LatencySerializer(
        allow_null=True, help_text="From a chunk's sending to its result being shown, as the browser saw it."
    )
    key = serializers.UUIDField(allow_null=True)
    job = serializers.UUIDField(allow_null=True, help_text="The one of its recording.")
    created_at = serializers.DateTimeField()
    connected_at = serializers.DateTimeField(allow_null=True, help_text="When the provider was reached.")
    interrupted_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    transcript = StreamTranscriptSerializer(allow_null=True)

    def to_representation(self, session: LiveSession) -> dict[str, Any]:
        error = {"code": session.error_code, "message": session.error_message} if session.error_code else None
        return {
            "id": session.pk,
            "project": session.project_id,
            "state": session.state,
            "reason": session.reason or None,
            "error": error,
            "options": session.options,
            "tags": session.tags,
            "resumable": session.resumable,
            "record": session.record,
            "region": session.region or None,
            "request_id": session.request_id or None,
            "policy": session.policy,
            "duration": session.duration,
            "reconnects": session.reconnects,
            "resumes": session.epoch - 1,
            "latency": LatencySerializer(session.latency).data if session.latency else None,
            "client_latency": LatencySerializer(session.client_latency).data
            if session.client_latency
            else None,
            "key": session.key_id,
            "job": session.job_id,
            "created_at": session.created_at,
            "connected_at": session.connected_at,
            "interrupted_at": session.interrupted_at,
            "ended_at": session.ended_at,
            "transcript": None,
        }


class StreamDetailSerializer(StreamSerializer):
    """With what was said so far."""

    def to_representation(self, session: LiveSession) -> dict[str, Any]:
        said = transcript_of(session)
        transcript = {"text": said.text, "confidence": said.confidence, "language": said.language or None}
        return {**super().to_representation(session), "transcript": transcript}


class ResultSerializer(serializers.Serializer[FinalResult]):
    """A final result."""

    seq = serializers.IntegerField(help_text="Rising; not every number is a final result's.")
    channel = serializers.IntegerField()
    start = serializers.FloatField(help_text="seconds from the stream's begin")
    end = serializers.FloatField()
    text = serializers.CharField()
    speech_final = serializers.BooleanField(help_text="An utterance ends with it.")
    late = serializers.BooleanField(help_text="It fills a hole that was left before.")
    connection = serializers.IntegerField(help_text="Speaker numbers restart with each.")
    words = serializers.ListField(child=serializers.DictField())

    def to_representation(self, final: FinalResult) -> dict[str, Any]:
        return result_as_json(final)


class EventSerializer(serializers.Serializer[Any]):
    """A server-sent event."""

    event = serializers.CharField(help_text="result or state")
    id = serializers.CharField(required=False, help_text="Of results: the seq.")
    # Django REST framework calls what was read so; this is never read.
    data = serializers.CharField(  # type: ignore[assignment]
        help_text="JSON: a result, or an object of `state` and `reason`."
    )


class StreamTimelineEntrySerializer(serializers.Serializer[TimelineEntry]):
    """Something that happened to a stream. What else an entry has depends on its type."""

    at = serializers.DateTimeField()
    type = serializers.CharField(help_text="connected, connection_lost, interrupted, resumed, gap, …")

    def to_representation(self, entry: TimelineEntry) -> dict[str, Any]:
        return {"at": entry.at, "type": entry.type, **entry.details}
