"""What a submission or a requeue may say, in a JSON object, a form or a query."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

import orjson
from django.conf import settings
from rest_framework import serializers
from rest_framework.utils import html

from jobs.api.bodies import BodySerializer
from jobs.api.known import ChoiceField
from jobs.api.parsers import too_large
from jobs.audio.received import ReceivedFile
from jobs.models import Priority, RequestedMode
from jobs.transcripts.options import OPTIONS, validate
from routing.addresses import ForbiddenURL, check_url
from routing.regions import UnknownRegion, region_named

METADATA_BYTES = 10 * 1024
METADATA_DEPTH = 32
TAGS, TAG_LENGTH = 50, 100
LONGEST_DEADLINE = 30 * 86400
AS_USUAL = {"mode": "auto", "region": "", "priority": Priority.NORMAL}


class UploadField(serializers.FileField):
    def get_value(self, dictionary: Any) -> Any:
        given = dictionary.getlist(self.field_name) if html.is_html_input(dictionary) else []
        return given if len(given) > 1 else super().get_value(dictionary)

    def to_internal_value(self, data: Any) -> ReceivedFile:
        if isinstance(data, list):
            raise serializers.ValidationError("A job has one file: submit each by itself.")
        if not isinstance(data, ReceivedFile):
            raise serializers.ValidationError("This must be a file, in a form or as the body.")
        if (data.size or 0) > settings.MAX_UPLOAD_BYTES:
            raise too_large()
        return data


class ObjectField(serializers.JSONField):
    """An object; in a form or a query, the JSON of one."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if getattr(data, "is_json_string", False):
            try:
                data = orjson.loads(data.encode())
            except orjson.JSONDecodeError:
                raise serializers.ValidationError("This is not JSON.") from None
        if not isinstance(data, dict):
            raise serializers.ValidationError("This must be an object.")
        return data


class MetadataField(ObjectField):
    def to_internal_value(self, data: Any) -> dict[str, Any]:
        value = super().to_internal_value(data)
        _check_storable(value, METADATA_DEPTH)
        if len(orjson.dumps(value)) > METADATA_BYTES:
            raise serializers.ValidationError(f"This may have {METADATA_BYTES} bytes as JSON.")
        return value


def _check_storable(value: Any, depth: int) -> None:
    """PostgreSQL stores no NUL in JSON, and not everybody reads JSON of any depth."""
    if depth == 0:
        raise serializers.ValidationError(f"This may be {METADATA_DEPTH} levels deep.")
    if isinstance(value, str) and "\0" in value:
        raise serializers.ValidationError("Null characters are not allowed.")
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    for item in inner:
        _check_storable(item, depth - 1)


class TagsField(serializers.ListField):
    """A list; in a form or a query the field repeated, or the JSON of a list."""

    child = serializers.CharField(max_length=TAG_LENGTH)
    default_error_messages: ClassVar = {
        "not_a_list": "This must be a list, in a form perhaps the JSON of a list."
    }

    def get_value(self, dictionary: Any) -> Any:
        given = super().get_value(dictionary)
        if html.is_html_input(dictionary) and isinstance(given, list) and len(given) == 1:
            [text] = map(str, given)
            if text.startswith("["):
                # What cannot be read is text still, and so no list.
                with suppress(orjson.JSONDecodeError):
                    return orjson.loads(text)
                return text
        return given


class CallableURLField(serializers.CharField):
    """A URL that may be called, as far as its text tells.

    `private` names the setting that allows private addresses; `http`: it need not be https.
    """

    def __init__(self, *, private: str, http: bool = False, **kwargs: Any) -> None:
        super().__init__(max_length=2000, **kwargs)
        self.private = private
        self.http = http

    def to_internal_value(self, data: Any) -> str:
        url: str = super().to_internal_value(data)
        private = getattr(settings, self.private)
        try:
            if url:
                check_url(url, allow_private=private, allow_http=private or self.http)
        except ForbiddenURL as error:
            raise serializers.ValidationError(error.message, error.code) from None
        return url


