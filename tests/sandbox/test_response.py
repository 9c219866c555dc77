from datetime import UTC, datetime
from typing import Any

from sandbox.query import ListenOptions
from sandbox.response import ModelInfo, transcription
from sandbox.transcript import Word

MODEL = ModelInfo("a model", "1", "an arch")
HELLO = [Word("Hello", 0.0, 0.4, 0.9), Word("there.", 0.5, 0.9, 0.7), Word("Bye.", 2.0, 2.4, 0.8, speaker=1)]


def answer(*channels: list[Word], **options: Any) -> dict[str, Any]:
    return transcription(
        channels,
        ListenOptions(**options),
        request_id="r",
        created=datetime(2026, 11, 21, 10, tzinfo=UTC),
        sha256="abc",
        duration=2.5,
        model=MODEL,
    )


def alternative(*channels: list[Word], **options: Any) -> dict[str, Any]:
    return answer(*channels, **options)["results"]["channels"][0]["alternatives"][0]


def test_metadata_describes_recording_and_recogniser() -> None:
    metadata = answer(HELLO, tags=["t"], extra={"k": "v"})["metadata"]

    assert metadata == {
        "transaction_key": "deprecated",
        "request_id": "r",
        "sha256": "abc",
        "created": "2026-11-21T10:00:00.000Z",
        "duration": 2.5,
        "channels": 1,
        "models": [MODEL.uuid],
        "model_info": {MODEL.uuid: {"name": "a model", "version": "1", "arch": "an arch"}},
        "tags": ["t"],
        "extra": {"k": "v"},
    }


def test_without_formatting_words_are_bare() -> None:
    found = alternative(HELLO)

    assert found["transcript"] == "hello there bye"
    assert found["words"][1] == {"word": "there", "start": 0.5, "end": 0.9, "confidence": 0.7}
    assert found["confidence"] == 0.8


def test_punctuation_adds_the_word_as_written() -> None:
    found = alternative(HELLO, punctuate=True)

    assert found["transcript"] == "Hello there. Bye."
    assert [word["punctuated_word"] for word in found["words"]] == ["Hello", "there.", "Bye."]


def test_silence_has_an_empty_transcript_without_confidence() -> None:
    found = alternative([], punctuate=True, paragraphs=True)

    assert (found["transcript"], found["confidence"], found["words"]) == ("", 0.0, [])
    assert found["paragraphs"] == {"transcript": "", "paragraphs": []}


def test_utterances_end_at_pauses_of_utt_split() -> None:
    def utterances(split: float) -> list[str]:
        results = answer(HELLO, utterances=True, utt_split=split)["results"]
        return [utterance["transcript"] for utterance in results["utterances"]]

    assert utterances(1.0) == ["hello there", "bye"]
    assert utterances(1.2) == ["hello there bye"]


def test_utterances_have_one_speaker_when_speakers_are_told_apart() -> None:
    found = answer(HELLO, utterances=True, utt_split=9, diarize=True)["results"]["utterances"]

    assert [(utterance["speaker"], utterance["transcript"]) for utterance in found] == [
        (0, "hello there"),
        (1, "bye"),
    ]


def test_utterances_of_several_channels_are_in_order_of_time() -> None:
    left, right = [Word("late", 3, 4, 1)], [Word("early", 1, 2, 1)]

    found = answer(left, right, utterances=True)["results"]["utterances"]

    assert [(utterance["channel"], utterance["transcript"]) for utterance in found] == [
        (1, "early"),
        (0, "late"),
    ]


def test_speakers_are_only_told_when_asked_for() -> None:
    assert "speaker" not in alternative(HELLO)["words"][2]
    assert alternative(HELLO, diarize=True)["words"][2]["speaker"] == 1


def test_paragraphs_hold_sentences_of_one_speaker() -> None:
    found = alternative(HELLO, punctuate=True, paragraphs=True, diarize=True)["paragraphs"]

    assert found["transcript"] == "\nSpeaker 0: Hello there.\n\nSpeaker 1: Bye."
    assert [(p["speaker"], p["num_words"], p["start"], p["end"]) for p in found["paragraphs"]] == [
        (0, 2, 0.0, 0.9),
        (1, 1, 2.0, 2.4),
    ]
    assert found["paragraphs"][0]["sentences"] == [{"text": "Hello there.", "start": 0.0, "end": 0.9}]


def test_paragraph_ends_after_five_sentences() -> None:
    words = [Word(f"w{n}.", n, n + 0.9, 1) for n in range(7)]

    found = alternative(words, punctuate=True, paragraphs=True)["paragraphs"]["paragraphs"]

    assert [paragraph["num_words"] for paragraph in found] == [5, 2]


def test_search_finds_phrases() -> None:
    channel = answer(HELLO, search=["hello there", "nobody"])["results"]["channels"][0]

    assert channel["search"] == [
        {
            "query": "hello there",
            "hits": [{"confidence": 1.0, "start": 0.0, "end": 0.9, "snippet": "hello there"}],
        },
        {"query": "nobody", "hits": []},
    ]


def test_keyterm_decides_the_spelling() -> None:
    assert alternative(HELLO, punctuate=True, keyterms=["HELLO"])["transcript"] == "HELLO there. Bye."


def test_replacement_and_redaction_change_the_words() -> None:
    words = [Word("call", 0, 1, 1), Word("555", 1, 2, 1)]

    assert alternative(words, replacements=[("call", "ring")], redact=True)["transcript"] == "ring ***"


def test_detected_language_is_told_when_asked_for() -> None:
    channel = answer(HELLO, detect_language=True)["results"]["channels"][0]

    assert channel["detected_language"] == "en"
    assert channel["language_confidence"] == 0.99


def test_multilingual_words_carry_their_language() -> None:
    found = alternative(HELLO, language="multi")

    assert found["languages"] == ["en"]
    assert {word["language"] for word in found["words"]} == {"en"}
