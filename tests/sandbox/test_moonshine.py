"""Real recognition of real speech. Skipped where the engine or the recordings are absent."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import jiwer
import numpy as np
import pytest

from tests.sandbox_process import SandboxProcess

pytest.importorskip("moonshine_voice")
from sandbox.engines.moonshine import spoken, windows

WORST_WORD_ERROR_RATE = 0.06


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    headers = {"authorization": "Token a-key"}
    with (
        SandboxProcess(engine="moonshine") as sandbox,
        httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, timeout=60) as client,
    ):
        yield client


def normalised(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s']", " ", text.lower()).split())


def test_speech_is_recognised(client: httpx.Client, shared: Path) -> None:
    references = json.loads((shared / "audio" / "references.json").read_text())
    said, heard = [], []
    for reference in references:
        recording = (shared / "audio" / reference["file"]).read_bytes()
        answer = client.post("/v1/listen", params={"model": "nova-3"}, content=recording).json()
        said.append(normalised(reference["text"]))
        heard.append(normalised(answer["results"]["channels"][0]["alternatives"][0]["transcript"]))

    assert jiwer.wer(said, heard) <= WORST_WORD_ERROR_RATE


def test_words_are_where_they_are_spoken(client: httpx.Client, shared: Path) -> None:
    recording = (shared / "audio" / "jfk.flac").read_bytes()

    answer = client.post("/v1/listen", params={"utterances": "true"}, content=recording).json()

    # By ear: "And so my fellow Americans", a pause, "ask not" at 3.3 s, and again "ask" at 8.2 s.
    words = answer["results"]["channels"][0]["alternatives"][0]["words"]
    asks = [word["start"] for word in words if word["word"] == "ask"]
    assert asks == [pytest.approx(3.3, abs=0.3), pytest.approx(8.2, abs=0.3)]
    assert answer["results"]["utterances"][0]["transcript"] == "and so my fellow americans"


def test_silence_is_empty(client: httpx.Client) -> None:
    parameters = {"encoding": "linear16", "sample_rate": 16000}

    answer = client.post("/v1/listen", params=parameters, content=bytes(32_000)).json()

    assert answer["results"]["channels"][0]["alternatives"][0]["transcript"] == ""


def test_answer_names_the_model_that_ran(client: httpx.Client) -> None:
    parameters = {"model": "nova-3", "encoding": "linear16", "sample_rate": 16000}

    metadata = client.post("/v1/listen", params=parameters, content=bytes(3200)).json()["metadata"]

    assert [model["arch"] for model in metadata["model_info"].values()] == ["moonshine"]


def test_windows_are_cut_where_it_is_quiet_and_lose_nothing() -> None:
    samples = np.full(40 * 16_000, 8000, "<i2")
    samples[20 * 16_000 : 21 * 16_000] = 0
    blocks = [samples[start : start + 1000].tobytes() for start in range(0, len(samples), 1000)]

    found = list(windows(iter(blocks)))

    assert [start for start, _ in found] == [0.0, pytest.approx(20.5, abs=0.5)]
    assert sum(len(window) for _, window in found) == len(samples)


def test_sound_is_told_from_silence() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(0, 0.001, 4 * 16_000)
    samples[16_000:32_000] += rng.normal(0, 0.2, 16_000)
    samples[56_000:56_100] += 0.5

    assert spoken(samples) == [(pytest.approx(1.0, abs=0.05), pytest.approx(2.0, abs=0.05))]
