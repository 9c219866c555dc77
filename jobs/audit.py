"""Writing the audit log: who did what, from where.

A submission is not in it: the job's own row says who made it, and when.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import models, transaction
from django.db.models.functions import Now

from jobs.models import ApiKey, AuditEntry, Project
from jobs.models.audit import Action, Result

# Whoever reads something reads it again: that is one entry.
READS_FOR = timedelta(hours=1)


def record(
    action: Action,
    request: Any = None,
    about: models.Model | None = None,
    *,
    project: Project | None = None,
    result: Result = Result.DONE,
    actor: str = "",
    **details: Any,
) -> None:
    """Write an entry. `request` (Django's or DRF's) tells who and from where; None: the service itself.

    `project` need not be named when `about` is one or has one. `actor`: a name where nobody is known yet.
    """
    AuditEntry.objects.create(
        action=action,
        result=result,
        project_id=project.pk if project else _project_of(about),
        object_type=(about and about._meta.model_name) or "",
        object_id=str(about.pk) if about else "",
        object_name=str(about)[:200] if about else "",
        details=details,
        **_who(request, actor),
    )


def record_read(action: Action, request: Any, about: models.Model, **details: Any) -> bool:
    """`record`, unless the same person or key did the same to the same within the hour; whether it did."""
    who = _who(request)
    told = AuditEntry.objects.filter(object_id=str(about.pk), action=action, details=details)
    told = told.filter(user=who["user_id"], key=who["key_id"], at__gt=Now() - READS_FOR)
    if told.exists():
        return False
    record(action, request, about, **details)
    return True


def name_of(request: Any) -> str:
    """Who asks, as the log names them: a user, or a key."""
    return str(_who(request)["actor"])


@contextmanager
def audited(action: Action, request: Any, about: models.Model, **details: Any) -> Iterator[None]:
    """Commit what the block does together with its entry; neither if it fails."""
    with transaction.atomic():
        yield
        record(action, request, about, **details)


def _project_of(about: models.Model | None) -> Any:
    return about.pk if isinstance(about, Project) else getattr(about, "project_id", None)


def _who(request: Any, actor: str = "") -> dict[str, Any]:
    key = getattr(request, "auth", None)
    if isinstance(key, ApiKey):
        return {"actor": f"key {key}", "user_id": None, "key_id": key.pk, "ip": _address(request)}
    user = getattr(request, "user", None)
    if not isinstance(user, AbstractBaseUser):
        return {"actor": actor[:200], "user_id": None, "key_id": None, "ip": _address(request)}
    return {"actor": user.get_username(), "user_id": user.pk, "key_id": None, "ip": _address(request)}


def _address(request: Any) -> str | None:
    """The client's, as the server knows it: behind a proxy that is trusted, the one that it tells."""
    try:
        return str(ip_address(request.META["REMOTE_ADDR"]))
    except (AttributeError, KeyError, ValueError):
        return None
