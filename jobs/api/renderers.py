"""JSON out: compact, by orjson; instants in UTC with a Z."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if data is None:
            return b""
        try:
            return orjson.dumps(data, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
        except TypeError:
            # An integer beyond 64 bits: PostgreSQL gives back 1e20 as one, and orjson has none.
            return json.dumps(data, cls=JSONEncoder, separators=(",", ":")).encode()


class AlwaysTheFirst(DefaultContentNegotiation):
    """Whatever a client says that it accepts: there is one form of each answer, and errors are JSON too."""

    def select_renderer(  # type: ignore[override]
        self, request: Request, renderers: Sequence[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


def _plain(value: Any) -> Any:
    """What orjson does not know: DRF's dictionaries and lists, and lazily translated strings."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    return str(value)
