"""Deepgram's live messages, told apart by their first bytes.

The first connection of a session needs no offsets: what a message is and what it covers stands within its
first hundred bytes, and the text goes on as it came. A message that is written otherwise is parsed whole.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_PREFIX = 300  # characters
_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)"
_RESULTS = re.compile(
    r'\{\s*"type"\s*:\s*"Results"\s*,\s*"channel_index"\s*:\s*\[\s*([0-9]+)[\s,0-9]*\]\s*,'
    rf'\s*"duration"\s*:\s*{_NUMBER}\s*,\s*"start"\s*:\s*{_NUMBER}\s*,\s*"is_final"\s*:\s*(true|false)\b'
)
_FROM_FINALIZE = re.compile(r'"from_finalize"\s*:\s*true')


class Kind(StrEnum):
    """What the provider says. OTHER passes as it is."""

    INTERIM = "interim"
    FINAL = "final"
    UTTERANCE_END = "UtteranceEnd"
    SPEECH_STARTED = "SpeechStarted"
    METADATA = "Metadata"
    OTHER = "other"


@dataclass(slots=True)
class Recognised:
    """`start` and `end` are those of a result's window in the connection's time, else 0."""

    kind: Kind
    channel: int = 0
    start: float = 0.0
    end: float = 0.0


class ClientWord(StrEnum):
    """What the client says. OTHER is passed on as it is."""

    KEEP_ALIVE = "KeepAlive"
    FINALIZE = "Finalize"
    CLOSE_STREAM = "CloseStream"
    CONFIGURE = "Configure"
    OTHER = "other"


_BY_TYPE = {kind.value: kind for kind in (Kind.UTTERANCE_END, Kind.SPEECH_STARTED, Kind.METADATA)}


def recognise(text: str) -> Recognised:
    """Tell what a message of the provider's is."""
    if match := _RESULTS.match(text, 0, _PREFIX):
        channel, duration, start, is_final = match.groups()
        began = float(start)
        kind = Kind.FINAL if is_final == "true" else Kind.INTERIM
        return Recognised(kind, int(channel), began, began + float(duration))
    message = parse(text)
    if message.get("type") != "Results":
        return Recognised(_BY_TYPE.get(str(message.get("type")), Kind.OTHER))
    index = message.get("channel_index")
    channel_index = index[0] if isinstance(index, list) and index and isinstance(index[0], int) else 0
    began = number(message.get("start"))
    kind = Kind.FINAL if message.get("is_final") is True else Kind.INTERIM
    return Recognised(kind, channel_index, began, began + number(message.get("duration")))


def recognise_client(text: str) -> ClientWord:
    """Tell what a text message of the client's is."""
    try:
        return ClientWord(str(parse(text).get("type")))
    except ValueError:
        return ClientWord.OTHER


def answers_finalize(text: str) -> bool:
    return _FROM_FINALIZE.search(text) is not None


def parse(text: str) -> dict[str, object]:
    """A message as an object; empty for what is none."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def write(message: Mapping[str, object]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def with_fields(text: str, fields: str) -> str:
    """Add fields (`"seq":1`, JSON without braces) to the end of a message that is not empty, unparsed."""
    return f"{text[: text.rindex('}')]},{fields}}}"


def number(value: object) -> float:
    """A number of a message; 0.0 for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return 0.0