class ModeField(ChoiceField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=RequestedMode.choices, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        if data == "streaming":
            live = settings.PUBLIC_URL.replace("http", "ws", 1) + "/v1/listen"
            raise serializers.ValidationError(f"Live audio goes over the WebSocket at {live}.")
        return super().to_internal_value(data)


class OptionsSerializer(BodySerializer):
    options = ObjectField(
        required=False, allow_null=True, help_text="Deepgram's. Unknown ones are refused by name."
    )

    def why_not(self, name: str) -> str:
        return "Deepgram's options go into `options`." if name in OPTIONS else super().why_not(name)


class RequeueSerializer(OptionsSerializer):
    """Without `options`, the job keeps those that it has."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = attrs.get("options")
        return {"options": None if given is None else validate(given)}


class JobChangesSerializer(BodySerializer):
    """What is not given stays as it is."""

    priority = ChoiceField(choices=Priority.labels, required=False)
    metadata = MetadataField(required=False, help_text="An object of up to 10 kB, in place of the other.")
    tags = TagsField(required=False, max_length=TAGS, help_text="In place of the others.")

    def validate_priority(self, name: str) -> Priority:
        return Priority.named(name)


class RoutedSerializer(OptionsSerializer):
    """Who asks for it, and how, where and how soon it is to be done.

    What is null, or empty in a form, is as if it had not been given.
    """

    project = serializers.UUIDField(
        required=False, allow_null=True, help_text="For sessions; their own if not given. A key has one."
    )
    mode = ModeField(required=False, allow_null=True, help_text="auto if not given")
    region = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, help_text="Binding: a job never leaves it."
    )
    priority = ChoiceField(
        choices=Priority.labels, required=False, allow_null=True, help_text="normal if not given"
    )

    def validate_region(self, name: str | None) -> str | None:
        try:
            return name and region_named(name).name
        except UnknownRegion as error:
            raise serializers.ValidationError(str(error)) from None

    def validate_priority(self, name: str | None) -> Priority | None:
        return None if name is None else Priority.named(name)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = given_of(attrs)
        return {**AS_USUAL, **given, "options": validate(given.get("options") or {})}


def given_of(attrs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attrs.items() if value not in (None, "")}


class SubmissionSerializer(RoutedSerializer):
    """A recording (`file`, or an `upload` made before) or the address of one (`url`), and what to do with it.

    What is null, or empty in a form, is as if it had not been given.
    """

    file = UploadField(required=False)
    url = CallableURLField(
        private="FETCH_ALLOW_PRIVATE", http=True, required=False, allow_null=True, allow_blank=True
    )
    upload = serializers.UUIDField(
        required=False, allow_null=True, help_text="One of `uploads/`, all of which has arrived."
    )
    callback_url = CallableURLField(
        private="WEBHOOK_ALLOW_PRIVATE", required=False, allow_null=True, allow_blank=True
    )
    metadata = MetadataField(required=False, allow_null=True, help_text="An object of up to 10 kB.")
    tags = TagsField(required=False, allow_null=True, max_length=TAGS)
    deadline = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=LONGEST_DEADLINE,
        help_text="Seconds from now within which it must be begun; JOB_DEADLINE_SECONDS if not given.",
    )
    batch = serializers.UUIDField(
        required=False,
        allow_null=True,
        help_text="That it belongs to; what the job does not say itself is as the batch has it.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = given_of(attrs)
        if len(given.keys() & {"file", "url", "upload"}) != 1:
            raise serializers.ValidationError("Give a file, a url or an upload, and only one of them.")
        # What a job of a batch does not say itself is as the batch has it.
        if options := given.pop("options", {}):
            given["options"] = validate(options)
        return given if "batch" in given else {**AS_USUAL, "options": validate({}), **given}


class JSONSubmissionSerializer(SubmissionSerializer):
    """The same in JSON, which holds no file."""

    file = None  # type: ignore[assignment]
