"""What the API shows of batches and estimates, and what may be asked of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

from django.conf import settings
from django.utils.datastructures import MultiValueDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from jobs.api.bodies import BodySerializer
from jobs.api.serializers import JobErrorSerializer
from jobs.api.submissions import (
    TAGS,
    CallableURLField,
    MetadataField,
    RoutedSerializer,
    TagsField,
    UploadField,
    given_of,
)
from jobs.batches.progress import Tally
from jobs.estimates import Span
from jobs.intake import Remote
from jobs.models import Batch, BatchMove, Priority, RefusedItem, RequestedMode

MOST_FILES = 100
MOST_DURATION = 24 * 3600.0


class BatchCountsSerializer(serializers.Serializer[Any]):
    """Jobs by status."""

    queued = serializers.IntegerField()
    running = serializers.IntegerField()
    waiting = serializers.IntegerField()
    completed = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    dead = serializers.IntegerField()


class BatchProgressSerializer(serializers.Serializer[Any]):
    jobs = serializers.FloatField(allow_null=True, help_text="The share of jobs that have ended, 0 to 1.")
    audio = serializers.FloatField(
        allow_null=True, help_text="The same of the seconds of audio, as far as they are known."
    )


class BatchAudioSerializer(serializers.Serializer[Any]):
    seconds = serializers.FloatField(help_text="Of all jobs whose duration is known.")
    ended = serializers.FloatField(help_text="Seconds of those that have ended.")
    unknown = serializers.IntegerField(help_text="Open jobs whose duration is not known yet.")


class SpanSerializer(serializers.Serializer[Any]):
    """Seconds from now: if nothing goes before it, and if all that is queued does."""

    least = serializers.FloatField()
    most = serializers.FloatField()


class CostSerializer(serializers.Serializer[Any]):
    amount = serializers.CharField(help_text="A decimal number.")
    currency = serializers.CharField()


class BatchSerializer(serializers.Serializer[Batch]):
    """A batch. `remaining` is null in lists."""

    id = serializers.UUIDField()
    project = serializers.UUIDField()
    name = serializers.CharField(allow_null=True)
    metadata = serializers.DictField()
    options = serializers.DictField(help_text="Of jobs that give none of their own; so are the next three.")
    mode = serializers.ChoiceField(choices=RequestedMode.choices)
    region = serializers.CharField(allow_null=True)
    priority = serializers.ChoiceField(choices=Priority.labels)
    run = serializers.IntegerField(help_text="1, and one more each time that a requeue opens it again.")
    moving = serializers.ChoiceField(
        choices=BatchMove.choices, allow_null=True, help_text="What is being done to all its jobs."
    )
    counts = BatchCountsSerializer()
    refused = serializers.IntegerField(help_text="Items that became no job.")
    unopened = serializers.IntegerField(help_text="Archives not opened to the end yet.")
    audio = BatchAudioSerializer()
    progress = BatchProgressSerializer()
    remaining = SpanSerializer(allow_null=True)
    cost = CostSerializer(allow_null=True, help_text="Of all its audio, if there are prices.")
    created_at = serializers.DateTimeField()
    sealed_at = serializers.DateTimeField(allow_null=True, help_text="From when on it took no more jobs.")
    finished_at = serializers.DateTimeField(allow_null=True, help_text="When the last of its jobs ended.")

    def to_representation(self, batch: Batch) -> dict[str, Any]:
        tally: Tally = self.context["tallies"][batch.pk]
        return {
            "id": batch.pk,
            "project": batch.project_id,
            "name": batch.name or None,
            "metadata": batch.metadata,
            "options": batch.options,
            "mode": batch.mode,
            "region": batch.region or None,
            "priority": Priority(batch.priority).label,
            "run": batch.run,
            "moving": batch.move or None,
            "counts": tally.counts,
            "refused": tally.refused,
            "unopened": tally.unopened,
            "audio": {"seconds": tally.seconds, "ended": tally.seconds_ended, "unknown": tally.unknown},
            "progress": {"jobs": tally.share_of_jobs, "audio": tally.share_of_audio},
            "remaining": span_as_json(self.context.get("remaining")),
            "cost": cost_as_json(tally.cost),
            "created_at": batch.created_at,
            "sealed_at": batch.sealed_at,
            "finished_at": batch.finished_at,
        }


def span_as_json(span: Span | None) -> dict[str, float] | None:
    return None if span is None else {"least": round(span.least, 1), "most": round(span.most, 1)}


def cost_as_json(cost: Decimal | None) -> dict[str, str] | None:
    return None if cost is None else {"amount": str(cost), "currency": settings.PRICE_CURRENCY}


class RefusedItemSerializer(serializers.Serializer[RefusedItem]):
    name = serializers.CharField(help_text="Of the file, or the URL.")
    error = JobErrorSerializer()
    created_at = serializers.DateTimeField()

    def to_representation(self, item: RefusedItem) -> dict[str, Any]:
        error = {"code": item.code, "message": item.message}
        return {"name": item.name, "error": error, "created_at": item.created_at}


class EstimateSerializer(serializers.Serializer[Any]):
    jobs = serializers.IntegerField()
    seconds = serializers.FloatField(help_text="Of audio, in all.")
    modes = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many would run sync and how many async, now."
    )
    region = serializers.CharField()
    remaining = SpanSerializer(allow_null=True, help_text="Null if nothing is known of recent speed.")
    cost = CostSerializer(allow_null=True, help_text="If there are prices.")


class ManyFilesField(serializers.ListField):
    """The files of a form's field, however often it is there."""

    child = UploadField()

    def get_value(self, dictionary: Any) -> Any:
        given = dictionary.getlist(self.field_name) if isinstance(dictionary, MultiValueDict) else []
        return given or serializers.empty


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "oneOf": [
                {"type": "string", "format": "uri"},
                {
                    "type": "object",
                    "required": ["url"],
                    "properties": {
                        "url": {"type": "string", "format": "uri"},
                        "metadata": {"type": "object", "additionalProperties": {}},
                        "tags": {"type": "array", "items": {"type": "string"}},
                    },
                },
            ]
        },
    }
)
class RemotesField(serializers.Field[Any, Any, Any, Any]):
    """A list of URLs, or of objects `{url, metadata, tags}`: each is taken or refused by itself.

    The value: those that are taken, and those that are refused with the message why.
    """

    def to_internal_value(self, data: Any) -> tuple[list[Remote], list[tuple[str, str]]]:
        if not isinstance(data, list) or not data:
            raise serializers.ValidationError("This must be a list of URLs, or of objects with a `url`.")
        if len(data) > settings.BATCH_MAX_ITEMS:
            raise serializers.ValidationError(f"This may have {settings.BATCH_MAX_ITEMS} entries.")
        taken, refused = [], []
        for entry in data:
            given = entry if isinstance(entry, dict) else {"url": entry}
            try:
                taken.append(Remote(**_REMOTE.run_validation(given)))
            except serializers.ValidationError as error:
                refused.append((str(given.get("url", "")), _first(cast(dict[str, Any], error.detail))))
        return taken, refused


