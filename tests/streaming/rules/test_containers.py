"""Containers as FFmpeg writes them for streaming, cut and decoded again by PyAV."""

import io
import random
import struct

import av
import numpy as np
import pytest

from streaming.rules.actions import AudioMark
from streaming.rules.audio_log import open_log
from tests.sandbox.sounds import contained

RATE = 16_000
SECONDS = 8


def speech():
    """A tone whose pitch tells where it is from: 200 Hz more with each half second."""
    now = np.arange(SECONDS * RATE) / RATE
    pitch = 400 + 200 * np.floor(now * 2)
    return (np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * 10_000).astype("<i2").tobytes()


CONTAINERS = {
    "webm": ("webm", "libopus"),
    "ogg": ("ogg", "libopus"),
    "wav": ("wav", "pcm_s16le"),
}


@pytest.fixture(scope="module", params=CONTAINERS)
def stream(request):
    return contained(speech(), *CONTAINERS[request.param])


def fed(stream, *, seed=1, log=None):
    """A log that the stream came to in pieces of any size."""
    chance = random.Random(seed)  # noqa: S311
    log = log or open_log(None, None, 1, origin=AudioMark(0, 0.0))
    rest = stream
    while rest:
        size = chance.choice([1, 7, 100, 3000])
        log.append(rest[:size], 0.0)
        rest = rest[size:]
    return log


def pitches(data):
    """The pitch of each tenth of a second."""
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler("s16", "mono", RATE)
        frames = [each for frame in container.decode(audio=0) for each in resampler.resample(frame)]
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    tenths = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
    return [int(np.argmax(np.abs(np.fft.rfft(tenth)))) * 10 for tenth in tenths]


def test_taken_in_pieces_it_is_what_came(stream):
    log, taken = fed(stream), b""
    while not log.is_taken:
        taken += log.take(0.25)
    assert stream.startswith(taken)
    assert len(stream) - len(taken) < 300  # what stands at the end and is no audio
    assert log.is_exact
    assert log.end == pytest.approx(SECONDS, abs=0.1)
    assert log.received == len(stream)


@pytest.mark.parametrize("second", [0.0, 1.0, 3.3, 7.0])
def test_from_any_second_on_it_decodes_alone(stream, second):
    log = fed(stream)
    log.skip()
    base = log.rewind(second)
    assert second - 1.1 <= base <= second
    heard, expected = pitches(log.take(99.0)), pitches(stream)[round(base * 10) :]
    assert len(heard) == pytest.approx(len(expected), abs=2)
    # A tenth of a second here or there, and what a decoder needs to settle.
    off = sum(abs(one - other) > 220 for one, other in zip(heard[1:], expected[1:], strict=False))
    assert off <= 1


def test_a_stretch_of_it_decodes_alone(stream):
    start, audio = fed(stream).between(2.0, 4.0)
    assert 0.9 <= start <= 2.0
    assert len(pitches(audio)) == pytest.approx((4.0 - start) * 10, abs=12)


def test_it_goes_on_elsewhere_at_a_mark(stream):
    log = fed(stream)
    mark = log.mark(5.0)
    assert mark.seconds <= 5.0
    log.skip()
    log.forget(6.0)
    again = open_log(None, None, 1, origin=mark, prelude=log.prelude)
    fed(stream[mark.byte :], log=again, seed=2)
    assert again.end == pytest.approx(log.end, abs=0.03)
    assert again.received == len(stream)
    heard, expected = pitches(again.take(99.0)), pitches(stream)[round(mark.seconds * 10) :]
    assert len(heard) == pytest.approx(len(expected), abs=2)
    off = sum(abs(one - other) > 220 for one, other in zip(heard[1:], expected[1:], strict=False))
    assert off <= 1


def test_what_is_forgotten_is_not_held(stream):
    log = fed(stream)
    whole = log.size
    log.skip()
    log.forget(4.0)
    assert log.size < 0.7 * whole


@pytest.mark.parametrize("begin", [b"ID3\x04" + bytes(100), b"fLaC" + bytes(100), b"nothing at all"])
def test_what_is_not_known_passes_as_it_came(begin):
    log = open_log(None, None, 1, origin=AudioMark(0, 0.0))
    log.append(begin, 10.0)
    assert log.is_exact is False
    assert log.take(1.0) == begin


def test_a_wav_file_that_takes_a_second_for_each_byte_is_none():
    kind = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 1, 1, 1, 8)
    log = open_log(None, None, 1, origin=AudioMark(0, 0.0))
    log.append(b"RIFF\0\0\0\0WAVE" + kind + b"data\0\0\0\0" + bytes(100), 0.0)
    assert log.is_exact is False


def test_a_webm_stream_that_has_no_blocks_is_held_no_more():
    stream = contained(speech(), *CONTAINERS["webm"])
    cluster = b"\x1f\x43\xb6\x75"
    log = fed(stream[: stream.index(cluster)] + cluster + b"\x01" + 7 * b"\xff")
    void = b"\xec" + (0x10000000 | 500_000).to_bytes(4, "big") + bytes(500_000)
    for _ in range(3):
        log.append(void, 0.0)
    assert log.is_exact is False


@pytest.mark.parametrize("at", [20, 60, 3000, 6001])
def test_a_stream_that_breaks_loses_nothing_that_came(stream, at):
    broken = stream[:at] + bytes(20_000)
    taken = fed(broken).take(99.0)
    assert broken.startswith(taken)
    assert len(broken) - len(taken) < 2  # half a frame of a WAV file
