"""Handshakes that are refused, in Deepgram's statuses, codes and words (developers.deepgram.com/docs/errors).

Before a socket is open a refusal is an HTTP answer: the status, `dg-error`, and a JSON body.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

LONGEST_MESSAGE = 500


class Refused(Exception):
    """There will be no live session. `retry_after`: seconds, where trying again may help."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


def invalid_credentials() -> Refused:
    return Refused(401, "INVALID_AUTH", "Invalid credentials.")


def insufficient_permissions() -> Refused:
    return Refused(403, "INSUFFICIENT_PERMISSIONS", "User does not have sufficient permissions.")


def origin_not_allowed() -> Refused:
    message = "Neither the key nor CORS_ALLOWED_ORIGINS allows this origin."
    return Refused(403, "ORIGIN_NOT_ALLOWED", message)


def bad_request(message: str) -> Refused:
    return Refused(400, "INVALID_QUERY_PARAMETER", message)


def not_found() -> Refused:
    return Refused(404, "NOT_FOUND", "The requested resource could not be found.")


def too_many_requests(retry_after: int) -> Refused:
    message = "Too many requests. Please try again later"
    return Refused(429, "TOO_MANY_REQUESTS", message, retry_after=retry_after)


def unavailable(retry_after: int) -> Refused:
    return Refused(503, "Service Unavailable", "Please try again later", retry_after=retry_after)


def refusal(scope: Any, refused: Refused) -> list[dict[str, Any]]:
    """The answer to the handshake. A server without the extension for it (Daphne) answers an empty 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        return [{"type": "websocket.close"}]
    request_id = str(uuid4())
    said = {"err_code": refused.code, "err_msg": refused.message, "request_id": request_id}
    body = json.dumps(said).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"dg-request-id", request_id.encode()),
        (b"dg-error", _for_a_header(refused.message)),
    ]
    if refused.retry_after is not None:
        headers.append((b"retry-after", str(refused.retry_after).encode()))
    return [
        {"type": "websocket.http.response.start", "status": refused.status, "headers": headers},
        {"type": "websocket.http.response.body", "body": body},
    ]


def _for_a_header(text: str) -> bytes:
    printable = "".join(character if " " <= character <= "~" else " " for character in text)
    return printable[:LONGEST_MESSAGE].encode()
