"""Words over a cut: none lost, none repeated.

Figures for 1,000 cuts of the noisy recogniser are printed by
    python -m pytest -m full_load -s tests/streaming/rules/test_merge.py
"""

import random
from dataclasses import dataclass, field

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.merge import MOST_REPLAY, Overlap, Spoken, fit_hole, replay_from
from tests.streaming.rules.recogniser import Heard, Recogniser, Window, speech


def spoken(text, *, start=0.0, each=0.3, gap=0.05):
    """Words of `each` seconds with gaps between; a "/" is a pause of half a second."""
    words, now = [], start
    for word in text.split():
        if word == "/":
            now += 0.5
            continue
        words.append(Spoken(word, now, now + each))
        now += each + gap
    return words


class TestWhereToBeginAgain:
    def test_it_is_in_the_last_pause_between_words(self):
        words = spoken("one / two three / four five six")
        base = replay_from(words, words[-1].end)
        assert words[2].end < base < words[3].start

    def test_it_is_in_the_silence_before_the_mark_if_there_is_one(self):
        words = spoken("one two three")
        mark = words[-1].end + 0.4
        assert words[-1].end < replay_from(words, mark) < mark

    def test_without_a_pause_it_is_in_the_widest_gap(self):
        words = [*spoken("a b c d", gap=0.0), Spoken("one", 1.2, 2.0), Spoken("two", 2.25, 3.9)]
        assert 2.0 < replay_from(words, 4.0) < 2.25

    def test_it_is_never_further_back_than_the_bound(self):
        words = spoken("word " * 100, gap=0.0)
        assert replay_from(words, words[-1].end) >= words[-1].end - MOST_REPLAY

    def test_before_the_first_word_it_is_the_beginning(self):
        assert replay_from([], 0.0) == 0.0
        assert replay_from(spoken("word"), 0.3) == 0.0

    def test_a_long_silence_is_not_replayed(self):
        assert replay_from([Spoken("word", 0.0, 0.3)], 60.0) > 60.0 - MOST_REPLAY - 0.01


class TestOneCut:
    """Result by result, each of one trait of recognisers."""

    known = spoken("and this is what was final", start=10.0)
    mark = known[-1].end
    base = 10.0

    def new_after(self, heard, *, expected=()):
        overlap = Overlap(self.known, self.mark, self.base, expected)
        count = overlap.repeated(heard, self.base, heard[-1].end, is_final=True)
        assert overlap.is_over
        return [word.text for word in heard[count:]]

    def test_the_same_words_again(self):
        assert self.new_after(spoken("and this is what was final until now", start=10.0)) == ["until", "now"]

    @pytest.mark.parametrize("shift", [-0.3, 0.3])
    def test_times_that_moved(self, shift):
        heard = spoken("and this is what was final until now", start=10.0 + shift)
        assert self.new_after(heard) == ["until", "now"]

    def test_another_word_for_the_last_one(self):
        heard = spoken("and this is what was vinyl until now", start=10.0)
        assert self.new_after(heard) == ["until", "now"]

    def test_two_words_for_one_across_the_mark(self):
        heard = [*self.known[:-1], Spoken("fi", 11.75, 11.9), Spoken("nal", 11.9, 12.1)]
        assert self.new_after([*heard, *spoken("until now", start=12.15)]) == ["until", "now"]

    def test_one_word_for_two(self):
        heard = [*self.known[:-2], Spoken("wasfinal", 11.4, 12.05), *spoken("until now", start=12.15)]
        assert self.new_after(heard) == ["until", "now"]

    def test_a_piece_of_a_word_at_the_beginning(self):
        heard = [Spoken("d", 10.0, 10.2), *self.known[1:], *spoken("until now", start=12.15)]
        assert self.new_after(heard) == ["until", "now"]

    def test_the_last_word_said_again_is_a_second_word(self):
        heard = spoken("and this is what was final final", start=10.0)
        assert self.new_after(heard) == ["final"]

    def test_what_was_expected_tells_that_the_last_word_is_not_heard_again(self):
        heard = [*self.known[:-1], *spoken("until now and then", start=12.0)]
        new = self.new_after(heard, expected=spoken("until now and then", start=11.95))
        assert new == ["until", "now", "and", "then"]

    def test_punctuation_and_case_make_no_other_word(self):
        heard = spoken("And this is, what was FINAL. Until now", start=10.0)
        assert self.new_after(heard) == ["Until", "now"]


