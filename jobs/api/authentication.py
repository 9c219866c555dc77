"""Who asks: a program with a project's key, or a person at our own pages with the session."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from jobs.api.errors import RateLimited
from jobs.api.limits import rate_limit
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
        origin = request.headers.get("Origin")
        if origin and not _is_ours(origin, request) and origin not in key.allowed_origins:
            raise PermissionDenied("The key does not allow this origin.", "origin_not_allowed")
        try:
            # Kept for the answer's headers.
            key.allowance = key.use()
        except TooManyRequests as error:
            raise RateLimited(str(error), rate_limit(error.allowance, error.wait)) from None
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        return 'Token realm="api"'


def _is_ours(origin: str, request: Request) -> bool:
    return origin == settings.PUBLIC_URL or urlsplit(origin).netloc == request.get_host()
