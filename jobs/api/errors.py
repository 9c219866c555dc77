"""Where exceptions become answers: always `{"error": {"code", "message", "details"}}`, never HTML.

`code` is stable and `message` for people. `details` is null, or an object of lists of messages, by field or
option.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response

from jobs.downloads import RangeNotSatisfiable
from jobs.intake import NotAccepted
from jobs.models import InvalidTransition
from jobs.options import InvalidOptions
from jobs.probe import ProbeError
from routing.regions import UnknownRegion

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
FOR_THE_WHOLE = "request"
ACCEPTED = "JSON is accepted; for a recording also a form, or its own type, such as audio/wav."


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = "The body is larger than is accepted."


class LengthRequired(exceptions.APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_code = "length_required"
    default_detail = "Send the body with a Content-Length, not in chunks."


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
            return answer(415, "unsupported_media_type", f"{error.detail} {ACCEPTED}")
        case exceptions.APIException():
            return answer(error.status_code, _code(error), str(error.detail), headers=_headers(error))
        case Http404():
            return answer(404, "not_found", "There is nothing at this address, or nothing that is yours.")
        case PermissionDenied():
            return answer(403, "permission_denied", "You may not do this.")
        case InvalidOptions():
            details = {name: [message] for name, message in error.errors.items()}
            return answer(400, error.code, _summary(details), details)
        case NotAccepted():
            return answer(400, error.code, error.message)
        case RangeNotSatisfiable():
            return answer(416, "range_not_satisfiable", "The file has no such range.")
        case UnknownRegion():
            return answer(400, "unknown_region", str(error))
        case InvalidTransition():
            return answer(409, "invalid_transition", str(error))
        case ProbeError(code="probe_unavailable"):
            return _unavailable(error.code, error.message)
        case ProbeError():
            return answer(415, error.code, error.message)
        case OperationalError() | InterfaceError():
            logger.warning("The database cannot be used: %s", error)
            return _unavailable("service_unavailable", "The service cannot work just now. Try again soon.")
        case RequestDataTooBig():
            return answer(413, "too_large", str(TooLarge.default_detail))
        case SuspiciousOperation():
            return answer(400, "bad_request", str(BadRequest.default_detail))
        case _:
            logger.error("A request failed.", exc_info=error)
            return answer(500, "internal_error", "Something is wrong on our side. It has been logged.")


def answer(
    status_code: int,
    code: str,
    message: str,
    details: Mapping[str, list[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = {"error": {"code": code, "message": message, "details": details}}
    return Response(body, status=status_code, headers=dict(headers or {}))


def _unavailable(code: str, message: str) -> Response:
    return answer(503, code, message, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _code(error: exceptions.APIException) -> str:
    # Without a key and with a wrong one: both are told the same.
    if isinstance(error, exceptions.AuthenticationFailed):
        return "not_authenticated"
    return str(error.get_codes())


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
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
    return "; ".join(f"{field}: {messages[0]}" for field, messages in details.items() if messages)
