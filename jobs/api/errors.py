"""Where exceptions become answers: always `{"error": {"code", "message", "details"}}`, never HTML.

`code` is stable and `message` for people. `details` is null, or an object of lists of messages, by field or
option.
"""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import (
    DisallowedHost,
    ObjectDoesNotExist,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.template.loader import render_to_string
from django.views import defaults
from rest_framework import exceptions, status
from rest_framework.response import Response
from structlog.contextvars import get_contextvars

from jobs.api.limits import audio_quota, open_jobs_limit
from jobs.audio.downloads import RangeNotSatisfiable
from jobs.audio.probe import ProbeError
from jobs.intake import NoRegionAble, TooManyOpenJobs
from jobs.models import KeyReused
from jobs.quotas import QuotaExceeded
from jobs.refusal import Refusal
from jobs.transcripts.options import InvalidOptions
from routing.encryption import SecretUnreadable
from routing.regions import UnknownRegion

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
FOR_THE_WHOLE = "request"
BELOW = "/api/"
NOT_FOUND = "There is nothing at this address, or nothing that is yours."
PERMISSION_DENIED = "You may not do this."
INTERNAL_ERROR = "Something is wrong on our side. It has been logged."
NO_ROOM = "There is no room left to store it. Try again later, or ask whoever runs the service to make room."
REUSED = "The Idempotency-Key has named another submission. Give this one a name of its own."
WRONG_HOST = "The Host header names another server; ALLOWED_HOSTS lists the names that this one goes by."


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = "The body is larger than is accepted."


class WrongTusVersion(exceptions.APIException):
    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_code = "tus_version"

    def __init__(self, ours: str) -> None:
        super().__init__(f"Tus-Resumable must be {ours}.")


class LengthRequired(exceptions.APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_code = "length_required"
    default_detail = "Send the body with a Content-Length, not in chunks."


class RateLimited(exceptions.APIException):
    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_code = "rate_limited"

    def __init__(self, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.headers = headers


class BadRequest(exceptions.APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "bad_request"
    default_detail = "The request cannot be understood."


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """The answer to whatever a view raised. What nobody foresaw is logged and answered 500."""
    match error:
        case exceptions.ValidationError():
            details = _by_field(error.detail)
            return answer(400, "validation_error", _summary(details), details)
        case exceptions.UnsupportedMediaType():
            return answer(415, "unsupported_media_type", f"{error.detail} {_accepted(context)}")
        case exceptions.NotAuthenticated():
            how = "Send a key in the header `Authorization: Token KEY`."
            return answer(error.status_code, "not_authenticated", how, headers=_headers(error))
        case exceptions.APIException():
            return answer(error.status_code, _code(error), str(error.detail), headers=_headers(error))
        case Http404() | ObjectDoesNotExist():
            # The latter: it was deleted since it was looked up.
            return answer(404, "not_found", NOT_FOUND)
        case PermissionDenied():
            return answer(403, "permission_denied", PERMISSION_DENIED)
        case InvalidOptions():
            details = {name: [message] for name, message in error.errors.items()}
            return answer(400, error.code, _summary(details), details)
        case TooManyOpenJobs():
            headers = open_jobs_limit(error.limit, RETRY_AFTER_SECONDS)
            return answer(error.status, error.code, error.message, headers=headers)
        case QuotaExceeded():
            return answer(error.status, error.code, error.message, headers=audio_quota(error))
        case RangeNotSatisfiable():
            return answer(416, "range_not_satisfiable", "The file has no such range.")
        case KeyReused():
            return answer(409, "idempotency_key_reused", REUSED)
        case UnknownRegion():
            return answer(400, "unknown_region", str(error))
        case ProbeError(code="probe_unavailable"):
            return _unavailable(error.code, error.message)
        case SecretUnreadable():
            return answer(409, error.code, error.message)
        case NoRegionAble():
            return _unavailable(error.code, error.message)
        case Refusal():
            return answer(error.status, error.code, error.message)
        case OperationalError() | InterfaceError():
            logger.warning("The database cannot be used: %s", error)
            return _unavailable("service_unavailable", "The service cannot work just now. Try again soon.")
        case OSError(errno=errno.ENOSPC):
            logger.error("There is no room left for what is sent.")
            return answer(507, "insufficient_storage", NO_ROOM)
        case UnreadablePostError(__cause__=TimeoutError()):
            return answer(408, "body_timed_out", "The rest of the body did not come in time. Send it again.")
        case UnreadablePostError():
            return answer(400, "body_incomplete", "The body ended before its Content-Length.")
        case RequestDataTooBig():
            return answer(413, "too_large", str(TooLarge.default_detail))
        case SuspiciousOperation():
            return answer(400, "bad_request", str(BadRequest.default_detail))
        case _:
            logger.error("A request failed.", exc_info=error)
            return answer(500, "internal_error", INTERNAL_ERROR)


def answer(
    status_code: int,
    code: str,
    message: str,
    details: Mapping[str, list[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    return Response(envelope(code, message, details), status=status_code, headers=dict(headers or {}))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400, as those that follow are its others: for what fails before it comes to a view."""
    if not request.path.startswith(BELOW):
        return defaults.bad_request(request, exception)
    told = WRONG_HOST if isinstance(exception, DisallowedHost) else str(BadRequest.default_detail)
    return JsonResponse(envelope("bad_request", told), status=400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not request.path.startswith(BELOW):
        return defaults.permission_denied(request, exception)
    return JsonResponse(envelope("permission_denied", PERMISSION_DENIED), status=403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not request.path.startswith(BELOW):
        return defaults.page_not_found(request, exception)
    return JsonResponse(envelope("not_found", NOT_FOUND), status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django has logged what it was, and is still handling it."""
    if not request.path.startswith(BELOW):
        match sys.exception():
            case OSError(errno=errno.ENOSPC):
                # A form is read, files and all, to find its CSRF token: before there is a view to answer.
                return HttpResponse(render_to_string("507.html"), status=507)
        page = render_to_string("500.html", {"request_id": get_contextvars().get("request_id")})
        return HttpResponse(page, status=500)
    return JsonResponse(envelope("internal_error", INTERNAL_ERROR), status=500)


def envelope(code: str, message: str, details: Mapping[str, list[str]] | None = None) -> dict[str, Any]:
    """What every refusal is."""
    return {"error": {"code": code, "message": message, "details": details}}


def _unavailable(code: str, message: str) -> Response:
    return answer(503, code, message, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _accepted(context: Mapping[str, Any]) -> str:
    return f"Accepted here: {', '.join(parser.media_type for parser in context['view'].parser_classes)}."


def _code(error: exceptions.APIException) -> str:
    # Without a key and with a wrong one: both are told the same.
    if isinstance(error, exceptions.AuthenticationFailed):
        return "not_authenticated"
    return str(error.get_codes())


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = dict(getattr(error, "headers", {}))
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]
    if getattr(error, "wait", None):
        headers["Retry-After"] = str(int(error.wait))  # type: ignore[attr-defined]
    return headers


def _by_field(detail: Any) -> dict[str, list[str]]:
    if isinstance(detail, Mapping):
        return {
            FOR_THE_WHOLE if field == "non_field_errors" else str(field): list(_messages(messages))
            for field, messages in detail.items()
        }
    return {FOR_THE_WHOLE: list(_messages(detail))}


def _messages(detail: Any) -> list[str]:
    """The messages of one field, of its entries too (`{0: ["…"]}`)."""
    if isinstance(detail, Mapping):
        return [f"{place}: {message}" for place, inner in detail.items() for message in _messages(inner)]
    if isinstance(detail, list | tuple):
        return [message for inner in detail for message in _messages(inner)]
    return [str(detail)]


def _summary(details: Mapping[str, list[str]]) -> str:
    return "; ".join(
        messages[0] if field == FOR_THE_WHOLE else f"{field}: {messages[0]}"
        for field, messages in details.items()
        if messages
    )
