import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transcripts.results import MalformedAnswer, parse


def word(text, start, end, **more):
    return {"word": text, "start": start, "end": end, "confidence": 0.9, **more}


def channel(*words, confidence=0.9, **more):
    transcript = " ".join(entry.get("punctuated_word", entry["word"]) for entry in words)
    return {
        "alternatives": [{"transcript": transcript, "confidence": confidence, "words": list(words)}],
        **more,
    }


def answer(*channels, utterances=None, **metadata):
    results = {"channels": list(channels)} | ({"utterances": utterances} if utterances is not None else {})
    return {"metadata": {"request_id": "r-1", "duration": 2.5, **metadata}, "results": results}


HELLO = [
    word("hello", 0.1, 0.5, punctuated_word="Hello", speaker=0, speaker_confidence=0.5),
    word("there", 0.5, 0.9, punctuated_word="there.", speaker=1, speaker_confidence=0.7),
]


def test_a_single_channel_is_read_whole():
    result = parse(
        json.dumps(
            answer(channel(*HELLO), models=["m-1"], model_info={"m-1": {"name": "general-nova-3"}})
        ).encode()
    )

    assert (result.text, result.confidence, result.duration) == ("Hello there.", 0.9, 2.5)
    assert (result.request_id, result.models) == ("r-1", ["general-nova-3"])
    assert result.words == HELLO
    assert result.channels == [
        {"index": 0, "text": "Hello there.", "confidence": 0.9, "language": "", "words": HELLO}
    ]


def test_bytes_and_loaded_answers_read_alike():
    loaded = answer(channel(*HELLO))
    assert parse(loaded) == parse(json.dumps(loaded).encode())


def test_silence_is_a_valid_empty_result():
    result = parse(answer({"alternatives": [{"transcript": "", "confidence": 0.0, "words": []}]}))

    assert (result.text, result.confidence, result.words) == ("", None, [])
    assert [entry["index"] for entry in result.channels] == [0]


def test_a_channel_without_alternatives_is_silence():
    assert parse(answer({"alternatives": []})).text == ""


def test_channels_merge_in_time_by_utterance():
    utterances = [
        {
            "start": 0.0,
            "end": 1.0,
            "channel": 0,
            "transcript": "Hello?",
            "words": [word("hello", 0, 1)],
            "id": "a",
        },
        {
            "start": 4.0,
            "end": 5.0,
            "channel": 0,
            "transcript": "Fine.",
            "words": [word("fine", 4, 5)],
            "id": "c",
        },
        {"start": 2.0, "end": 3.0, "channel": 1, "transcript": "Hi.", "words": [word("hi", 2, 3)], "id": "b"},
    ]
    result = parse(
        answer(
            channel(word("hello", 0, 1), word("fine", 4, 5)), channel(word("hi", 2, 3)), utterances=utterances
        )
    )

    assert result.text == "Hello?\nHi.\nFine."
    assert [(entry["word"], entry["channel"]) for entry in result.words] == [
        ("hello", 0),
        ("hi", 1),
        ("fine", 0),
    ]
    assert [entry["id"] for entry in result.utterances] == ["a", "b", "c"]
    assert [entry["words"][0]["channel"] for entry in result.utterances] == [0, 1, 0]


def test_channels_without_utterances_merge_by_channel():
    result = parse(answer(channel(word("one", 0, 1), word("three", 4, 5)), channel(word("two", 2, 3))))

    assert result.text == "one three\ntwo"
    assert [entry["word"] for entry in result.words] == ["one", "two", "three"]


def test_a_silent_channel_does_not_lower_the_confidence():
    result = parse(answer(channel(word("one", 0, 1), confidence=0.8), channel(confidence=0.0)))
    assert result.confidence == pytest.approx(0.8)


def test_confidence_weighs_channels_by_their_words():
    three = [word("w", start, start + 1) for start in range(3)]
    result = parse(answer(channel(*three, confidence=1.0), channel(word("w", 0, 1), confidence=0.6)))
    assert result.confidence == 0.9, "without the noise of adding fractions"


@pytest.mark.parametrize(
    ("heard", "language"),
    [
        (channel(*HELLO, detected_language="es"), "es"),
        (
            channel(
                word("hola", 0, 1, language="es"),
                word("si", 1, 2, language="es"),
                word("ok", 2, 3, language="en"),
            ),
            "es",
        ),
        ({"alternatives": [{"transcript": "hola", "languages": ["es", "en"], "words": []}]}, "es"),
        (channel(*HELLO, detected_language="x" * 21), ""),
        (channel(*HELLO), ""),
    ],
)
def test_the_language_is_the_one_the_answer_tells(heard, language):
    assert parse(answer(heard)).language == language


def test_an_unnamed_model_goes_by_its_id():
    assert parse(answer(channel(), models=["m-1"], model_info={})).models == ["m-1"]


