"""Signing in: who keeps failing waits longer and longer, up to a minute at a time.

Counted by account and address together, so that nobody can lock somebody else out, and by address alone, so
that nobody tries one password on everybody. The count is in the cache: in Redis, or in this process when
embedded and while Redis is down.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from django.core.cache import cache
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm  # type: ignore[import-untyped]

logger = logging.getLogger(__name__)

FREE_OF_ACCOUNT_AND_ADDRESS = 5
FREE_OF_ADDRESS = 20
SHORTEST_PAUSE_SECONDS = 2
LONGEST_PAUSE_SECONDS = 60
FORGOTTEN_AFTER_SECONDS = 3600


class SignInForm(AuthenticationForm):  # type: ignore[misc]
    """The admin's, and the only way in by password."""

    def clean(self) -> dict[str, Any]:
        address = self.request.META.get("REMOTE_ADDR", "")
        account = self.cleaned_data.get("username", "").lower()
        # Each is counted, also where the other refuses.
        allowed = [
            _may_try(f"{account} {address}", FREE_OF_ACCOUNT_AND_ADDRESS),
            _may_try(address, FREE_OF_ADDRESS),
        ]
        if not all(allowed):
            logger.warning("Attempts to sign in from %s are slowed down.", address)
            raise ValidationError(
                "Too many attempts. Wait a minute, then try again.", code="too_many_attempts"
            )
        cleaned: dict[str, Any] = super().clean()
        _forget(f"{account} {address}")
        _forget(address)
        return cleaned


def _may_try(who: str, free: int) -> bool:
    """Count an attempt before its password is looked at: of many at once, no more are let through."""
    key = _key(who)
    cache.add(key, 0, FORGOTTEN_AFTER_SECONDS)
    try:
        tried = cache.incr(key)
    except ValueError:
        # Redis went away, or came back, this moment.
        return True
    pause = min(SHORTEST_PAUSE_SECONDS * 2 ** (tried - free - 1), LONGEST_PAUSE_SECONDS)
    return tried <= free or cache.add(f"{key}:pause", True, pause)


def _forget(who: str) -> None:
    cache.delete_many([_key(who), f"{_key(who)}:pause"])


def _key(who: str) -> str:
    return f"sign-in:{hashlib.sha256(who.encode()).hexdigest()}"
