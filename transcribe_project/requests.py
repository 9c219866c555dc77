"""Every request has an id, which is on each line that is logged of it, and ends with a line of its own.

In place of django-structlog's, which logs two lines for each, with the whole query: ours may hold what
was searched for, and the signatures of signed URLs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial
from time import monotonic
from uuid import uuid4

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path
from structlog.contextvars import bound_contextvars

from jobs.gateway.held import once_finished
from routing import tracing
from routing.tracing import Span

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"
# Of a proxy before us, whose log it is to be found in.
WELL_FORMED = re.compile(r"[\w.-]{1,64}", re.ASCII)


class RequestMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER, "")
        request_id = given if WELL_FORMED.fullmatch(given) else uuid4().hex
        began = monotonic()
        parent = request.headers.get("traceparent", "")
        span = tracing.span(str(request.method), kind="server", parent=parent, request_id=request_id)
        span.stay()
        with bound_contextvars(request_id=request_id), span:
            response = self.get_response(request)
        response.headers[HEADER] = request_id
        once_finished(response, partial(_log, request, response, request_id, began))
        once_finished(response, partial(_end, span, request, response))
        return response


def _log(request: HttpRequest, response: HttpResponseBase, request_id: str, began: float) -> None:
    if logger.isEnabledFor(logging.INFO):
        told = {"status": response.status_code, "duration_ms": round((monotonic() - began) * 1000)}
        with bound_contextvars(request_id=request_id, **told):
            # Without its query. Quoted, as nobody may write lines of his own.
            logger.info("%s %s", request.method, escape_uri_path(request.path))


def _end(span: Span, request: HttpRequest, response: HttpResponseBase) -> None:
    """`http.*`: OpenTelemetry's conventions for servers, which also name the span."""
    route = f"/{request.resolver_match.route}" if request.resolver_match else ""
    span.rename(f"{request.method} {route}".strip())
    span.tell(
        **{
            "http.request.method": request.method,
            "http.route": route,
            "http.response.status_code": response.status_code,
        }
    )
    if response.status_code >= 500:
        span.fail(str(response.status_code))
    span.end()
