"""Corrections: what stays keeps its time, what is new has a place among it."""

import random
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transcripts.corrections import Edit, InvalidEdits, align, corrected, rewritten
from jobs.transcripts.exports import joined, shown, to_txt


def said(text, start=1.0, *, pace=0.4, pause=0.1, confidence=0.9, **more):
    """The words of a text, each `pace` long and `pause` apart."""
    each = pace + pause
    return [
        {
            "word": word.strip(".,?!").lower(),
            "punctuated_word": word,
            "start": round(start + number * each, 3),
            "end": round(start + number * each + pace, 3),
            "confidence": confidence,
            **more,
        }
        for number, word in enumerate(text.split())
    ]


def utterance(words, channel=0, **more):
    times = {"start": words[0]["start"], "end": words[-1]["end"]}
    return (
        {"id": "u", "channel": channel, "confidence": 0.9, "words": words}
        | times
        | {"transcript": joined(words)}
        | more
    )


def transcript(*utterances, channels=1, words=None, text=""):
    heard = sorted(
        (word for each in utterances for word in each["words"]) if words is None else words,
        key=lambda word: word["start"],
    )
    return SimpleNamespace(
        text=text,
        confidence=0.9,
        language="en",
        words=heard,
        utterances=list(utterances),
        speakers=[],
        channels=[
            {
                "index": index,
                "text": "",
                "confidence": 0.9,
                "language": "en",
                "words": [word for word in heard if word.get("channel", 0) == index],
            }
            for index in range(channels)
        ],
    )


def aligned(words, text, **beside):
    return [word for _, word in align(words, text, **beside)]


def times(words):
    return [(shown(word), word["start"], word["end"]) for word in words]


def test_a_word_that_is_replaced_leaves_its_time_and_nobodys_confidence():
    words = said("We met Mister Miller today.")

    new = aligned(words, "We met Mister Müller today.")

    assert [new[at] for at in (0, 1, 2, 4)] == [words[at] for at in (0, 1, 2, 4)]
    assert new[3] == {
        "word": "müller",
        "punctuated_word": "Müller",
        "start": words[3]["start"],
        "end": words[3]["end"],
        "confidence": None,
    }


def test_another_spelling_of_the_same_word_leaves_all_else_of_it():
    words = said("yes indeed", speaker=1, language="en")

    assert aligned(words, "Yes, indeed") == [{**words[0], "punctuated_word": "Yes,"}, words[1]]


def test_what_is_new_has_the_voice_and_language_of_what_it_stands_for():
    [word] = aligned(said("hello", speaker=1, channel=1, language="en", speaker_confidence=0.4), "hallo")

    assert {name: word[name] for name in ("speaker", "channel", "language")} == {
        "speaker": 1,
        "channel": 1,
        "language": "en",
    }
    assert "speaker_confidence" not in word


def test_two_words_become_one_and_one_becomes_two():
    words = said("the data base of isgone")

    new = times(aligned(words, "the database of is gone"))

    assert new[1] == ("database", words[1]["start"], words[2]["end"])
    assert [text for text, _, _ in new[3:]] == ["is", "gone"]
    assert (new[3][1], new[4][2]) == (words[4]["start"], words[4]["end"])
    assert words[4]["start"] < new[3][2] == new[4][1] < words[4]["end"]


def test_an_added_word_fills_a_pause_as_far_as_it_is_long():
    words = [*said("before", 1.0), *said("after", 9.0)]

    _, new, _ = times(aligned(words, "before this after"))

    assert new == ("this", 1.4, pytest.approx(1.4 + 4 * 0.07))


def test_an_added_word_without_a_pause_takes_no_time():
    words = said("one two", pause=0.0)

    _, new, _ = times(aligned(words, "one and two"))

    assert new == ("and", 1.4, 1.4)


@pytest.mark.parametrize(("text", "at"), [("oh one", 0), ("one oh", 1)])
def test_what_is_added_at_either_end_stays_within_what_surrounds_it(text, at):
    new = times(aligned(said("one", 5.0), text, since=4.9, until=5.45))

    assert new[at][0] == "oh"
    assert 4.9 <= new[at][1] <= new[at][2] <= 5.45


def test_a_word_that_holds_a_space_stays_one_word():
    number = {"word": "555 0199", "punctuated_word": "555 0199.", "start": 0.5, "end": 2.0, "confidence": 0.8}
    words = [*said("call", 0.0), number]

    assert aligned(words, "Call 555 0199.")[1] is words[1]


def test_scripts_without_spaces_are_corrected_by_the_character():
    words = said("今日は 東京 です", pause=0.0)

    new = aligned(words, "今日は京都です")

    assert joined(new) == "今日は京都です"
    assert [new[0], new[-1]] == [words[0], words[2]]
    assert all(1.4 <= word["start"] <= word["end"] <= 1.8 for word in new[1:-1])


