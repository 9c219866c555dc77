"""What the API shows. A job is written out by hand: in a list, DRF's fields would be most of the time.

The fields of JobSerializer are what the OpenAPI document says of it; a test holds the two together.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from rest_framework import serializers

from jobs import quotas
from jobs.api.bodies import BodySerializer
from jobs.api.known import ChoiceField
from jobs.api.parsers import too_large
from jobs.audio.parts import Part
from jobs.backlog import in_line
from jobs.forgetting.preview import Preview
from jobs.members import user_named
from jobs.models import (
    ApiKey,
    Attempt,
    AttemptOutcome,
    AuditEntry,
    Membership,
    Mode,
    Priority,
    Project,
    Recording,
    Role,
    Scope,
    Status,
    TranscriptionJob,
    Upload,
)
from jobs.models.audit import Action, Result
from jobs.running.failover import held_up_by
from jobs.speed import expected_end
from jobs.transcripts.options import redaction
from routing.choice import Broker, Capability, Provider
from routing.health import Report, report_of
from routing.regions import Region, names_of_residency

# What entries of the audit log call by the names of models, by the words of the API.
KINDS = {
    "apikey": "key",
    "livesession": "stream",
    "membership": "member",
    "transcriptionjob": "job",
    "webhookendpoint": "webhook",
}
# Up to what every database's integers hold.
Days = partial(serializers.IntegerField, min_value=0, max_value=18_250, allow_null=True, required=False)
Limit = partial(serializers.IntegerField, min_value=1, max_value=1_000_000, allow_null=True, default=None)


class RecordingSerializer(serializers.Serializer[Recording]):
    id = serializers.UUIDField()
    filename = serializers.CharField(allow_null=True)
    size = serializers.IntegerField(help_text="bytes")
    sha256 = serializers.CharField()
    duration = serializers.FloatField(allow_null=True, help_text="seconds")
    channels = serializers.IntegerField(allow_null=True)

    def to_representation(self, recording: Recording) -> dict[str, Any]:
        return recording_as_json(recording)


def recording_as_json(recording: Recording) -> dict[str, Any]:
    return {
        "id": recording.pk,
        "filename": recording.filename or None,
        "size": recording.size,
        "sha256": recording.sha256,
        "duration": recording.duration,
        "channels": recording.channels,
    }


class UploadRequestSerializer(BodySerializer):
    filename = serializers.CharField(max_length=255, default="", allow_blank=True)
    size = serializers.IntegerField(min_value=1, help_text="bytes")
    sha256 = serializers.RegexField(
        "^[0-9a-f]{64}$",
        default="",
        allow_blank=True,
        error_messages={"invalid": "This must be 64 hexadecimal digits, in lower case."},
        help_text="What arrives is checked against it.",
    )

    def validate_size(self, size: int) -> int:
        if size > settings.MAX_UPLOAD_BYTES:
            raise too_large()
        return size


class UploadPartSerializer(serializers.Serializer[Part]):
    number = serializers.IntegerField()
    offset = serializers.IntegerField()
    size = serializers.IntegerField(help_text="bytes, exactly")
    url = serializers.CharField(help_text="For PUT; signed, so it is as secret as a key.")
    received = serializers.BooleanField()


class UploadSerializer(serializers.Serializer[Upload]):
    """A file on its way. `offset` and `parts` are null in lists."""

    id = serializers.UUIDField()
    project = serializers.UUIDField()
    filename = serializers.CharField(allow_null=True)
    size = serializers.IntegerField(help_text="bytes, when all are there")
    sha256 = serializers.CharField(allow_null=True, help_text="As it was announced.")
    offset = serializers.IntegerField(allow_null=True, help_text="How many bytes are there.")
    parts = UploadPartSerializer(many=True, allow_null=True, help_text="Null if all is sent here, by PATCH.")
    recording = RecordingSerializer(allow_null=True, help_text="Once it is complete.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(help_text="24 hours after it was last used.")

    def to_representation(self, upload: Upload) -> dict[str, Any]:
        recording = upload.recording
        return {
            "id": upload.pk,
            "project": upload.project_id,
            "filename": upload.filename or None,
            "size": upload.size,
            "sha256": upload.sha256 or None,
            "offset": None,
            "parts": None,
            "recording": recording and recording_as_json(recording),
            "created_at": upload.created_at,
            "expires_at": upload.expires_at,
        }


class JobErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class JobTranscriptSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()
    confidence = serializers.FloatField(allow_null=True)
    language = serializers.CharField(allow_null=True)
    version = serializers.IntegerField()


class JobSerializer(serializers.Serializer[TranscriptionJob]):
    """A job. `transcript`, `position` and `eta` are null in lists and in the answer to a submission."""

    id = serializers.UUIDField()
    project = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Status.choices)
    run = serializers.IntegerField(help_text="1, and one more with each requeue.")
    mode = serializers.ChoiceField(choices=Mode.choices, help_text="As run.")
    receipt = serializers.DictField(help_text="How mode and region were chosen.")
    region = serializers.CharField()
    recording = RecordingSerializer(allow_null=True)
    url = serializers.CharField(allow_null=True)
    options = serializers.DictField()
    metadata = serializers.DictField()
    tags = serializers.ListField(child=serializers.CharField())
    priority = serializers.ChoiceField(choices=Priority.labels)
    batch = serializers.UUIDField(allow_null=True)
    attempts = serializers.IntegerField(help_text="Counted ones, in this run.")
    run_at = serializers.DateTimeField(allow_null=True, help_text="Until when it waits.")
    held_up = serializers.CharField(
        allow_null=True, help_text="Why its region cannot begin it just now, if that is so, for people."
    )
    held_up_since = serializers.DateTimeField(
        allow_null=True, help_text="Since when, if it is held up and that can be told."
    )
    position = serializers.IntegerField(
        allow_null=True, help_text="How many jobs go before it; null unless it is queued."
    )
    eta = serializers.DateTimeField(
        allow_null=True, help_text="When it should be finished, if it is queued or runs and that can be told."
    )
    error = JobErrorSerializer(allow_null=True)
    duration = serializers.FloatField(allow_null=True, help_text="seconds of audio")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    transcript = JobTranscriptSerializer(allow_null=True)

    def to_representation(self, job: TranscriptionJob) -> dict[str, Any]:
        recording, held_up = job.recording, held_up_by(job)
        return {
            "id": job.pk,
            "project": job.project_id,
            "status": job.status,
            "run": job.run,
            "mode": job.mode,
            "receipt": job.receipt,
            "region": job.region,
            "recording": recording and recording_as_json(recording),
            "url": job.url or None,
            "options": job.options,
            "metadata": job.metadata,
            "tags": job.tags,
            "priority": Priority(job.priority).label,
            "batch": job.batch_id,
            "attempts": job.attempts,
            "run_at": job.run_at,
            "held_up": held_up and held_up.why,
            "held_up_since": held_up and held_up.since,
            "position": None,
            "eta": None,
            "error": {"code": job.error_code, "message": job.error_message} if job.error_code else None,
            "duration": job.duration,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "finished_at": job.finished_at,
            "transcript": None,
        }


class JobDetailSerializer(JobSerializer):
    """With what takes queries of its own."""

    def to_representation(self, job: TranscriptionJob) -> dict[str, Any]:
        ahead = job.ahead()
        return {
            **super().to_representation(job),
            "position": None if ahead is None else ahead.jobs,
            "eta": expected_end(job, ahead),
            "transcript": self._transcript(job),
        }

    def _transcript(self, job: TranscriptionJob) -> dict[str, Any] | None:
        if job.status != Status.COMPLETED and job.run == 1:
            return None
        versions = job.transcripts.order_by("-version")
        latest = versions.values("text", "confidence", "language", "version").first()
        return latest and {**latest, "language": latest["language"] or None}


class AttemptSerializer(serializers.Serializer[Attempt]):
    run = serializers.IntegerField()
    region = serializers.CharField()
    worker = serializers.CharField(help_text="The process that made it.")
    outcome = serializers.ChoiceField(choices=AttemptOutcome.choices)
    outcome_unknown = serializers.BooleanField(
        help_text="The request went out; whether it is billed is not known."
    )
    counted = serializers.BooleanField()
    status_code = serializers.IntegerField(allow_null=True, help_text="The provider's.")
    request_id = serializers.CharField(allow_null=True, help_text="The provider's.")
    error = JobErrorSerializer(allow_null=True)
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField()

    def to_representation(self, attempt: Attempt) -> dict[str, Any]:
        shown = {name: getattr(attempt, name) for name in self.fields.keys() - {"error"}}
        error = {"code": attempt.error_code, "message": attempt.error_message} if attempt.error_code else None
        return {**shown, "request_id": attempt.request_id or None, "error": error}


class TimelineEntrySerializer(serializers.Serializer[Any]):
    """What else an entry has depends on its type."""

    at = serializers.DateTimeField()
    type = serializers.CharField(help_text="created, attempt, running, waiting, transcript, event, …")
    run = serializers.IntegerField()
    ended_at = serializers.DateTimeField(allow_null=True)


class TranscriptSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()
    confidence = serializers.FloatField(allow_null=True)
    language = serializers.CharField(allow_null=True)
    words = serializers.ListField(child=serializers.DictField())
    utterances = serializers.ListField(child=serializers.DictField())
    channels = serializers.ListField(child=serializers.DictField())


class ProjectSerializer(BodySerializer, serializers.ModelSerializer[Project]):
    residency = serializers.ListField(
        child=serializers.CharField(max_length=50),
        max_length=50,
        required=False,
        help_text="Regions that its audio may go to; none named means any.",
    )

    minutes_today = serializers.SerializerMethodField(
        help_text="Minutes that it has had of its daily_minutes since midnight UTC; null without any."
    )
    redact = serializers.ListField(
        child=serializers.CharField(max_length=100),
        max_length=100,
        required=False,
        help_text="What is left out of all of its transcripts, whatever is asked for: `pci`, `numbers`.",
    )
    audio_days = Days(
        help_text="Days that audio is kept after it came; null: as the service does, which may be always."
    )
    transcript_days = Days(
        help_text="Days that transcripts, answers and events are kept after their job ended; null: likewise."
    )

    class Meta:
        model = Project
        fields = (
            "id",
            "name",
            "residency",
            "improve_provider_models",
            "redact",
            "audio_days",
            "transcript_days",
            "daily_minutes",
            "minutes_today",
            "created_at",
        )
        read_only_fields = ("id", "daily_minutes", "created_at")

    def get_minutes_today(self, project: Project) -> float | None:
        """Null for a project without a quota."""
        quota = quotas.today(project)
        return None if quota is None else round(quota.used / 60, 2)

    def validate_residency(self, names: list[str]) -> list[str]:
        unknown = sorted(set(names) - set(names_of_residency()))
        if unknown:
            raise serializers.ValidationError(f"There is no region or label {', '.join(unknown)}.")
        return names

    def validate_redact(self, kinds: list[str]) -> list[str]:
        try:
            return list(dict.fromkeys(redaction(kind) for kind in kinds))
        except ValueError as error:
            raise serializers.ValidationError(f"Each {error}.") from None


class RetentionQuerySerializer(serializers.Serializer[Any]):
    audio_days = Days(help_text="In place of the project's.")
    transcript_days = Days(help_text="In place of the project's.")


class RetentionSerializer(serializers.Serializer[Preview]):
    audio_days = serializers.IntegerField(allow_null=True, help_text="That were counted with; null: always.")
    transcript_days = serializers.IntegerField(allow_null=True)
    recordings = serializers.IntegerField(help_text="Whose audio the next purge deletes.")
    bytes = serializers.IntegerField()
    transcripts = serializers.IntegerField()
    results = serializers.IntegerField(help_text="Of live sessions.")
    oldest = serializers.DateTimeField(allow_null=True)


class RoleSerializer(BodySerializer):
    role = ChoiceField(choices=Role.choices)


class NewMemberSerializer(RoleSerializer):
    user = serializers.CharField(help_text="A username, or an e-mail address that one user has.")

    def validate_user(self, name: str) -> User:
        user = user_named(name)
        if user is None:
            raise serializers.ValidationError("No user, or not just one, has this name or address.")
        return user


class MemberSerializer(serializers.Serializer[Membership]):
    username = serializers.CharField()
    email = serializers.CharField(allow_null=True)
    role = serializers.ChoiceField(choices=Role.choices)

    def to_representation(self, member: Membership) -> dict[str, Any]:
        user = member.user
        return {"username": user.get_username(), "email": user.email or None, "role": member.role}


class KeySerializer(BodySerializer, serializers.ModelSerializer[ApiKey]):
    scopes = serializers.ListField(
        child=ChoiceField(choices=Scope.choices),
        max_length=len(Scope),
        default=list,
        help_text="None named means all.",
    )
    allowed_origins = serializers.ListField(
        child=serializers.RegexField(
            r"^https?://[^/\s]+$",
            max_length=300,
            error_messages={"invalid": "An origin looks like https://example.com."},
        ),
        max_length=50,
        default=list,
        help_text="Whose pages may use the key in a browser.",
    )
    requests_per_minute = Limit(help_text="Null: the setting KEY_REQUESTS_PER_MINUTE holds.")
    max_open_jobs = Limit(help_text="Null: the setting KEY_OPEN_JOBS holds.")
    expires_at = serializers.DateTimeField(allow_null=True, default=None)

    class Meta:
        model = ApiKey
        fields = (
            "id",
            "project",
            "name",
            "prefix",
            "scopes",
            "allowed_origins",
            "requests_per_minute",
            "max_open_jobs",
            "created_at",
            "expires_at",
            "last_used_at",
            "revoked_at",
        )
        read_only_fields = ("id", "project", "prefix", "created_at", "last_used_at", "revoked_at")


class KeyChangesSerializer(KeySerializer):
    """What a key may do is settled when it is made."""

    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices), read_only=True)


class RotationSerializer(BodySerializer):
    overlap_seconds = serializers.IntegerField(
        min_value=0, max_value=30 * 86400, default=86400, help_text="How long the one before works on."
    )


class IssuedKeySerializer(KeySerializer):
    key = serializers.CharField(read_only=True, help_text="The key itself, shown this once.")

    class Meta(KeySerializer.Meta):
        fields = (*KeySerializer.Meta.fields, "key")  # type: ignore[assignment]


class SecretSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="As Standard Webhooks writes it: whsec_ and base64.")


PROVIDER_STATES = [(each.value, each.value) for each in Provider]


class AbilitySerializer(serializers.Serializer[Any]):
    able = serializers.BooleanField()
    reason = serializers.CharField(allow_null=True, help_text="Why it can't, for people.")
    since = serializers.DateTimeField(allow_null=True, help_text="Since when, if that can be told.")


class RegionHealthSerializer(serializers.Serializer[Report]):
    """What is known of it just now, a second old. What is unknown is not dead."""

    sync = AbilitySerializer(help_text="Recordings of callers who wait.")
    queue = AbilitySerializer(help_text="Recordings by its workers.")
    live = AbilitySerializer(help_text="Live audio.")
    recordings_provider = serializers.ChoiceField(choices=PROVIDER_STATES)
    live_provider = serializers.ChoiceField(choices=PROVIDER_STATES)
    broker = serializers.ChoiceField(choices=[each.value for each in Broker])
    slots = serializers.IntegerField(
        allow_null=True, help_text="Jobs that its workers run at once; 0: none is alive; null: unknown."
    )
    share = serializers.FloatField(
        help_text="Of the recordings that are its due: below 1 while it comes back."
    )
    live_share = serializers.FloatField(help_text="The same of live audio.")

    def to_representation(self, report: Report) -> dict[str, Any]:
        health = report.health
        return {
            "sync": self._ability(report, Capability.SYNC),
            "queue": self._ability(report, Capability.ASYNC),
            "live": self._ability(report, Capability.LIVE),
            "recordings_provider": health.recordings,
            "live_provider": health.live,
            "broker": health.broker,
            "slots": health.slots,
            "share": health.share,
            "live_share": health.live_share,
        }

    def _ability(self, report: Report, capability: Capability) -> dict[str, Any]:
        obstacle = report.health.obstacle(capability)
        since = report.since.get(capability) if obstacle else None
        return {"able": not obstacle, "reason": obstacle or None, "since": since}


class RegionSerializer(serializers.Serializer[Region]):
    name = serializers.CharField()
    enabled = serializers.BooleanField(help_text="Off: it is given no work, whatever its health.")
    weight = serializers.IntegerField(help_text="Its share beside others; 0: only what no other can do.")
    residency = serializers.ListField(child=serializers.CharField(), help_text="Labels, beside its name.")
    queued = serializers.IntegerField(help_text="Jobs that could be begun now.")
    health = RegionHealthSerializer()

    def to_representation(self, region: Region) -> dict[str, Any]:
        return {
            "name": region.name,
            "enabled": region.enabled,
            "weight": region.weight,
            "residency": sorted(region.residency),
            "queued": in_line(region.queue),
            "health": RegionHealthSerializer(report_of(region.name)).data,
        }


class AuditObjectSerializer(serializers.Serializer[Any]):
    type = serializers.CharField(help_text="project, member, key, job, batch, stream, webhook, user.")
    id = serializers.CharField()
    name = serializers.CharField(help_text="As it was called then.")


class AuditEntrySerializer(serializers.Serializer[AuditEntry]):
    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    action = serializers.ChoiceField(choices=Action.choices)
    result = serializers.ChoiceField(choices=Result.choices)
    actor = serializers.CharField(
        allow_null=True, help_text="The user's or key's name then; null: the service, or nobody known."
    )
    key = serializers.UUIDField(allow_null=True)
    project = serializers.UUIDField(allow_null=True)
    object = AuditObjectSerializer(allow_null=True)
    ip = serializers.CharField(allow_null=True)
    details = serializers.DictField()

    def to_representation(self, entry: AuditEntry) -> dict[str, Any]:
        kind = KINDS.get(entry.object_type, entry.object_type)
        named = {"type": kind, "id": entry.object_id, "name": entry.object_name}
        return {
            "id": entry.pk,
            "at": entry.at,
            "action": entry.action,
            "result": entry.result,
            "actor": entry.actor or None,
            "key": entry.key_id,
            "project": entry.project_id,
            "object": named if entry.object_type else None,
            "ip": entry.ip,
            "details": entry.details,
        }
