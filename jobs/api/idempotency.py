"""The header Idempotency-Key: who is not sure that a submission arrived may send it again.

A key names a submission for 24 hours, in its project. Sent again it is answered as before, or, while the
first is still being answered, with 202 and its job. What was refused is not remembered, so it may be sent
right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.errors import BadRequest
from jobs.api.renderers import JSONRenderer
from jobs.audio.received import ReceivedFile
from jobs.intake import Remote
from jobs.models import IdempotencyKey, Project

LONGEST = 255
HEADER = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="A name of yours for this submission, such as a UUID: sent again within 24 hours, it is "
    "answered as before. For something else it is a 409.",
)


def named_by(request: Request, project: Project, fields: Mapping[str, Any]) -> IdempotencyKey | None:
    """The submission by the name that the header gives it, not saved; None without one."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= LONGEST and key.isascii() and key.isprintable()):
        raise BadRequest(f"An Idempotency-Key has 1 to {LONGEST} printable ASCII characters.")
    return IdempotencyKey(project=project, key=key, fingerprint=_fingerprint(fields))


def remember(named: IdempotencyKey, response: Response) -> None:
    """What is accepted is so in any case: an answer that cannot be kept leaves the submission in flight."""
    with suppress(OperationalError, InterfaceError):
        named.remember(response.status_code, JSONRenderer().render(response.data))


def replayed(earlier: IdempotencyKey) -> HttpResponse | None:
    """The answer that was given before; None if none has been yet, or it is kept no longer."""
    if earlier.status_code is None or earlier.answer is None:
        return None
    return HttpResponse(
        bytes(earlier.answer),
        status=earlier.status_code,
        content_type=JSONRenderer.media_type,
        headers={"Idempotency-Replayed": "true"},
    )


def _fingerprint(fields: Mapping[str, Any]) -> str:
    # Not orjson, which knows no integer beyond 64 bits: PostgreSQL gives 1e20 of a batch back as one.
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=_told).encode()).hexdigest()


def _told(value: object) -> object:
    match value:
        case ReceivedFile():
            return value.sha256
        case Remote():
            return asdict(value)
        case _:
            return str(value)
