import random
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.engines.tones import WORD_GAP, ToneEar, said, silence, spoken_words, text_of, word_of
from sandbox.transcript import Word

RATE = 16_000


def heard(audio: bytes, rate: int = RATE, piece: int = 3200) -> list[Word]:
    ear = ToneEar(rate)
    for start in range(0, len(audio), piece):
        ear.hear(audio[start : start + piece])
    ear.flush()
    return ear.words(ear.now)


def bare(words: list[Word]) -> list[str]:
    return [word.bare for word in words]


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_every_syllable_is_heard_as_it_was_said(rate: int) -> None:
    text = text_of(320, first=6400 - 160)

    words = heard(said(text, rate), rate)

    assert bare(words) == bare(spoken_words(text))
    for word, written in zip(words, spoken_words(text), strict=True):
        assert (word.start, word.end) == pytest.approx((written.start, written.end), abs=0.001)


@settings(deadline=None)
@given(st.lists(st.integers(50, 20_000), min_size=1, max_size=20))
def test_size_of_the_pieces_changes_nothing(samples: list[int]) -> None:
    audio, ear, changes, place = said(text_of(12)), ToneEar(RATE), [], 0
    for size in cycle(samples):
        if place >= len(audio):
            break
        changes += ear.hear(audio[place : place + 2 * size])
        place += 2 * size

    whole = ToneEar(RATE)
    assert changes == whole.hear(audio)
    assert ear.words(ear.now) == whole.words(whole.now)


@settings(deadline=None)
@given(st.integers(0, 10 * RATE))
def test_audio_sent_again_is_heard_again(offset: int) -> None:
    text = text_of(40)
    audio = said(text)

    words = heard(audio[2 * offset :])

    whole = [word for word in spoken_words(text) if word.start >= offset / RATE]
    assert bare(words[-len(whole) :]) == bare(whole)
    assert len(words) - len(whole) <= 1
    for word, written in zip(words[-len(whole) :], whole, strict=True):
        assert word.start + offset / RATE == pytest.approx(written.start, abs=0.001)


def test_word_cut_in_two_is_heard_as_the_syllables_left() -> None:
    audio = said("bezu")

    assert bare(heard(audio[int(0.15 * RATE) * 2 :])) == ["zu"]
    assert bare(heard(audio[: int(0.15 * RATE) * 2])) == ["be"]


def test_pause_makes_a_sentence() -> None:
    words = heard(said("baba bebe. bibi") + bytes(RATE))

    assert [word.text for word in words] == ["Baba", "bebe.", "Bibi."]


@pytest.mark.parametrize("audio", [bytes(64_000), silence(2)], ids=["zeros", "hum"])
def test_silence_is_no_word(audio: bytes) -> None:
    assert heard(audio) == []


def test_unending_sound_is_babble_in_bounded_words() -> None:
    ear = ToneEar(RATE)

    for _ in range(100):
        assert len(ear.hear(b"\x00\x40" * 1600)) <= 1

    assert len(ear.words(10)) >= 10
    assert ear.cut(10.0, 1) > 9


def test_cut_falls_in_no_word() -> None:
    ear = ToneEar(RATE)
    ear.hear(said("baba bebe") + said("bibi")[:4000])
    first, second = ear.words(ear.now)[:2]

    assert ear.cut(first.end + WORD_GAP / 2, 1) == first.end + WORD_GAP / 2
    assert ear.cut(second.start + 0.1, 1) == second.start
    assert ear.cut(ear.now, 1) == pytest.approx(second.end + WORD_GAP, abs=0.001)


def test_other_syllables_cannot_be_said() -> None:
    with pytest.raises(ValueError, match="hello"):
        said("hello")


def test_words_of_numbers_are_all_different() -> None:
    assert len({word_of(number) for number in range(100_000)}) == 100_000


def test_speech_of_tones_is_told_from_other_sounds() -> None:
    rng = random.Random(1)  # noqa: S311 - it has to repeat itself
    spoken, noise, tone = ToneEar(RATE), ToneEar(RATE), ToneEar(RATE)

    spoken.hear(said(text_of(20))[1000:])
    for _ in range(50):
        noise.hear(rng.randbytes(2 * rng.randrange(1000, 9000)) + silence(rng.uniform(0.03, 0.3)))
    tone.hear(b"\x00\x40\x00\xc0" * 50_000)

    assert (spoken.understands, noise.understands, tone.understands) == (True, False, False)
