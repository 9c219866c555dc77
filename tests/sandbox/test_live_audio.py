"""What live audio may be sent as. Tones survive every codec, so the words are known."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.engines.tones import said, spoken_words, text_of
from sandbox.live.pcm import RawAudio
from tests.sandbox.live_client import CLOSE_STREAM, FINALIZE, listening, transcribed
from tests.sandbox.sounds import companded, contained, opus_packets
from tests.sandbox_process import SandboxProcess

TEXT = text_of(24, first=3000)
SAID = " ".join(word.bare for word in spoken_words(TEXT))
CONTAINERS = [
    ("webm", "libopus", 48_000),
    ("ogg", "libopus", 48_000),
    ("wav", "pcm_s16le", 16_000),
    ("flac", "flac", 16_000),
    ("mp3", "libmp3lame", 44_100),
]


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
async def test_companded_audio_is_heard(sandbox: SandboxProcess, encoding: str) -> None:
    audio = companded(said(TEXT, 8000), encoding)

    client = await transcribed(sandbox, audio, encoding=encoding, sample_rate=8000)

    assert client.text() == SAID


async def test_wide_samples_are_heard(sandbox: SandboxProcess) -> None:
    """Which Deepgram takes for floating-point ones."""
    wide = (np.frombuffer(said(TEXT), "<i2").astype("<f4") / 32768).tobytes()

    client = await transcribed(sandbox, wide, encoding="linear32")

    assert client.text() == SAID


async def test_each_channel_is_heard_by_itself(sandbox: SandboxProcess) -> None:
    other = text_of(24, first=100)
    stereo = np.stack([np.frombuffer(said(text), "<i2") for text in (TEXT, other)], axis=1).tobytes()

    both = await transcribed(sandbox, stereo, channels=2, multichannel="true")
    first = await transcribed(sandbox, stereo, channels=2)

    assert both.text(0) == first.text(0) == SAID
    assert both.text(1) == " ".join(word.bare for word in spoken_words(other))
    assert both.messages[-1]["channels"] == 2
    assert first.messages[-1]["duration"] == pytest.approx(len(stereo) / 64_000)


async def test_opus_packets_are_heard(sandbox: SandboxProcess) -> None:
    async with listening(sandbox, encoding="opus", sample_rate=48_000) as client:
        for packet in opus_packets(said(TEXT)):
            await client.socket.send(packet)
        await client.tell(CLOSE_STREAM)
        assert await client.closed() == (1000, "")

    assert client.text() == SAID


@pytest.mark.parametrize(("container", "codec", "rate"), CONTAINERS, ids=[name for name, *_ in CONTAINERS])
async def test_containers_are_heard(sandbox: SandboxProcess, container: str, codec: str, rate: int) -> None:
    data = contained(said(TEXT), container, codec, rate)

    client = await transcribed(sandbox, data, encoding="", sample_rate="", interim_results="true")

    assert client.text() == SAID
    assert client.messages[-1]["duration"] == pytest.approx(len(said(TEXT)) / 32_000, abs=0.1)


async def test_container_is_heard_as_it_comes(sandbox: SandboxProcess) -> None:
    data = contained(said(TEXT) + said(TEXT), "webm", "libopus")

    async with listening(sandbox, encoding="", sample_rate="") as client:
        await client.send(data[: len(data) // 2])
        await client.tell(FINALIZE)
        await client.next("Results")
        while not client.of("Results")[-1]["from_finalize"]:
            await client.news()
        end = client.finals()[-1]["start"] + client.finals()[-1]["duration"]

    assert end == pytest.approx(len(said(TEXT)) / 32_000, rel=0.2)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(b"\x1aE\xdf\xa3" + bytes(10_000), ""), (b"neither this nor that" * 1000, ""), (b"\xff" * 30, "opus")],
    ids=["broken", "unknown", "no packet"],
)
async def test_what_is_no_audio_closes_the_stream(
    sandbox: SandboxProcess, data: bytes, encoding: str
) -> None:
    async with listening(sandbox, encoding=encoding) as client:
        await client.socket.send(data)
        await client.tell(CLOSE_STREAM)
        code, reason = await client.closed()

    assert code == 1008
    assert reason is not None
    assert reason.endswith("data0000")


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1), st.sampled_from([1, 2, 3]))
def test_frames_that_come_in_pieces_are_put_together(cuts: list[int], channels: int) -> None:
    samples = np.arange(300 // channels * channels, dtype="<i2")
    places = [0, *(min(sum(cuts[: n + 1]), 600) for n in range(len(cuts))), len(samples) * 2]
    audio = RawAudio("linear16", 16_000, channels)

    async def decoded() -> list[list[bytes]]:
        return [await audio.decode(samples.tobytes()[start:end]) for start, end in pairwise(places)]

    parts = asyncio.run(decoded())

    for channel in range(channels):
        found = np.frombuffer(b"".join(part[channel] for part in parts), "<i2")
        assert found.tolist() == samples[channel::channels].tolist()