class RemoteSerializer(BodySerializer):
    url = CallableURLField(private="FETCH_ALLOW_PRIVATE", http=True)
    metadata = MetadataField(required=False, allow_null=True)
    tags = TagsField(required=False, allow_null=True, max_length=TAGS)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return given_of(attrs)


_REMOTE = RemoteSerializer()


def _first(errors: dict[str, Any]) -> str:
    field, messages = next(iter(errors.items()))
    while isinstance(messages, list | dict):
        messages = next(iter(messages.values() if isinstance(messages, dict) else messages))
    # A field that there is none of may be called anything.
    return str(messages) if field == "url" else f"{field[:100]!r}: {messages}"


class NewBatchSerializer(RoutedSerializer):
    """A batch, and what it is made of: `urls`, `files` or an `archive`, or none of them yet.

    `options`, `mode`, `region` and `priority` are those of its jobs. Sealed, it takes no more jobs: so it is
    at once if it is made of something, unless `sealed` is false.
    """

    name = serializers.CharField(max_length=200, required=False, allow_null=True, allow_blank=True)
    metadata = MetadataField(required=False, allow_null=True, help_text="Its own: an object of up to 10 kB.")
    callback_url = CallableURLField(
        private="WEBHOOK_ALLOW_PRIVATE",
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Told when the batch is finished.",
    )
    sealed = serializers.BooleanField(required=False, allow_null=True, default=None)
    files = ManyFilesField(required=False, max_length=MOST_FILES)
    archive = UploadField(required=False, help_text="A ZIP, tar or tar.gz.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        made_of = [name for name in ("urls", "files", "archive") if name in attrs]
        if len(made_of) > 1:
            raise serializers.ValidationError(f"Give one of {' and '.join(made_of)}.")
        return {"sealed": bool(made_of), **super().validate(attrs)}


class NewBatchOfURLsSerializer(NewBatchSerializer):
    """The same in JSON, which holds no files."""

    files = None  # type: ignore[assignment]
    archive = None  # type: ignore[assignment]
    urls = RemotesField(required=False, help_text="Of the recordings, or objects {url, metadata, tags}.")


class EstimateRequestSerializer(RoutedSerializer):
    """What recordings of these lengths would take."""

    durations = serializers.ListField(
        child=serializers.FloatField(min_value=0, max_value=MOST_DURATION),
        min_length=1,
        help_text="Seconds of audio, one for each recording.",
    )

    def validate_durations(self, durations: list[float]) -> list[float]:
        if len(durations) > settings.BATCH_MAX_ITEMS:
            raise serializers.ValidationError(f"This may have {settings.BATCH_MAX_ITEMS} entries.")
        return durations
