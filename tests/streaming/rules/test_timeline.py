import copy

from streaming.rules.merge import Spoken
from streaming.rules.timeline import keep, shift, words


def a_word(text, start, end):
    return {"word": text.lower(), "punctuated_word": text, "start": start, "end": end, "confidence": 0.9}


def a_message():
    return {
        "type": "Results",
        "start": 1.0,
        "duration": 2.5,
        "channel": {
            "alternatives": [
                {
                    "transcript": "One two, three.",
                    "confidence": 0.9,
                    "words": [a_word("One", 1.0, 1.4), a_word("two,", 1.5, 1.9), a_word("three.", 2.5, 3.1)],
                },
                {
                    "transcript": "Want two tree",
                    "confidence": 0.4,
                    "words": [a_word("Want", 1.0, 1.4), a_word("two", 1.5, 1.9), a_word("tree", 2.5, 3.1)],
                },
            ],
            "search": [{"query": "three", "hits": [{"start": 2.5, "end": 3.1, "snippet": "three"}]}],
        },
        "entities": [
            {"label": "CARDINAL", "value": "one", "start_word": 0, "end_word": 1},
            {"label": "CARDINAL", "value": "three", "start_word": 2, "end_word": 3},
        ],
    }


def test_everything_that_has_a_time_moves():
    message = a_message()
    shift(message, 10.1)
    assert (message["start"], message["duration"]) == (11.1, 2.5)
    for alternative in message["channel"]["alternatives"]:
        assert [word["start"] for word in alternative["words"]] == [11.1, 11.6, 12.6]
        assert [word["end"] for word in alternative["words"]] == [11.5, 12.0, 13.2]
    assert message["channel"]["search"][0]["hits"][0]["start"] == 12.6


def test_speech_events_move_but_for_an_utterance_without_a_word():
    for message, moved in [
        ({"type": "SpeechStarted", "timestamp": 0.5}, {"timestamp": 3.0}),
        ({"type": "UtteranceEnd", "last_word_end": 2.0}, {"last_word_end": 4.5}),
        ({"type": "UtteranceEnd", "last_word_end": -1}, {"last_word_end": -1}),
    ]:
        shift(message, 2.5)
        assert message | moved == message


def test_words_are_read_as_they_are_written():
    assert words(a_message())[1] == Spoken("two,", 1.5, 1.9)


def test_a_part_is_kept_with_its_text_and_what_points_at_it():
    message = a_message()
    keep(message, slice(2, None), 2.2, 3.5)
    assert (message["start"], message["duration"]) == (2.2, 1.3)
    first, second = message["channel"]["alternatives"]
    assert (first["transcript"], second["transcript"]) == ("three.", "tree")
    assert [(each["value"], each["start_word"], each["end_word"]) for each in message["entities"]] == [
        ("three", 0, 1)
    ]


def test_nothing_kept_is_as_deepgram_writes_silence():
    message = a_message()
    keep(message, slice(3, None), 3.5, 3.5)
    first = message["channel"]["alternatives"][0]
    assert (first["transcript"], first["words"], first["confidence"]) == ("", [], 0.0)
    assert message["duration"] == 0.0


def test_words_that_are_kept_lie_within_the_window():
    message = a_message()
    keep(message, slice(1, None), 1.7, 3.0)
    spoken = words(message)
    assert (spoken[0].start, spoken[-1].end) == (1.7, 3.0)


def test_what_is_no_result_is_left_alone():
    for message in [{}, {"channel": None}, {"channel": {"alternatives": [None, {"words": "x"}]}}]:
        before = copy.deepcopy(message)
        shift(message, 1.0)
        assert message == before
        assert words(message) == []
