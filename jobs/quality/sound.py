"""Samples of recordings, and noise mixed into them: 16 kHz, one channel, 16 bit.

Files are decoded in this process, without the probe's limits: they are the operator's own.
"""

from __future__ import annotations

import io
import sys
import wave
import zlib
from array import array
from itertools import cycle, islice
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import av

RATE = 16_000
LOUDEST = 32_767


class Undecodable(Exception):
    """The file is none that FFmpeg reads, or has no audio."""


def samples(path: Path) -> array[int]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    found = array("h")
    try:
        with av.open(str(path)) as file:
            # None: what the resampler holds back.
            for frame in (*file.decode(audio=0), None):
                for block in resampler.resample(frame):
                    found.frombytes(bytes(block.planes[0])[: block.samples * 2])
    except (av.FFmpegError, IndexError) as error:
        raise Undecodable(f"{path.name} cannot be decoded: {error}") from None
    return found


class Noise(NamedTuple):
    """`snr`: by how many decibels it is softer than the speech."""

    samples: array[int]
    snr: float


def with_noise(path: Path, noise: Noise | None) -> array[int]:
    """The file's samples, with noise if there is any; Undecodable."""
    speech = samples(path)
    return speech if noise is None else mixed(speech, noise, path.name)


def mixed(speech: array[int], noise: Noise, name: str) -> array[int]:
    """`speech` with noise, which begins anywhere and is repeated as often as needed.

    Loudness is the mean power of either, whole. Where the noise begins goes by `name`, so that it is another
    place for each recording and the same one each time. What would be too loud is made softer as a whole.
    """
    speech_power, noise_power = _power(speech), _power(noise.samples)
    if not speech_power or not noise_power:
        return speech
    gain = sqrt(speech_power / noise_power / 10 ** (noise.snr / 10))
    begin = zlib.crc32(name.encode()) % len(noise.samples)
    under = islice(cycle(noise.samples), begin, begin + len(speech))
    sums = [one + gain * other for one, other in zip(speech, under, strict=True)]
    scale = min(1.0, LOUDEST / max(map(abs, sums)))
    return array("h", (round(each * scale) for each in sums))


def as_wav(found: array[int]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes(little_endian(found))
    return file.getvalue()


def little_endian(found: array[int]) -> bytes:
    """As linear16 goes over the wire."""
    if sys.byteorder == "big":
        found = array("h", found)
        found.byteswap()
    return found.tobytes()


def _power(found: array[int]) -> float:
    return sum(each * each for each in found) / (len(found) or 1)
