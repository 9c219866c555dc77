import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.engines.tones import ToneEar, said, text_of
from sandbox.live.segments import Event, Segments, SpeechStarted, UtteranceEnded, Window

RATE = 16_000


def events(
    audio: bytes, endpointing: float | None = 0.01, utterance_end: float | None = None, piece: int = 3200
) -> list[Event]:
    segments = Segments(ToneEar(RATE), endpointing, utterance_end)
    found = [event for n in range(0, len(audio), piece) for event in segments.hear(audio[n : n + piece])]
    last = segments.finish()
    return found if last is None else [*found, last]


def finals(found: list[Event]) -> list[Window]:
    return [event for event in found if isinstance(event, Window) and event.is_final]


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


@settings(deadline=None)
@given(
    seconds=st.lists(st.floats(0.1, 3), max_size=6),
    endpointing=st.sampled_from([None, 0.01, 0.3, 1.0]),
    utterance_end=st.sampled_from([None, 1.0]),
)
def test_finals_touch_each_other_and_cover_everything(
    seconds: list[float], endpointing: float | None, utterance_end: float | None
) -> None:
    audio = b"".join(said(text_of(9)) + silence(pause) for pause in seconds)

    found = finals(events(audio, endpointing, utterance_end))

    assert [window.start for window in found] == [0.0, *(window.end for window in found[:-1])][: len(found)]
    assert not found or found[-1].end == len(audio) / 2 / RATE


@settings(deadline=None)
@given(st.integers(50, 100_000))
def test_size_of_the_pieces_changes_nothing(samples: int) -> None:
    audio = said(text_of(20)) + silence(2) + said("baba")

    assert events(audio, 0.3, 1.0, piece=2 * samples) == events(audio, 0.3, 1.0)


def test_interims_come_every_second_and_begin_where_the_final_did() -> None:
    found = events(silence(3.5))

    assert [(e.start, e.end) for e in found if isinstance(e, Window) and not e.is_final] == [
        (0, 1),
        (0, 2),
        (0, 3),
    ]


def test_silence_is_closed_too() -> None:
    assert [(window.start, window.end) for window in finals(events(silence(9)))] == [(0, 4), (4, 8), (8, 9)]


def test_end_of_speech_is_told_after_the_silence_asked_for() -> None:
    audio = said("baba") + silence(1)

    [first, *_] = finals(events(audio, 0.5))

    assert first.speech_final
    assert first.end == pytest.approx(0.8, abs=0.001)


def test_without_endpointing_no_speech_is_final() -> None:
    found = finals(events(said("baba") + silence(9), None))

    assert not any(window.speech_final for window in found)


def test_shorter_silences_are_bridged() -> None:
    found = finals(events(said("baba") + silence(0.3) + said("bebe") + silence(1), 0.5))

    assert [window.speech_final for window in found] == [True, False]


def test_long_speech_is_cut_between_words() -> None:
    ear = ToneEar(RATE)
    segments = Segments(ear, 0.01, None)
    audio = said(text_of(60).replace(".", ""))

    windows = finals(segments.hear(audio))

    assert len(windows) >= 4
    for window in windows:
        assert 3 < window.end - window.start <= 4
        assert ear.cut(window.end, 1) == window.end


@pytest.mark.parametrize("endpointing", [None, 0.01, 3.0])
def test_start_of_speech_is_told_after_each_silence(endpointing: float | None) -> None:
    found = events(silence(1) + said("baba bebe") + silence(1) + said("bibi") + silence(1), endpointing)

    started = [event.at for event in found if isinstance(event, SpeechStarted)]
    assert [round(at, 2) for at in started] == [1.0, 2.7]


def test_end_of_utterance_comes_after_its_final() -> None:
    found = events(said("baba") + silence(3), 0.3, 1.0)

    kinds = [type(e).__name__ for e in found if not isinstance(e, Window) or e.speech_final]
    assert kinds == ["SpeechStarted", "Window", "UtteranceEnded"]


def test_end_of_utterance_closes_what_endpointing_left_open() -> None:
    found = events(said("baba") + silence(3), None, 1.0)

    index = found.index(UtteranceEnded())
    before = found[index - 1]
    assert isinstance(before, Window)
    assert before.is_final
    assert not before.speech_final


def test_finalize_leaves_a_word_whole() -> None:
    segments = Segments(ToneEar(RATE), 0.3, None)
    audio = said("baba bebe")
    segments.hear(audio[: 2 * int(0.5 * RATE)])

    assert round(segments.finalize().end, 2) == 0.35
