"""Where there is sound in samples at 16 kHz, and where there is least. Pure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.audio import SAMPLE_RATE

FRAME = SAMPLE_RATE // 50
SOUND_SHARE = 0.05
"""A frame has sound when its level is so far up between the quiet frames of the window and its loud ones."""
SILENCE_LEVEL = 0.0005
PAUSE_FRAMES = 15
"""Shorter silences lie within speech."""
CLICK_FRAMES = 2
"""Sounds no longer than this are no speech."""

Samples = NDArray[np.floating[Any]]


def samples_of(pcm: bytes) -> Samples:
    """16-bit samples as floats."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768


def quietest(samples: Samples, seconds: float) -> int:
    """Where the quietest fifth of a second of the last `seconds` has its middle."""
    first = max(0, len(samples) - round(seconds * SAMPLE_RATE))
    levels = np.convolve(levels_of(samples[first:]), np.ones(10), "valid")
    return int(first + (int(levels.argmin()) + 5) * FRAME)


def spoken(samples: Samples) -> list[tuple[float, float]]:
    """The stretches (start, end in seconds) with sound, more than 0.3 s of quiet apart."""
    levels = levels_of(samples)
    if not len(levels):
        return []
    quiet, loud = np.percentile(levels, (10, 95))
    threshold = max(quiet + SOUND_SHARE * (loud - quiet), SILENCE_LEVEL)
    stretches: list[tuple[int, int]] = []
    for frame in np.flatnonzero(levels > threshold).tolist():
        if stretches and frame - stretches[-1][1] <= PAUSE_FRAMES:
            stretches[-1] = (stretches[-1][0], frame + 1)
        else:
            stretches.append((frame, frame + 1))
    seconds = FRAME / SAMPLE_RATE
    return [(begin * seconds, end * seconds) for begin, end in stretches if end - begin > CLICK_FRAMES]


def levels_of(samples: Samples) -> Samples:
    """The level of each whole 20 ms frame (root mean square)."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    levels: Samples = np.sqrt((frames**2).mean(axis=1))
    return levels
