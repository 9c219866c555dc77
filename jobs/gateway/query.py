"""What the query of `POST /v1/listen` asks for.

As at Deepgram, parameters that nobody knows are ignored, and not forwarded. `tag` becomes the job's tags;
`mip_opt_out` is the project's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings

from jobs.gateway.refusals import bad_callback, bad_query
from jobs.transcripts.options import InvalidOptions, from_query, many, text, validate
from routing.addresses import ForbiddenURL, check_url

CALLBACK_METHODS = ("POST", "PUT")
LONGEST_URL = 2000
_tags = many(text(128), 50)  # the length is Deepgram's limit


@dataclass(frozen=True, slots=True)
class Asked:
    """`callback` is empty for who waits; `callback_method` then too."""

    options: dict[str, Any]
    tags: list[str]
    callback: str
    callback_method: str


def read(query: str) -> Asked:
    """Read a query string. Raises Refused, InvalidOptions."""
    pairs = [(name, value) for name, value in parse_qsl(query) if value]
    given = dict(pairs)  # the last of each
    tags = [value for name, value in pairs if name == "tag"]
    callback = _callback(given.get("callback", ""))
    return Asked(
        options=dict(validate(from_query(pairs), defaults={})),
        tags=_valid_tags(tags),
        callback=callback,
        callback_method=_method(given.get("callback_method", "POST")) if callback else "",
    )


def _callback(url: str) -> str:
    private = settings.WEBHOOK_ALLOW_PRIVATE
    if len(url) > LONGEST_URL:
        raise bad_callback(f"It may have {LONGEST_URL} characters.")
    try:
        if url:
            check_url(url, allow_private=private, allow_http=private)
    except ForbiddenURL as error:
        raise bad_callback(error.message) from None
    return url


def _method(name: str) -> str:
    if name.upper() not in CALLBACK_METHODS:
        raise bad_query(f"callback_method: must be one of {', '.join(CALLBACK_METHODS)}")
    return name.upper()


def _valid_tags(tags: list[str]) -> list[str]:
    try:
        return list(_tags(tags)) if tags else []  # type: ignore[arg-type]
    except ValueError as error:
        raise InvalidOptions({"tag": str(error)}) from None
