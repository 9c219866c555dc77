"""Handshakes that are refused, in the shapes and words of requests that are (jobs.gateway.refusals).

Before a socket is open a refusal is an HTTP answer: the status, `dg-error`, and a JSON body.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from jobs.gateway.refusals import Refused as Refused
from jobs.gateway.refusals import insufficient_permissions as insufficient_permissions
from jobs.gateway.refusals import invalid_credentials as invalid_credentials
from jobs.gateway.refusals import not_found as not_found
from jobs.gateway.refusals import refusal_of as refusal_of
from jobs.gateway.refusals import too_many_requests as too_many_requests
from jobs.gateway.refusals import unavailable as unavailable


def origin_not_allowed() -> Refused:
    message = "Neither the key nor CORS_ALLOWED_ORIGINS allows this origin."
    return Refused(403, "ORIGIN_NOT_ALLOWED", message)


def bad_request(message: str) -> Refused:
    return Refused(400, "INVALID_QUERY_PARAMETER", message)


def refusal(scope: Any, refused: Refused) -> list[dict[str, Any]]:
    """The answer to the handshake. A server without the extension for it (Daphne) answers an empty 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        return [{"type": "websocket.close"}]
    request_id = str(uuid4())
    body = refused.body(request_id)
    said = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "dg-request-id": request_id,
        **refused.headers,
    }
    headers = [(name.lower().encode(), value.encode()) for name, value in said.items()]
    return [
        {"type": "websocket.http.response.start", "status": refused.status, "headers": headers},
        {"type": "websocket.http.response.body", "body": body},
    ]
