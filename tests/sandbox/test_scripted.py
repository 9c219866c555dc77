from hypothesis import given
from hypothesis import strategies as st

from sandbox.engines.scripted import words_between


def test_eight_words_and_a_pause_make_a_sentence() -> None:
    words = words_between(0, 8)

    assert len(words) == 16
    assert [index for index, word in enumerate(words) if word.text.endswith(".")] == [7, 15]
    assert words[8].start - words[7].end > 0.8


def test_channels_say_different_words() -> None:
    left, right = words_between(0, 60, 0), words_between(0, 60, 1)

    assert not {word.text for word in left} & {word.text for word in right}


@given(st.lists(st.integers(1, 400), min_size=1, max_size=10))
def test_words_do_not_depend_on_where_time_is_cut_between_them(slots: list[int]) -> None:
    pieces, now = [], 0.0
    for count in slots:
        pieces += words_between(now, now + count * 0.4)
        now += count * 0.4

    assert [word.text for word in pieces] == [word.text for word in words_between(0, now)]
