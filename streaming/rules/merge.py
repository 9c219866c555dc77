"""Which words of a new connection were final already.

When the provider's socket is lost, its successor is sent the audio again from a little before the end of the
last final result (the mark), and hears words again that the client has. Three things tell them apart:

- The provider is told to finalize when the audio sent reaches the mark. A result that ends there has nothing
  new, one that begins there nothing old, whatever the recogniser heard.
- Deepgram does not promise to obey. For a result that lies across the mark, old and new words are aligned by
  time and text at once, as two copies of a text are (edit distance): a recogniser that is given the same
  audio in another context ends its windows elsewhere, moves words by tenths of a second, hears one as
  another, or one as two. What stands beyond the alignment is new.
- What the lost connection had heard beyond the mark, in an interim result, is aligned with what comes after.

Outside of the overlap nothing is compared: "Yes." "Yes." is two words.

    replay_from     where to begin again: at a pause, so that no word is heard by half
    Overlap         what one channel hears again, until its new connection is past the mark
    fit_hole        the same for a stretch that was transcribed apart, between results of before and after
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

PAUSE = 0.3
"""Seconds between two words, from which on nothing of either is cut off in the middle of it."""

MOST_REPLAY = 3.0
"""Seconds. At 1.25 times real time, a second replayed is four seconds until results are on time again."""

# The costs of the alignment are logarithms of how rare a thing is, more or less, found by trying them on
# thousands of cuts (tests/streaming/rules/test_merge.py).
_ANOTHER = 4.0  # a word that has no letter in common with the one in its place
_SKIPPED = 4.0  # a word heard once and not the other time
_SPLIT = 1.0  # two words for one
_FRAGMENT = 2.0  # a piece of a word that began before the connection did
_MOST_BY_TIME = 1.0
_SPREAD = 0.15  # seconds: the standard deviation of when a word is heard
_HALF = 0.1  # seconds: about half a short word, by which a new word's middle is beyond the mark

_NEAR = 1.0  # seconds: nothing of before and after the mark is heard further on its other side
_EDGE = 0.1  # seconds: as precise as the beginning of a connection is
_FRAME = 0.05  # seconds: as precise as the windows of results are


class Spoken(NamedTuple):
    """A word as it was heard, in the session's time."""

    text: str
    start: float
    end: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


def replay_from(finals: Sequence[Spoken], mark: float) -> float:
    """The second to send audio again from: in the last pause before the mark, else in the widest gap.

    `finals`: the last final words in their order, at least those of MOST_REPLAY seconds before the mark.
    """
    earliest = max(0.0, mark - MOST_REPLAY)
    best, widest = earliest, 0.0
    following = mark
    for word in reversed(finals):
        if following <= earliest:
            return best
        gap = following - word.end
        middle = max(following - gap / 2, earliest)
        if gap >= PAUSE:
            return middle
        if gap > widest:
            best, widest = middle, gap
        following = min(following, word.start)
    return max(following - PAUSE, earliest)


class Overlap:
    """What a new connection hears again on one channel.

    `finals`: the last final words (see replay_from); `mark`: the end of the last final result; `base`: where
    the new connection began; `expected`: what the lost one had heard beyond the mark, if it told.
    """

    def __init__(
        self, finals: Sequence[Spoken], mark: float, base: float, expected: Sequence[Spoken] = ()
    ) -> None:
        self._known = [word for word in finals if word.end > base - _NEAR]
        self._expected = expected
        self._mark = mark
        self._base = base
        self._heard: list[Spoken] = []
        self.is_over = mark <= base + _FRAME

    def repeated(self, words: Sequence[Spoken], start: float, end: float, *, is_final: bool) -> int:
        """How many of the first words of a result over [start, end) were final already.

        Results come in their order: each final once, interims in between.
        """
        if self.is_over or start >= self._mark - _FRAME:
            count = 0
        elif end <= self._mark + _FRAME:
            count = len(words)
        else:
            heard = [*self._heard, *words]
            seam = _seam(self._known, heard, self._expected, self._mark, self._base, end)
            count = max(0, seam - len(self._heard))
        if is_final:
            self._heard += words
            self.is_over = self.is_over or end >= self._mark - _FRAME
        return count


