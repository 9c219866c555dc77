"""Real recognition of real speech, live. Skipped where the engine or the recordings are absent."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import jiwer
import numpy as np
import pytest

from tests.sandbox.live_client import CLOSE_STREAM, LiveClient, listening
from tests.sandbox.test_moonshine import normalised
from tests.sandbox_process import SandboxProcess

pytest.importorskip("moonshine_voice")
from sandbox.engines.listening import ListeningEar
from sandbox.transcript import Word

WORST_WORD_ERROR_RATE = 0.1


@pytest.fixture(scope="module")
def moonshine() -> Iterator[SandboxProcess]:
    with SandboxProcess(engine="moonshine") as sandbox:
        yield sandbox


def samples(path: Path, rate: int = 16_000) -> bytes:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    with av.open(str(path)) as file:
        frames = [block for frame in file.decode(audio=0) for block in resampler.resample(frame)]
    return b"".join(bytes(block.planes[0])[: block.samples * 2] for block in frames)


async def streamed(moonshine: SandboxProcess, audio: bytes, **options: Any) -> LiveClient:
    """As fast as it goes, which leaves out interims that nobody would wait for."""
    async with listening(moonshine, **options) as client:
        await client.send(audio)
        await client.tell(CLOSE_STREAM)
        await asyncio.wait_for(client.socket.wait_closed(), 60)
        assert await client.closed() == (1000, "")
        return client


async def test_speech_is_recognised_live(moonshine: SandboxProcess, shared: Path) -> None:
    said, heard = [], []
    for reference in json.loads((shared / "audio" / "references.json").read_text()):
        client = await streamed(moonshine, samples(shared / "audio" / reference["file"]))
        said.append(normalised(reference["text"]))
        heard.append(normalised(client.text()))

    assert jiwer.wer(said, heard) <= WORST_WORD_ERROR_RATE


async def test_interims_come_while_somebody_speaks(moonshine: SandboxProcess, shared: Path) -> None:
    audio = samples(shared / "audio" / "jfk.flac", 8000)
    options = {"sample_rate": 8000, "interim_results": "true", "vad_events": "true", "endpointing": 1500}

    async with listening(moonshine, **options) as client:
        await client.send(audio[: 8000 * 2 * 2])
        first = await client.next("Results")
        await client.send(audio[8000 * 2 * 2 :])
        await client.tell(CLOSE_STREAM)
        await asyncio.wait_for(client.socket.wait_closed(), 60)
        await client.closed()

    assert not first["is_final"]
    assert client.of("SpeechStarted")[0]["timestamp"] < 1
    asks = [word["start"] for word in client.words() if word["word"] == "ask"]
    assert asks[-1] == pytest.approx(8.2, abs=0.5)


async def test_silence_is_empty(moonshine: SandboxProcess) -> None:
    client = await streamed(moonshine, bytes(320_000))

    assert client.text() == ""
    assert client.messages[-1]["duration"] == 10


def test_ear_recognises_what_was_not_forgotten() -> None:
    rng = np.random.default_rng(1)
    sound = (rng.normal(0, 0.1, 16_000) * 32767).astype("<i2").tobytes()
    passages: list[tuple[float, int]] = []

    def recognise(start: float, passage: Any) -> list[Word]:
        passages.append((start, len(passage)))
        return []

    ear = ListeningEar(recognise, 16_000)
    changes = ear.hear(bytes(32_000)) + ear.hear(sound) + ear.hear(bytes(32_000))
    ear.words(1.0)
    ear.words(3.0)
    ear.forget(2.5)
    ear.words(3.0)

    assert changes == [(pytest.approx(1, abs=0.05), True), (pytest.approx(2, abs=0.05), False)]
    assert passages == [(0.0, 48_000)]


@pytest.mark.parametrize("short_of_a_frame", [0, 5])
def test_sound_goes_on_after_it_was_forgotten_in_its_middle(short_of_a_frame: int) -> None:
    """As after a Finalize while somebody speaks."""
    sound = (np.random.default_rng(1).normal(0, 0.1, 16_000) * 32767).astype("<i2").tobytes()
    heard: list[float] = []

    def recognise(start: float, passage: Any) -> list[Word]:
        heard.append(start)
        return []

    ear = ListeningEar(recognise, 16_000)
    ear.hear(bytes(32_000) + sound[short_of_a_frame * 2 :])
    at = ear.now
    ear.forget(at)
    ear.hear(sound)
    ear.words(3.0)

    assert heard == [at]
