"""Sign-ins in the audit log.

Django tells of them by its signals and in no other way that holds for every page and backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_login_failed

from jobs.audit import record
from jobs.models.audit import Action, Result


def connect() -> None:
    user_logged_in.connect(_signed_in, dispatch_uid="audit")
    user_login_failed.connect(_sign_in_failed, dispatch_uid="audit")


def _signed_in(request: Any, user: Any, **_: Any) -> None:
    record(Action.SIGNED_IN, request, user, actor=user.get_username())


def _sign_in_failed(credentials: Mapping[str, Any], request: Any = None, **_: Any) -> None:
    users: Any = get_user_model()._default_manager
    # What is no account's name may be a password in the wrong field.
    user = users.filter(username=str(credentials.get("username"))).first()
    record(Action.SIGN_IN_FAILED, request, user, result=Result.REFUSED)