def test_control_characters_and_halves_of_characters_are_left_out():
    assert joined(aligned(said("one"), "o\0ne\ud800 \x07two\u2028three")) == "o ne two three"


WORDS = st.lists(
    st.sampled_from(["a", "the", "Miller", "base,", "New York", "東京", "は。", "é"]), min_size=1, max_size=12
)


@st.composite
def heard(draw):
    """Words in order, sometimes at once and sometimes of no length."""
    now, words = draw(st.floats(0, 9000)), []
    for text in draw(WORDS):
        length, pause = draw(st.floats(0, 3)), draw(st.floats(-0.5, 4))
        words.append(
            {
                "word": text.lower(),
                "punctuated_word": text,
                "start": now,
                "end": now + length,
                "confidence": 0.5,
            }
        )
        now = max(now, now + length + pause)
    return words


@given(heard(), WORDS.map(" ".join))
def test_whatever_is_corrected_reads_as_it_was_written_and_is_in_order(words, text):
    since, until = words[0]["start"], max(word["end"] for word in words)

    placed = align(words, text, since=since, until=until)

    new = [word for _, word in placed]
    assert "".join(joined(new).split()) == "".join(text.split())
    assert all(before["start"] <= after["start"] for before, after in pairwise(new))
    assert all(since <= word["start"] <= word["end"] <= until for word in new)
    assert all(0 <= at < len(words) for at, _ in placed)


@given(heard())
def test_words_that_are_left_alone_keep_all_they_have(words):
    assert aligned(words, joined(words)) == words


@given(heard(), WORDS.map(" ".join), st.data())
def test_what_is_outside_of_an_edit_is_untouched(words, text, data):
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))

    new = corrected(transcript(utterance(words)), [Edit(range(first, last + 1), text)])

    assert new.words[:first] == words[:first]
    assert new.words[len(new.words) - (len(words) - 1 - last) :] == words[last + 1 :]


def test_what_stands_instead_of_words_stays_before_one_that_is_heard_over_them():
    words = said("hello there", 0.0, pace=1.0)
    words[1]["start"] = words[0]["start"] + 0.2

    new = corrected(transcript(utterance(words)), [Edit([0], "one two three four")])

    assert [shown(word) for word in new.words] == ["one", "two", "three", "four", "there"]


def test_an_edit_is_in_the_words_their_utterance_their_channel_and_the_text():
    first, second = said("hello there", 0), said("good buy", 10)
    before = transcript(utterance(first), utterance(second))

    new = corrected(before, [Edit([2, 3], "Goodbye!")])

    assert new.text == "hello there Goodbye!"
    assert [shown(word) for word in new.words] == ["hello", "there", "Goodbye!"]
    assert new.utterances[0] is before.utterances[0]
    assert (new.utterances[1]["transcript"], new.utterances[1]["words"]) == ("Goodbye!", new.words[2:])
    assert (new.channels[0]["text"], new.channels[0]["words"]) == (new.text, new.words)


def test_channels_are_corrected_apart_though_they_talk_at_once():
    left = said("how are you", 0.0, pace=1.0, channel=0)
    right = said("fine and you", 0.3, pace=1.0, channel=1)
    before = transcript(utterance(left, 0), utterance(right, 1), channels=2)

    new = corrected(before, [Edit([1, 3, 5], "Fine, thank you")])

    assert new.text == "how are you\nFine, thank you"
    assert [word for word in new.words if word["channel"] == 0] == left
    assert new.channels[0] is before.channels[0]
    assert new.channels[1]["text"] == "Fine, thank you"


def test_a_passage_is_given_to_another_speaker_and_leaves_its_utterance():
    words = said("are you there yes I am", speaker=0, speaker_confidence=0.3)
    before = transcript(utterance(words, speaker=0))

    new = corrected(before, [Edit([3, 4, 5], speaker=1)])

    assert [word["speaker"] for word in new.words] == [0, 0, 0, 1, 1, 1]
    assert [(each["speaker"], each["transcript"]) for each in new.utterances] == [
        (0, "are you there"),
        (1, "yes I am"),
    ]
    assert (new.utterances[1]["start"], new.utterances[1]["end"]) == (words[3]["start"], words[5]["end"])


def test_all_that_an_utterance_said_may_be_struck_out():
    new = corrected(transcript(utterance(said("uh", 0)), utterance(said("well", 5))), [Edit([0], "")])

    assert (new.text, len(new.words), len(new.utterances)) == ("well", 1, 1)


def test_a_whole_text_is_laid_over_the_words():
    words = said("the quick brown fox jumps")

    new = rewritten(transcript(utterance(words)), "The quick brown fox jumped over.")

    assert new.text == "The quick brown fox jumped over."
    assert new.words[1:4] == words[1:4]


