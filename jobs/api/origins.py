"""Pages of other origins: which may call the API, and what their browsers are told (fetch.spec.whatwg.org).

A browser asks before most calls (a preflight, which carries no key) and keeps answers from a page that is not
allowed to read them. An origin is allowed by the key that is sent or by CORS_ALLOWED_ORIGINS; compared whole,
so that no suffix or prefix of one is it. Cookies are never sent across origins: no answer allows credentials,
and the session is refused to foreign pages (jobs.api.authentication).
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from jobs.api.errors import BELOW, envelope
from jobs.models import ApiKey

# What pages of other origins may call.
DEEPGRAMS = "/v1/"
CALLED = (BELOW, DEEPGRAMS)
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
SENT = (
    "Authorization",
    "Content-Disposition",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "Tus-Resumable",
    "Upload-Offset",
)
EXPOSED = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "Idempotency-Replayed",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Transcription-Job",
    "Tus-Resumable",
    "Upload-Length",
    "Upload-Offset",
    "X-Request-ID",
    "dg-error",
    "dg-request-id",
)
# A key that is revoked meanwhile is refused all the same: by the call, whatever was said before it.
REMEMBERED_SECONDS = 600
REFUSED = envelope("origin_not_allowed", "Neither a key nor CORS_ALLOWED_ORIGINS allows this origin.")


class OriginMiddleware:
    """Answers preflights, and tells the browser of a foreign page whether the page may read the answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        origin = request.META.get("HTTP_ORIGIN")
        if origin is None or not request.path_info.startswith(CALLED):
            return self.get_response(request)
        if request.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.META:
            response: HttpResponseBase = _preflight(request, origin)
        else:
            response = self.get_response(request)
            # Set by KeyAuthentication.
            by_key = getattr(request, "origin_allowed_by_key", False)
            if by_key or origin in settings.CORS_ALLOWED_ORIGINS:
                response["Access-Control-Allow-Origin"] = origin
                response["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
        patch_vary_headers(response, ["Origin"])
        return response


def _preflight(request: HttpRequest, origin: str) -> HttpResponse:
    if origin not in settings.CORS_ALLOWED_ORIGINS and not ApiKey.objects.allowing(origin).exists():
        return JsonResponse(REFUSED, status=403)
    return HttpResponse(
        status=204,
        headers={
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": _allowed_headers(request),
            "Access-Control-Max-Age": str(REMEMBERED_SECONDS),
        },
    )


def _allowed_headers(request: HttpRequest) -> str:
    """Deepgram's SDKs send what they like to its addresses; what gives power is the key alone."""
    if request.path_info.startswith(DEEPGRAMS):
        return request.headers.get("Access-Control-Request-Headers", "Authorization, Content-Type")
    return ", ".join(SENT)


def is_foreign(request: HttpRequest) -> bool:
    """Whether a browser says that the request comes from a page that is not ours. Programs say nothing."""
    origin = request.META.get("HTTP_ORIGIN")
    ours = (settings.PUBLIC_URL, f"{request.scheme}://{request.get_host()}")
    return origin is not None and origin not in ours
