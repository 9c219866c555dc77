"""Who asks: a program with a project's key, or a person at our own pages with the session."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from jobs.api.errors import RateLimited
from jobs.api.limits import rate_limit
from jobs.api.origins import is_foreign
from jobs.models import ApiKey, TooManyRequests


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Token KEY`; `request.auth` is the ApiKey, which speaks for its project alone."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "token":
            return None
        key = ApiKey.objects.authenticate(text.strip())
        if key is None:
            raise AuthenticationFailed("The API key is unknown, expired or revoked.")
        admit(request._request, key)
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        return 'Token realm="api"'


class OwnPagesAuthentication(SessionAuthentication):
    """The admin's session, for our own pages alone; a foreign one is refused whatever it asks for."""

    def authenticate(self, request: Request) -> Any:
        known = super().authenticate(request)
        if known is not None and is_foreign(request._request):
            raise PermissionDenied("The session is for our own pages; send a key.", "origin_not_allowed")
        return known


def admit(request: HttpRequest, key: ApiKey) -> None:
    """Let a request of this key in, and count it.

    PermissionDenied if the page that it comes from may not use the key, RateLimited if the key has no request
    left.
    """
    if is_foreign(request):
        _check_origin(request, key)
    try:
        # Kept for the answer's headers.
        key.allowance = key.use()
    except TooManyRequests as error:
        raise RateLimited(str(error), rate_limit(error.allowance, error.wait)) from None


def _check_origin(request: HttpRequest, key: ApiKey) -> None:
    origin = request.headers["Origin"]
    by_key = origin in key.allowed_origins
    if not by_key and origin not in settings.CORS_ALLOWED_ORIGINS:
        raise PermissionDenied("The key does not allow this origin.", "origin_not_allowed")
    # For the answer's headers: jobs.api.origins.
    request.origin_allowed_by_key = by_key  # type: ignore[attr-defined]
