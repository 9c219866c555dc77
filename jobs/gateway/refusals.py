"""Refusals in Deepgram's statuses, codes and words (developers.deepgram.com/docs/errors).

Two shapes are in use, `{err_code, err_msg, request_id}` and `{category, message, details, request_id}`, and
503 says `error_code` where the others say `err_code`. Where Deepgram has no words for it, the words are ours.
"""

from __future__ import annotations

import errno
import json
import logging
from typing import Literal, TypeAlias
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.http import UnreadablePostError
from rest_framework import exceptions

from jobs.api.errors import RETRY_AFTER_SECONDS, RateLimited
from jobs.audio.probe import ProbeError
from jobs.audio.received import InsufficientStorage
from jobs.intake import TooManyOpenJobs
from jobs.quotas import QuotaExceeded
from jobs.refusal import Refusal
from jobs.transcripts.options import InvalidOptions

logger = logging.getLogger(__name__)

Shape: TypeAlias = Literal["legacy", "modern", "unavailable"]
LONGEST_HEADER = 500
OF_MODEL = {"model", "version", "tier", "language"}


class Refused(Exception):
    """An answer other than 2xx. `retry_after`: seconds, where trying again may help."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None, shape: Shape = "legacy"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.shape = shape

    def body(self, request_id: UUID | str) -> bytes:
        match self.shape:
            case "modern":
                told = {"category": self.code, "message": self.message, "details": self.message}
            case "unavailable":
                told = {"error_code": self.code, "err_msg": self.message}
            case _:
                told = {"err_code": self.code, "err_msg": self.message}
        return json.dumps(told | {"request_id": str(request_id)}).encode()

    @property
    def headers(self) -> dict[str, str]:
        headers = {"dg-error": _for_a_header(self.message)}
        return headers if self.retry_after is None else {**headers, "Retry-After": str(self.retry_after)}


def corrupt_audio() -> Refused:
    message = "Bad Request: failed to process audio: corrupt or unsupported data"
    return Refused(400, "Bad Request", message)


def bad_query(detail: str) -> Refused:
    return Refused(400, "INVALID_QUERY_PARAMETER", f"Failed to deserialize query parameters: {detail}")


def no_such_model(why: str) -> Refused:
    return Refused(400, "Bad Request", f"No such model/language/tier combination found. {why}")


def bad_callback(why: str) -> Refused:
    return Refused(400, "INVALID_QUERY_PARAMETER", f"Invalid callback url. {why}")


def bad_json() -> Refused:
    message = "Content-type was application/json, but we could not process the JSON payload."
    return Refused(400, "INVALID_JSON", message, shape="modern")


def remote_content(message: str) -> Refused:
    return Refused(400, "REMOTE_CONTENT_ERROR", message)


def not_routable() -> Refused:
    return remote_content("URL for media download must be publicly routable.")


def incomplete() -> Refused:
    return Refused(400, "Bad Request", "Bad Request: the body ended before it was complete.")


def invalid_credentials() -> Refused:
    return Refused(401, "INVALID_AUTH", "Invalid credentials.")


def insufficient_permissions() -> Refused:
    return Refused(403, "INSUFFICIENT_PERMISSIONS", "User does not have sufficient permissions.")


def not_found() -> Refused:
    return Refused(404, "NOT_FOUND", "The requested resource could not be found.", shape="modern")


def method_not_allowed() -> Refused:
    return Refused(405, "METHOD_NOT_ALLOWED", "Method not allowed.", shape="modern")


def slow_upload() -> Refused:
    return Refused(408, "SLOW_UPLOAD", "Request upload timeout.")


def too_large() -> Refused:
    return Refused(413, "PAYLOAD_TOO_LARGE", "Payload too large.")


def too_many_requests(retry_after: int) -> Refused:
    message = "Too many requests. Please try again later"
    return Refused(429, "TOO_MANY_REQUESTS", message, retry_after=retry_after)


def cancelled() -> Refused:
    return Refused(499, "CANCELLED", "The job was cancelled.")


def internal_error() -> Refused:
    return Refused(500, "INTERNAL_SERVER_ERROR", "Internal server error.")


def failed_upstream(message: str) -> Refused:
    return Refused(502, "BAD_GATEWAY", message)


def unavailable(retry_after: int = RETRY_AFTER_SECONDS) -> Refused:
    message = "Please try again later"
    return Refused(503, "Service Unavailable", message, retry_after=retry_after, shape="unavailable")


def timed_out(message: str) -> Refused:
    return Refused(504, "GATEWAY_TIMEOUT", message)


def no_room() -> Refused:
    return Refused(507, "INSUFFICIENT_STORAGE", "There is no room left to store the audio.")


def refusal_of(error: Exception) -> Refused:
    """What an error means for whoever asked. What nobody foresaw is logged and answered 500."""
    match error:
        case Refused():
            return error
        case InvalidOptions() if error.errors.keys() <= OF_MODEL:
            return no_such_model(str(error))
        case InvalidOptions():
            return bad_query(str(error))
        case ProbeError(code="probe_unavailable"):
            return unavailable()
        case ProbeError():
            return corrupt_audio()
        case exceptions.AuthenticationFailed():
            return invalid_credentials()
        case exceptions.PermissionDenied():
            return Refused(403, str(error.get_codes()).upper(), str(error.detail))
        case RateLimited():
            return too_many_requests(int(error.headers["Retry-After"]))
        case TooManyOpenJobs():
            return too_many_requests(RETRY_AFTER_SECONDS)
        case QuotaExceeded():
            return Refused(429, "TOO_MANY_REQUESTS", error.message, retry_after=error.retry_after)
        case Refusal():
            return Refused(error.status, error.code.upper(), error.message)
        case OperationalError() | InterfaceError():
            logger.warning("The database cannot be used: %s", error)
            return unavailable()
        case InsufficientStorage() | OSError(errno=errno.ENOSPC):
            logger.error("There is no room left for what is sent.")
            return no_room()
        case UnreadablePostError(__cause__=TimeoutError()):
            return slow_upload()
        case UnreadablePostError():
            return incomplete()
        case _:
            logger.error("A request failed.", exc_info=error)
            return internal_error()


def _for_a_header(text: str) -> str:
    return "".join(character if " " <= character <= "~" else " " for character in text)[:LONGEST_HEADER]