def fit_hole(
    before: Sequence[Spoken],
    words: Sequence[Spoken],
    after: Sequence[Spoken],
    hole: tuple[float, float],
    heard: tuple[float, float],
) -> slice:
    """What of `words` is missing between `before`, which ends as the hole begins, and `after`, where it ends.

    `words` were heard in one piece, from somewhat before the hole until somewhat after it.
    """
    first = _beside(before, words, hole, heard)
    mirrored = _beside(_mirrored(after), _mirrored(words[first:]), _turned(hole), _turned(heard))
    return slice(first, len(words) - mirrored)


def _beside(
    known: Sequence[Spoken], words: Sequence[Spoken], hole: tuple[float, float], heard: tuple[float, float]
) -> int:
    near = [word for word in known if word.end > heard[0] - _NEAR]
    if not near:  # there is nothing to go by but time
        return sum(word.middle < hole[0] for word in words)
    return _seam(near, words, (), hole[0], heard[0], heard[1])


def _turned(stretch: tuple[float, float]) -> tuple[float, float]:
    return -stretch[1], -stretch[0]


def _seam(
    known: Sequence[Spoken],
    heard: Sequence[Spoken],
    expected: Sequence[Spoken],
    mark: float,
    base: float,
    end: float,
) -> int:
    """How many of the words heard in [base, end) are the known ones, which end at the mark.

    Those expected come after them; more may.
    """
    near = [word for word in heard if word.middle < mark + _NEAR]
    coming = [word for word in expected if word.middle < mark + _NEAR]
    # What ends before the connection began was likely not heard by it, and what comes after its end not yet;
    # what begins as it began may be the rest of a word.
    known_costs = _costs(
        known,
        near,
        [_SKIPPED if word.middle > base else 0.0 for word in known],
        [_FRAGMENT if word.start < base + _EDGE else _SKIPPED for word in near],
    )
    coming_costs = _costs(
        _mirrored(coming),
        _mirrored(near),
        [_SKIPPED if word.end < end - _EDGE else 0.0 for word in reversed(coming)],
        [_SKIPPED] * len(near),
        anywhere=True,
    )
    return min(
        range(len(near) + 1),
        key=lambda count: known_costs[count] + coming_costs[-1 - count] + _misplaced(near, count, mark),
    )


def _costs(
    known: Sequence[Spoken],
    heard: Sequence[Spoken],
    skip_known: Sequence[float],
    skip_heard: Sequence[float],
    *,
    anywhere: bool = False,
) -> list[float]:
    """For each count, what it costs to take the first so many of `heard` for a hearing of all of `known`.

    An edit distance, row by row. `anywhere`: what stands before the hearing costs nothing.
    """
    rows = [[0.0] * (len(heard) + 1) if anywhere else [0.0, *accumulate(skip_heard)]]
    for i, word in enumerate(known):
        last = rows[-1]
        row = [last[0] + skip_known[i]]
        for j, other in enumerate(heard):
            ways = [last[j + 1] + skip_known[i], row[j] + skip_heard[j], last[j] + _difference(word, other)]
            if j:
                ways.append(last[j - 1] + _split(word, heard[j - 1], other))
            if i:
                ways.append(rows[-2][j] + _split(other, known[i - 1], word))
            row.append(min(ways))
        rows.append(row)
    return rows[-1]


def _misplaced(near: Sequence[Spoken], count: int, mark: float) -> float:
    """What time alone says against the first `count` words being old and the others new."""
    late = sum(_by_time(max(0.0, word.middle - mark + _HALF)) for word in near[:count])
    early = sum(_by_time(max(0.0, mark + _HALF - word.middle)) for word in near[count:])
    return late + early


def _difference(one: Spoken, other: Spoken) -> float:
    return _ANOTHER * (1.0 - _likeness(one.text, other.text)) + _by_time(one.middle - other.middle)


def _split(whole: Spoken, first: Spoken, second: Spoken) -> float:
    unlike = 1.0 - _likeness(whole.text, first.text + second.text)
    return _SPLIT + 4 * _ANOTHER * unlike + _by_time(whole.middle - (first.start + second.end) / 2)


def _by_time(apart: float) -> float:
    return min((apart / _SPREAD) ** 2 / 2, _MOST_BY_TIME)


@lru_cache(maxsize=4096)
def _likeness(one: str, other: str) -> float:
    one, other = _letters(one), _letters(other)
    return 1.0 if one == other else SequenceMatcher(None, one, other, autojunk=False).ratio()


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _mirrored(words: Sequence[Spoken]) -> list[Spoken]:
    return [Spoken(word.text[::-1], -word.end, -word.start) for word in reversed(words)]
