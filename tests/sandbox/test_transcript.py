import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.transcript import Word, occurrences, redacted, respelled, spread, substituted


def words(text: str) -> list[Word]:
    return [Word(part, index, index + 0.5, 1.0) for index, part in enumerate(text.split())]


def texts(found: list[Word]) -> list[str]:
    return [word.text for word in found]


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Hello,", "hello"),
        ("don't", "don't"),
        ('"Yes."', "yes"),
        ("all-female", "all-female"),
        ("...", "..."),
    ],
)
def test_bare_word_has_no_case_and_no_punctuation_around_it(text: str, bare: str) -> None:
    assert Word(text, 0, 1, 1).bare == bare


def test_words_share_the_time_by_their_length() -> None:
    found = spread("a bbb", [(1.0, 4.0)], 0.5)

    assert found == [Word("a", 1.0, 2.0, 0.5), Word("bbb", 2.0, 4.0, 0.5)]


def test_word_that_ends_near_a_pause_ends_at_it() -> None:
    found = spread("aaaa bbbb", [(0.0, 1.1), (3.0, 3.9)], 1)

    assert [(word.start, word.end) for word in found] == [(0.0, 1.1), (3.0, pytest.approx(3.9))]


def test_word_that_ends_far_from_a_pause_runs_across_it() -> None:
    found = spread("aaaa", [(0.0, 1.0), (3.0, 4.0)], 1)

    assert (found[0].start, found[0].end) == (0.0, 4.0)


def test_silence_has_no_words() -> None:
    assert spread("", [(0.0, 1.0)], 1) == []
    assert spread("word", [], 1) == []


@given(
    st.lists(st.text("abcdefgh", min_size=1, max_size=12), min_size=1, max_size=40),
    st.lists(st.tuples(st.floats(0.05, 3), st.floats(0.3, 3)), min_size=1, max_size=12),
)
def test_spread_words_are_in_order_and_begin_where_somebody_speaks(
    texts: list[str], lengths_and_pauses: list[tuple[float, float]]
) -> None:
    stretches, now = [], 0.0
    for length, pause in lengths_and_pauses:
        stretches.append((now, now + length))
        now += length + pause

    found = spread(" ".join(texts), stretches, 1)

    assert [word.text for word in found] == texts
    assert all(word.start <= word.end + 1e-6 for word in found)
    assert all(a.end <= b.start + 1e-6 for a, b in itertools.pairwise(found))
    assert all(any(s - 1e-6 <= word.start <= e + 1e-6 for s, e in stretches) for word in found)


def test_occurrences_ignore_case_and_punctuation_and_do_not_overlap() -> None:
    assert occurrences(words("No, no no NO. yes"), "no no") == [0, 2]


@pytest.mark.parametrize("phrase", ["", "a b c d e f"])
def test_nothing_occurs_of_an_empty_or_longer_phrase(phrase: str) -> None:
    assert occurrences(words("a b c"), phrase) == []


def test_replacement_takes_the_time_and_the_punctuation_of_what_it_replaces() -> None:
    found = substituted(words("hello big world. bye"), "Big World", "planet")

    assert texts(found) == ["hello", "planet.", "bye"]
    assert (found[1].start, found[1].end) == (1, 2.5)


def test_empty_replacement_removes() -> None:
    assert texts(substituted(words("well um yes um"), "um", "")) == ["well", "yes"]


def test_phrase_is_respelled_word_by_word() -> None:
    found = respelled(words("deep gram, and deepgram"), "Deep Gram")

    assert texts(found) == ["Deep", "Gram,", "and", "deepgram"]
    assert [word.start for word in found] == [0, 1, 2, 3]


def test_redaction_stars_digits() -> None:
    assert texts(redacted(words("call 555-0199 now"))) == ["call", "***-****", "now"]
