"""The body of `POST /v1/listen`: audio of any content type, in chunks or not, or `{"url"}` as JSON."""

from __future__ import annotations

import orjson
from django.conf import settings
from django.http import HttpRequest

from jobs.audio.received import READ_BYTES, ReceivedFile, check_disk
from jobs.gateway.query import LONGEST_URL
from jobs.gateway.refusals import bad_json, not_routable, remote_content, too_large
from routing.addresses import ForbiddenURL, check_url

JSON_BYTES = 64 * 1024
NOT_ROUTABLE = ("url_address", "url_host")


def json_in(request: HttpRequest) -> object:
    """The body as JSON, None when it is empty. Raises Refused."""
    body = request.read(JSON_BYTES + 1)
    if len(body) > JSON_BYTES:
        raise too_large()
    try:
        return orjson.loads(body) if body.strip() else None
    except orjson.JSONDecodeError:
        raise bad_json() from None


def url_in(request: HttpRequest) -> str:
    """The URL of the audio; empty if the body is the audio itself. Raises Refused."""
    if request.content_type != "application/json":
        return ""
    match json_in(request):
        case {"url": str(url)}:
            return _callable(url)
    raise bad_json()


def receive(request: HttpRequest) -> ReceivedFile:
    """The audio, in constant memory. Raises Refused, InsufficientStorage, UnreadablePostError."""
    announced = int(request.META.get("CONTENT_LENGTH") or 0)
    if announced > settings.MAX_UPLOAD_BYTES:
        raise too_large()
    check_disk(announced)
    file = ReceivedFile(content_type=request.content_type or "")
    try:
        while part := request.read(READ_BYTES):
            if (file.size or 0) + len(part) > settings.MAX_UPLOAD_BYTES:
                raise too_large()
            if not announced:
                check_disk(len(part))
            file.receive(part)
        file.complete()
    except BaseException:
        file.close()
        raise
    return file


def _callable(url: str) -> str:
    if len(url) > LONGEST_URL:
        raise remote_content(f"The URL may have {LONGEST_URL} characters.")
    try:
        check_url(url, allow_private=settings.FETCH_ALLOW_PRIVATE, allow_http=True)
    except ForbiddenURL as error:
        raise (not_routable() if error.code in NOT_ROUTABLE else remote_content(error.message)) from None
    return url
