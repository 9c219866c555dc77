"""Grants: what a key gives away for a while, so that a browser need not know the key.

Deepgram's are JWTs and opaque to clients; ours are signed by SECRET_KEY, and made of the characters that a
WebSocket's subprotocol may have (RFC 6455, 4.1), since that is where a browser sends them. A grant opens as
many sockets, and submits as much, as its key may until it expires, and nothing once the key is revoked.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.core.signing import BadSignature, Signer
from django.utils import timezone

from jobs.models import ApiKey

DEFAULT_TTL_SECONDS = 30
MAX_TTL_SECONDS = 3600

_signer = Signer(sep=".", salt="jobs.grants")


def grant(key: ApiKey, seconds: float) -> str:
    """A token that is good for `seconds`."""
    until = timezone.now() + timedelta(seconds=seconds)
    return _signer.sign_object({"key": str(key.pk), "until": until.timestamp()})


def key_behind(token: str) -> ApiKey | None:
    """The usable key that granted it, its project along. None: forged, expired and revoked look alike."""
    try:
        claims = _signer.unsign_object(token)
    except (BadSignature, ValueError):
        return None
    if claims["until"] <= timezone.now().timestamp():
        return None
    return ApiKey.objects.usable().select_related("project").filter(pk=UUID(claims["key"])).first()