class TestManyResults:
    def test_yes_and_yes_is_two_words_beyond_the_overlap(self):
        overlap = Overlap([Spoken("Yes.", 1.0, 1.4)], 1.5, 0.8)
        assert overlap.repeated([Spoken("Yes.", 1.0, 1.4)], 0.8, 1.5, is_final=True) == 1
        assert overlap.repeated([Spoken("Yes.", 1.6, 2.0)], 1.5, 2.1, is_final=True) == 0

    def test_a_result_that_ends_at_the_mark_is_old_and_one_that_begins_there_new_whatever_they_say(self):
        overlap = Overlap(spoken("one two three"), 1.05, 0.0)
        assert overlap.repeated(spoken("nothing like it at all"), 0.0, 1.07, is_final=True) == 5
        assert overlap.is_over
        assert overlap.repeated(spoken("three", start=0.8), 1.03, 1.5, is_final=True) == 0

    def test_interims_are_cut_like_finals_and_decide_nothing(self):
        overlap = Overlap(spoken("one two three"), 1.05, 0.0)
        for heard in ("one two", "one two three", "one two three four"):
            words = spoken(heard)
            repeated = overlap.repeated(words, 0.0, words[-1].end, is_final=False)
            assert words[repeated:] == words[3:]
            assert not overlap.is_over

    def test_without_an_overlap_everything_is_new(self):
        overlap = Overlap([], 0.0, 0.0)
        assert overlap.is_over
        assert overlap.repeated(spoken("one two"), 0.0, 1.0, is_final=True) == 0


class TestAHole:
    before, hole, after = spoken("a b c d"), spoken("e f g h i", start=1.4), spoken("j k l m", start=3.15)

    def test_what_both_sides_have_is_left_out(self):
        heard = [*self.before[2:], *self.hole, *self.after[:2]]
        missing = heard[fit_hole(self.before, heard, self.after, (1.38, 3.12), (0.7, 3.8))]
        assert missing == self.hole

    def test_a_hole_at_the_end_has_nothing_after_it(self):
        heard = [*self.before[2:], *self.hole]
        assert heard[fit_hole(self.before, heard, [], (1.38, 3.12), (0.7, 3.12))] == self.hole

    def test_words_tell_more_than_times_that_are_far_off(self):
        """As a recogniser times them that knows only when a sentence began and ended."""
        heard = spoken("just being normal and I think", start=11.6, each=0.4)
        after = spoken("I think if it signifies", start=12.6)
        missing = heard[fit_hole([], heard, after, (11.6, 12.3), (11.6, 14.3))]
        assert [word.text for word in missing] == ["just", "being", "normal", "and"]

    def test_silence_fills_nothing(self):
        assert [][fit_hole(self.before, [], self.after, (1.38, 3.12), (0.7, 3.8))] == []


words_of_any_kind = st.lists(
    st.builds(Spoken, st.text(max_size=8), st.floats(-5, 100), st.floats(-5, 100)), max_size=12
)


@given(words_of_any_kind, words_of_any_kind, words_of_any_kind, st.floats(0, 100), st.floats(0, 100))
def test_nonsense_is_cut_somewhere_within_it(finals, heard, expected, mark, end):
    base = replay_from(finals, mark)
    assert max(0.0, mark - MOST_REPLAY) <= base
    count = Overlap(finals, mark, base, expected).repeated(heard, base, end, is_final=True)
    assert 0 <= count <= len(heard)
    assert 0 <= len(heard[fit_hole(finals, heard, expected, (mark, end), (mark - 1, end + 1))]) <= len(heard)


