"""Audio without a container: what it is, whoever sends it says by `encoding`, `sample_rate` and `channels`.

It cannot be probed. Its duration follows from its size where all samples are as large, and is unknown else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.audio.probe import ProbeError

SAMPLE_BYTES = {"linear16": 2, "linear32": 4, "mulaw": 1, "alaw": 1}


def is_raw(options: Mapping[str, Any]) -> bool:
    """Whether these options, which have been validated, describe raw audio."""
    return "encoding" in options


def described(options: Mapping[str, Any], size: int) -> dict[str, Any]:
    """What the fields of its recording are; ProbeError if there is no audio."""
    if not size:
        raise ProbeError("corrupt_media", "The recording is empty. Check that the upload was complete.")
    encoding, rate, channels = options["encoding"], options["sample_rate"], options.get("channels", 1)
    second = SAMPLE_BYTES.get(encoding, 0) * channels * rate
    return {
        "media_type": "application/octet-stream",
        "codec": encoding,
        "duration": size / second if second else None,
        "channels": channels,
        "sample_rate": rate,
    }