def test_a_missing_transcript_is_made_of_the_words():
    assert parse(answer({"alternatives": [{"words": HELLO}]})).text == "Hello there."


def test_words_are_put_in_order_and_spans_made_whole():
    result = parse(answer(channel(word("b", 1.0, 0.5), word("a", -0.2, 0.4))))
    assert [(entry["word"], entry["start"], entry["end"]) for entry in result.words] == [
        ("a", 0.0, 0.4),
        ("b", 1.0, 1.0),
    ]


def test_words_without_text_are_left_out():
    assert [entry["word"] for entry in parse(answer(channel(word("", 0, 1), word("a", 1, 2)))).words] == ["a"]


@pytest.mark.parametrize("unstorable", ["NaN", "1e999", "1" + "0" * 400])
def test_what_postgresql_cannot_store_is_removed(unstorable):
    text = json.dumps(answer(channel(word("a\0b", 0, 1, punctuated_word="\ud800c"))))
    result = parse(text.replace("0.9", unstorable).encode())

    assert (result.words[0]["word"], result.words[0]["punctuated_word"]) == ("ab", "?c")
    assert (result.words[0]["confidence"], result.confidence) == (None, None)


WHOLE = json.dumps(answer(channel(word("né", 0.1, 0.5)))).encode()


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_an_answer_cut_at_any_byte_is_malformed(length):
    with pytest.raises(MalformedAnswer):
        parse(WHOLE[:length])


def test_a_cut_answer_is_told_from_one_that_is_not_json():
    with pytest.raises(MalformedAnswer, match="cut short after 40 bytes"):
        parse(WHOLE[:40])
    with pytest.raises(MalformedAnswer, match="not JSON"):
        parse(b"<html>504 Gateway Time-out</html>")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"request_id": "accepted-for-callback"}',
        b'{"results": null}',
        b'{"results": {}}',
        b'{"results": {"channels": {}}}',
        b'{"results": {"channels": [null]}}',
        b'{"results": {"channels": [{}]}}',
        b'{"results": {"channels": [{"alternatives": ["text"]}]}}',
        b'{"results": {"channels": [{"alternatives": [{"words": {"0": "a"}}]}]}}',
        b'{"results": {"channels": [{"alternatives": [{"words": ["a"]}]}]}}',
        b'{"results": {"channels": [{"alternatives": [{"words": [{"word": "a"}]}]}]}}',
        b'{"results": {"channels": [{"alternatives": [{"words": [{"word": "a", "start": 1e999}]}]}]}}',
        b'{"results": {"channels": [], "utterances": [{"transcript": "a"}]}}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b"\xff\xfe\xff{}",
    ],
)
def test_what_is_not_a_result_is_malformed_under_one_code(body):
    with pytest.raises(MalformedAnswer) as caught:
        parse(body)
    assert caught.value.code == "provider_malformed_answer"


KEYS = (
    st.sampled_from(["metadata", "results", "channels", "alternatives", "utterances", "words", "word"])
    | st.sampled_from(["punctuated_word", "start", "end", "confidence", "speaker", "channel", "transcript"])
    | st.sampled_from(["languages", "language", "detected_language", "models", "model_info", "name", "id"])
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
LIKE_A_WORD = st.fixed_dictionaries(
    {"word": ANY_JSON, "start": st.floats(), "end": st.floats()},
    optional={"speaker": ANY_JSON, "language": ANY_JSON},
)
LIKE_AN_ANSWER = st.fixed_dictionaries(
    {
        "metadata": ANY_JSON,
        "results": st.fixed_dictionaries(
            {
                "channels": st.lists(
                    st.fixed_dictionaries(
                        {
                            "alternatives": st.lists(
                                st.fixed_dictionaries(
                                    {"words": st.lists(LIKE_A_WORD)},
                                    optional={"transcript": ANY_JSON, "languages": ANY_JSON},
                                ),
                                max_size=2,
                            )
                        },
                        optional={"detected_language": ANY_JSON},
                    ),
                    max_size=3,
                )
            },
            optional={"utterances": st.lists(ANY_JSON | LIKE_A_WORD, max_size=2)},
        ),
    }
)


@given(ANY_JSON | LIKE_AN_ANSWER)
def test_any_json_is_a_storable_result_or_malformed(document):
    try:
        result = parse(json.dumps(document).encode())
    except MalformedAnswer:
        return
    stored = json.dumps([result.text, result.words, result.utterances, result.channels], allow_nan=False)
    assert "\\u0000" not in stored
    assert all(0 <= entry["start"] <= entry["end"] for entry in result.words)
    assert [entry["start"] for entry in result.words] == sorted(entry["start"] for entry in result.words)


@given(st.binary())
def test_any_bytes_raise_nothing_else(body):
    with pytest.raises(MalformedAnswer):
        parse(body)