@dataclass
class Cuts:
    """What became of many speeches, each cut at `per_speech` random moments."""

    noise: float
    obeys_finalize: bool = False
    has_interims: bool = True
    per_speech: int = 1
    lost: int = 0
    repeated: int = 0
    disordered: int = 0
    errors: int = 0
    floor: int = 0
    replayed: list[float] = field(default_factory=list)

    def make(self, number: int) -> "Cuts":
        for seed in range(0, number, self.per_speech):
            self._speech(random.Random(seed))  # noqa: S311  (the same cuts each time)
        return self

    def _speech(self, chance: random.Random) -> None:
        said = speech(chance, seconds=40.0)
        recogniser, end = Recogniser(said, self.noise), said[-1].end + 0.5
        uncut, _ = recogniser.listen(chance, 0.0, end)
        self.floor += _errors(said, [each for window in uncut for each in window.heard])

        got: list[tuple[int, Heard]] = []
        mark, overlap, finalize = 0.0, Overlap([], 0.0, 0.0), None
        base = 0.0
        moments = sorted(chance.uniform(0.5, end - 0.5) for _ in range(self.per_speech))
        for connection, moment in enumerate([*moments, end]):
            windows, rest = recogniser.listen(chance, base, max(moment, base), finalize=finalize)
            # The last results are on their way when the socket is lost.
            told_until = end if moment == end else moment - chance.random() / 2
            arrived = [each for each in windows if each.end <= told_until]
            coming = [*windows, rest][len(arrived)]
            for window in arrived:
                count = overlap.repeated(window.words, window.start, window.end, is_final=True)
                got += [(connection, heard) for heard in window.heard[count:]]
                mark = max(mark, window.end)
            finals = [heard.word for _, heard in got]
            base = replay_from(finals, mark)
            overlap = Overlap(finals, mark, base, self._interim(chance, coming, mark, moment))
            finalize = mark if self.obeys_finalize else None
            self.replayed.append(mark - base)
        self._count(said, got)

    def _interim(self, chance: random.Random, coming: Window, mark: float, moment: float) -> list[Spoken]:
        until = moment - chance.random()
        return [word for word in coming.words if self.has_interims and mark < word.end < until]

    def _count(self, said: list[Spoken], got: list[tuple[int, Heard]]) -> None:
        heard_by: dict[int, set[int]] = {}
        for connection, heard in got:
            heard_by.setdefault(heard.origin, set()).add(connection)
        origins = [heard.origin for _, heard in got]
        self.lost += len(said) - len(heard_by)
        self.repeated += sum(len(connections) - 1 for connections in heard_by.values())
        self.disordered += origins != sorted(origins)
        self.errors += _errors(said, [heard for _, heard in got])


def _errors(said: list[Spoken], heard: list[Heard]) -> int:
    counted = jiwer.process_words(
        " ".join(word.text for word in said), " ".join(each.word.text for each in heard) or "-"
    )
    return counted.substitutions + counted.deletions + counted.insertions


@pytest.mark.parametrize("per_speech", [1, 5])
@pytest.mark.parametrize("obeys_finalize", [True, False])
def test_an_exact_recogniser_loses_nothing_and_repeats_nothing(obeys_finalize, per_speech):
    cuts = Cuts(noise=0.0, obeys_finalize=obeys_finalize, per_speech=per_speech).make(100)
    assert (cuts.lost, cuts.repeated, cuts.disordered, cuts.errors) == (0, 0, 0, 0)


@pytest.mark.parametrize("per_speech", [1, 5])
def test_a_noisy_one_that_finalizes_when_told_loses_nothing_and_repeats_nothing(per_speech):
    cuts = Cuts(noise=1.0, obeys_finalize=True, per_speech=per_speech).make(100)
    assert (cuts.lost, cuts.repeated, cuts.disordered) == (0, 0, 0)


def test_a_noisy_one_that_does_not_is_aligned():
    cuts = Cuts(noise=1.0).make(100)
    assert cuts.lost + cuts.repeated <= 1
    assert cuts.disordered == 0


@pytest.mark.full_load
@pytest.mark.parametrize("has_interims", [True, False], ids=["interims", "finals alone"])
@pytest.mark.parametrize("obeys_finalize", [True, False], ids=["finalizes", "does not"])
@pytest.mark.parametrize("noise", [0.0, 0.3, 0.6, 1.0])
def test_a_thousand_cuts(capsys, noise, obeys_finalize, has_interims):
    cuts = Cuts(noise, obeys_finalize, has_interims).make(1000)
    with capsys.disabled():
        print(  # noqa: T201
            f"\nnoise {noise:.1f}, {'finalizes' if obeys_finalize else 'does not finalize'}, "
            f"{'with' if has_interims else 'without'} interims: {cuts.lost} lost, {cuts.repeated} repeated, "
            f"{cuts.errors} word errors (uncut {cuts.floor}), {sum(cuts.replayed) / 1000:.1f} s replayed each"
        )
    assert cuts.lost + cuts.repeated <= (0 if obeys_finalize else 30 * noise)
    assert cuts.disordered == 0
