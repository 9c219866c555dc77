"""What a browser is told about every answer, beside what Django's SecurityMiddleware tells it.

Policies: www.w3.org/TR/CSP3 and www.w3.org/TR/permissions-policy. An answer with a policy of its own, as
downloads have (jobs/audio/downloads.py), keeps it.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

_OWN_FILES_ONLY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "media-src": "'self' blob:",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
# django-unfold's pages are Alpine's, which compiles the expressions in attributes (unsafe-eval) and writes
# style attributes. `style-src` is for browsers that do not know the two others (Safari before 15.4).
_OF_UNFOLD = {
    "script-src": "'self' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "style-src-elem": "'self'",
    "style-src-attr": "'unsafe-inline'",
}


def _policy(directives: dict[str, str]) -> str:
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


STRICT = _policy(_OWN_FILES_ONLY)
ADMIN = _policy(_OWN_FILES_ONLY | _OF_UNFOLD)
# A page may listen, for live audio; nothing here looks, locates or pays.
PERMISSIONS = "camera=(), display-capture=(), geolocation=(), microphone=(self), payment=(), usb=()"


class PolicyMiddleware:
    """Content-Security-Policy and Permissions-Policy, on answers of the middleware below it too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.admin = reverse("admin:index")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        policy = ADMIN if request.path_info.startswith(self.admin) else STRICT
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        return response