def test_a_transcript_without_words_is_only_text():
    new = rewritten(transcript(text="One.\nTwo."), "One.\nThree.")

    assert (new.text, new.words, new.utterances) == ("One. Three.", [], [])


def test_utterances_without_words_have_their_text_as_words():
    spoken = {
        "id": "",
        "start": 0.0,
        "end": 4.0,
        "channel": 0,
        "confidence": 0.5,
        "transcript": "ab cd",
        "words": [],
    }

    before = SimpleNamespace(**{**vars(transcript()), "utterances": [spoken]})

    new = corrected(before, [Edit([1], "ef")])

    assert times(new.words) == [("ab", 0.0, 2.0), ("ef", 2.0, 4.0)]
    assert new.utterances[0]["transcript"] == "ab ef"


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ([Edit([6], "x")], "from 0 to 5"),
        ([Edit([-1], "x")], "from 0 to 5"),
        ([Edit([], "x")], "from 0 to 5"),
        ([Edit([0, 4], "x")], "follow one another"),
        ([Edit([2, 0], "x")], "follow one another"),
        ([Edit([0, 1], "x")], "follow one another"),
        ([Edit([0, 2], "x"), Edit([2], "y")], "two edits"),
    ],
)
def test_edits_that_do_not_fit_are_told(edits, told):
    left, right = said("a b c", 0.0, channel=0), said("d e f", 0.2, channel=1)

    with pytest.raises(InvalidEdits, match=told):
        corrected(transcript(utterance(left, 0), utterance(right, 1), channels=2), edits)


def test_a_word_that_is_confirmed_has_nobodys_confidence_and_all_else_that_it_had():
    words = said("one two", speaker=1)

    new = corrected(transcript(utterance(words)), [], confirmed=[1])

    assert new.words == [words[0], words[1] | {"confidence": None}]
    assert new.utterances[0]["words"] == new.channels[0]["words"] == new.words


@pytest.mark.parametrize("text", ["three four", "well three four", "thirty-three four", "four"])
def test_a_paragraph_begins_with_what_stands_where_it_began(text):
    before = transcript(utterance(said("one two three four")))
    split = corrected(before, [], paragraphs={2: True})
    split = transcript(utterance(split.words))

    new = corrected(split, [Edit([2, 3], text)])

    assert to_txt(transcript(words=new.words)) == f"one two\n\n{text}\n"
    assert sum("paragraph" in word for word in new.words) == 1


def test_words_that_are_not_there_are_neither_confirmed_nor_begin_a_paragraph():
    for marks in ({"confirmed": [1]}, {"paragraphs": {-1: True}}):
        with pytest.raises(InvalidEdits, match="from 0 to 0"):
            corrected(transcript(utterance(said("one"))), [], **marks)


def test_edits_of_a_transcript_without_words_are_told():
    with pytest.raises(InvalidEdits, match="give its text"):
        corrected(transcript(text="One."), [Edit([0], "Two.")])


def test_one_text_for_several_channels_is_refused():
    left, right = said("a", 0.0, channel=0), said("b", 0.2, channel=1)

    with pytest.raises(InvalidEdits, match="Several channels"):
        rewritten(transcript(utterance(left, 0), utterance(right, 1), channels=2), "a b")


def test_a_long_text_is_aligned_in_stretches_and_loses_no_word():
    chance = random.Random(1)  # noqa: S311 (repeatable, not secret)
    words = said(" ".join(f"w{chance.randrange(300)}" for _ in range(3000)))
    written = [shown(word) for word in words]
    for at in range(50, 3000, 97):
        written[at] = "other"
    del written[1000:1010]
    written[2000:2000] = ["added"] * 7

    new = aligned(words, " ".join(written))

    assert [shown(word) for word in new] == written
    assert all(word in words for word in new if word["confidence"] is not None)
    assert sum(word["confidence"] is None for word in new) == written.count("other") + 7


def test_of_a_long_text_from_which_much_was_struck_out_all_the_rest_keeps_its_times():
    chance = random.Random(1)  # noqa: S311 (repeatable, not secret)
    words = said(" ".join(f"w{chance.randrange(300)}" for _ in range(20_000)))
    left = words[:3000] + words[4000:]

    assert aligned(words, " ".join(shown(word) for word in left)) == left


def test_a_word_that_is_said_over_and_over_is_not_laid_over_itself_for_hours():
    words = said("the " * 1500)

    new = aligned(words, "the " * 20_000)

    assert len(new) == 20_000
    assert (new[0]["start"], new[-1]["end"]) == (words[0]["start"], pytest.approx(words[-1]["end"]))
