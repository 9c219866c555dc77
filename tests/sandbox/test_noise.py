"""The scripted recogniser that errs."""

from itertools import pairwise

import pytest

from sandbox.engines.tones import ToneEar, said, spoken_words, text_of
from sandbox.faults import BadFault
from sandbox.live.noise import Noise, NoisyEar
from sandbox.transcript import Word
from tests.sandbox.live_client import transcribed
from tests.sandbox_process import SandboxProcess

TEXT = text_of(400)
SPEECH = said(TEXT)
SPOKEN = spoken_words(TEXT)


def misheard(audio: bytes, **noise: float) -> list[Word]:
    ear = NoisyEar(ToneEar(16_000), Noise(**noise))
    ear.hear(audio)
    return ear.words(ear.now)


def test_same_seed_errs_again_as_before() -> None:
    assert misheard(SPEECH, seed=1) == misheard(SPEECH, seed=1)
    assert misheard(SPEECH, seed=1) != misheard(SPEECH, seed=2)


def test_audio_sent_again_from_elsewhere_is_heard_differently() -> None:
    again = misheard(SPEECH[32_000 * 36 :], seed=1)

    first = [word.bare for word in misheard(SPEECH, seed=1) if word.start > 36]
    assert [word.bare for word in again[: len(first)]] != first


def test_words_are_substituted_as_often_as_asked() -> None:
    words = misheard(SPEECH, substitutions=0.1, splits=0, shift=0)

    wrong = sum(word.bare != said.bare for word, said in zip(words, SPOKEN, strict=True))
    assert 20 < wrong < 65


def test_split_words_are_two() -> None:
    words = misheard(SPEECH, substitutions=0, splits=0.1, shift=0)

    assert 20 < len(words) - len(SPOKEN) < 65
    assert "".join(word.bare for word in words) == "".join(word.bare for word in SPOKEN)


def test_times_are_off_but_in_order() -> None:
    words = misheard(SPEECH, substitutions=0, splits=0, shift=0.3)

    off = [word.start - said.start for word, said in zip(words, SPOKEN, strict=True)]
    assert max(off) > 0.2
    assert min(off) < -0.2
    assert all(one.end <= other.start for one, other in pairwise(words))


@pytest.mark.parametrize("content", [7, {"splits": 2}, {"loud": 1}, {"shift": "far"}])
def test_noise_that_makes_no_sense_is_refused(content: object) -> None:
    with pytest.raises(BadFault):
        Noise.read(content)


async def test_live_words_are_misheard_until_told_otherwise(sandbox: SandboxProcess) -> None:
    sandbox.set_noise(seed=3, substitutions=1)
    noisy = await transcribed(sandbox, SPEECH[: 32_000 * 20], punctuate="true")
    sandbox.set_noise()
    exact = await transcribed(sandbox, SPEECH[: 32_000 * 20], punctuate="true")

    assert not set(noisy.text().split()) & set(exact.text().split())
    assert len(noisy.finals()) != len(exact.finals())
    for final in noisy.finals():
        for word in final["channel"]["alternatives"][0]["words"]:
            assert final["start"] - 0.001 <= word["start"] <= final["start"] + final["duration"] + 0.001
