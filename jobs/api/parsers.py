"""Bodies in: JSON, forms with a file, and recordings as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

import orjson
from django.conf import settings
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.utils.datastructures import MultiValueDict
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles
from rest_framework.request import Request

from jobs.api.errors import BadRequest, LengthRequired, TooLarge
from jobs.audio.received import READ_BYTES, ReceivedFile, check_disk
from jobs.models import Recording

JSON_BYTES = 1 << 20
LISTS_BYTES = 8 << 20
# What a form may hold beside its file.
FORM_BYTES = 1 << 20


def check_length(request: Request) -> None:
    """LengthRequired for a body in chunks, TooLarge for one beyond MAX_UPLOAD_BYTES."""
    if "HTTP_TRANSFER_ENCODING" in request.META:
        raise LengthRequired
    if length_of(request) > settings.MAX_UPLOAD_BYTES + FORM_BYTES:
        raise too_large()


class JSONParser(BaseParser):
    """An object; other JSON is refused here, so that views need not look."""

    media_type = "application/json"
    most_bytes = JSON_BYTES

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        body = stream.read(self.most_bytes + 1)
        if len(body) > self.most_bytes:
            raise TooLarge(f"A JSON body may have {self.most_bytes} bytes here.")
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"The body is not JSON: {error}.") from None
        if not isinstance(parsed, dict):
            raise ParseError("The body must be a JSON object.")
        return parsed


class FormParser(BaseParser):
    """A form with files, as Django reads it."""

    media_type = "multipart/form-data"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> DataAndFiles[Any, Any]:
        request: HttpRequest = (parser_context or {})["request"]._request
        try:
            form = DataAndFiles(request.POST, request.FILES)
        except MultiPartParserError as error:
            raise ParseError(f"The form cannot be read: {error}") from None
        if not form.data and not form.files:
            # To Django what is no form at all is one without fields.
            raise ParseError("The form has no fields.")
        return form


class ListsParser(JSONParser):
    """Where an object may hold lists of thousands."""

    most_bytes = LISTS_BYTES


class RecordingParser(BaseParser):
    """The body is the file; the fields are in the query, its name in Content-Disposition (RFC 6266).

    Streamed to disk in constant memory.
    """

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> DataAndFiles[Any, Any]:
        request: Request = (parser_context or {})["request"]
        check_disk(length_of(request))
        upload = ReceivedFile(_filename(request), media_type or "")
        files = MultiValueDict({"file": [upload]})
        # Django closes these when the request is over.
        request._request._files = files  # type: ignore[attr-defined]
        try:
            while part := stream.read(READ_BYTES):
                upload.receive(part)
            upload.complete()
        except BaseException:
            # Django does so only when there is somebody to be answered.
            upload.close()
            raise
        return DataAndFiles(request.query_params, files)


class AudioParser(RecordingParser):
    media_type = "audio/*"


class VideoParser(RecordingParser):
    media_type = "video/*"


class OctetStreamParser(RecordingParser):
    media_type = "application/octet-stream"


class OffsetParser(BaseParser):
    """A piece of a file, left in the stream for whoever knows where it belongs."""

    media_type = "application/offset+octet-stream"

    def parse(  # type: ignore[override]  # DRF hands on whatever it is
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Iterator[bytes]:
        return iter(partial(stream.read, READ_BYTES), b"")


def _filename(request: Request) -> str:
    """What the sender calls the body; empty if it is not said."""
    try:
        _, parameters = parse_header_parameters(request.headers.get("Content-Disposition", ""))
    except ValueError:  # of no known encoding
        raise BadRequest("The header Content-Disposition cannot be read.") from None
    return Recording.shown_name(parameters.get("filename", ""))


def check_not_empty(request: Request) -> None:
    """BadRequest if there is no body."""
    if not length_of(request):
        raise BadRequest("The body is empty. Send the recording, a form with it, or JSON with its URL.")


def length_of(request: Request) -> int:
    """Bytes of the body, as they are announced."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def too_large() -> TooLarge:
    return TooLarge(f"A recording may have {settings.MAX_UPLOAD_BYTES} bytes.")
