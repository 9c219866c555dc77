"""What audio and parameters of a live session are as a recording's, for the batch path."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from jobs.transcripts.options import LIVE_ONLY, OPTIONS, InvalidOptions, validate

SILENCE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Raw:
    """An encoding without a header: WAVE's number for it (RFC 2361), bytes of a sample, and silence."""

    wave_format: int
    sample_bytes: int
    silence: bytes


RAW = {
    "linear16": Raw(1, 2, b"\0"),
    # Floating-point, at Deepgram (developers.deepgram.com/docs/encoding).
    "linear32": Raw(3, 4, b"\0"),
    "alaw": Raw(6, 1, b"\xd5"),
    "mulaw": Raw(7, 1, b"\xff"),
}
# Their packets come as messages, whose limits are lost where they are put together.
NOT_RECORDED = frozenset({"opus", "speex", "g729", "amr-nb", "amr-wb"})
# What the file's own header says, or what has no meaning for a file.
_OF_THE_SOCKET = LIVE_ONLY | {"encoding", "sample_rate", "channels"}


def can_be_recorded(encoding: str | None) -> bool:
    """Whether `record=true` may be asked for; None is a container, which is kept as it is."""
    return encoding not in NOT_RECORDED


def raw_encoding(options: Mapping[str, Any]) -> Raw | None:
    """None for a container."""
    return RAW.get(str(options.get("encoding", "")).lower())


def silence_for(options: Mapping[str, Any], size: int) -> Iterator[bytes]:
    """`size` bytes of it; none in a container, whose decoder finds the next packet."""
    raw = raw_encoding(options)
    if raw is None:
        return
    whole, rest = divmod(size, SILENCE_BYTES)
    yield from repeat(raw.silence * SILENCE_BYTES, whole)
    yield raw.silence * rest


def header_for(options: Mapping[str, Any], size: int) -> bytes:
    """What makes a file of `size` bytes of audio: RIFF/WAVE for raw samples, nothing for containers.

    Of 4 GiB and more, the most that can be said is said.
    """
    raw = raw_encoding(options)
    if raw is None:
        return b""
    channels, rate = _number(options, "channels", 1), _number(options, "sample_rate", 8000)
    frame = raw.sample_bytes * channels
    described = struct.pack(
        "<HHIIHHH", raw.wave_format, channels, rate, rate * frame, frame, 8 * raw.sample_bytes, 0
    )
    told = min(size, 0xFFFFFFFF - 46)
    return b"".join(
        (
            b"RIFF" + struct.pack("<I", told + 38) + b"WAVE",
            b"fmt " + struct.pack("<I", len(described)) + described,
            b"data" + struct.pack("<I", told),
        )
    )


def _number(options: Mapping[str, Any], name: str, default: int) -> int:
    try:
        return max(1, int(options.get(name, default)))
    except (TypeError, ValueError):
        return default


def recording_options(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What of a socket's parameters a recording's can take."""
    known = {name: value for name, value in asked.items() if name in OPTIONS and name not in _OF_THE_SOCKET}
    while True:
        try:
            return dict(validate(known))
        except InvalidOptions as error:
            # The provider took it live; of a recording it may not be asked.
            if not known.keys() & error.errors.keys():
                return dict(validate({}))
            known = {name: value for name, value in known.items() if name not in error.errors}
