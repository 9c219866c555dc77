"""Counting errors, and how sure a rate is."""

import pytest

from jobs.quality.scores import Counts, counted, difference, normalised, passages, rate, summary


def wrong(errors, words=10):
    return Counts(words, errors, 0, 0, words * 5, errors)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", "hello world"),
        ("don't — DON’T 'quoted'", "don't don't quoted"),  # noqa: RUF001
        ("well-known co_op", "well known co op"),
        ("ﬁne ２０ cafe\u0301", "fine 20 café"),  # noqa: RUF001
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
        (" ' … ", ""),
    ],
)
def test_what_is_written_differently_and_said_alike_is_the_same(text, words):
    assert normalised(text) == words


def test_each_kind_of_error_is_counted():
    found = counted("One two three four five six.", "one too four five six seven")

    assert found == Counts(6, 1, 1, 1, 27, found.character_errors)
    assert found.of("wer") == (3, 6)
    assert found.of("ser") == (1, 1)
    assert found.errors == 0.5


@pytest.mark.parametrize(("said", "heard", "errors"), [("", "", 0.0), ("", "oh no", 2.0), ("oh no", "", 1.0)])
def test_silence_is_a_recording_too(said, heard, errors):
    assert counted(said, heard).errors == errors


def test_rates_are_those_of_the_sums():
    found = rate([wrong(0, words=90), wrong(10, words=10)], "wer")

    assert found.value == 0.1
    assert found.low == 0.0
    assert found.high == 1.0


def test_more_recordings_make_it_surer_and_the_same_ones_tell_the_same():
    few, many = [wrong(n % 3) for n in range(12)], [wrong(n % 3) for n in range(600)]

    assert rate(few, "wer") == rate(few, "wer")
    assert 0 < rate(many, "wer").high - rate(many, "wer").low < 0.02
    assert rate(few, "wer").high - rate(few, "wer").low > 0.04


def test_a_summary_has_sums_and_rates():
    found = summary([wrong(0), wrong(1)])

    assert (found["recordings"], found["words"], found["substitutions"]) == (2, 20, 1)
    assert found["wer"]["value"] == 0.05
    assert found["ser"]["value"] == 0.5
    assert summary([]) == {"recordings": 0}


def test_a_difference_is_told_from_chance_by_the_recordings_that_both_have():
    # Recordings differ more among each other than one set of options does from the other.
    before = [wrong(n % 6) for n in range(60)]
    after = [wrong(n % 6 + 1) for n in range(60)]

    found = difference(before, after)

    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.worse == 1.0
    assert difference(before, before).worse == 0.0


def test_passages_are_what_was_counted():
    said, heard = "it was the best of times", "it was best of all times today"

    found = passages("It was the best of times.", heard)

    assert " ".join(passage.said for passage in found if passage.said) == said
    assert " ".join(passage.heard for passage in found if passage.heard) == heard
    wrong_ones = [tuple(passage) for passage in found if not passage.is_same]
    assert wrong_ones == [("the", ""), ("", "all"), ("", "today")]
