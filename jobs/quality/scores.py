"""How far what was heard is from what was said: counts, rates, their intervals, and the words that differ.

Both texts are normalised first (`normalised`), then aligned with the fewest changes (jiwer).

    WER   (substituted + deleted + inserted words) / words that were said
    CER   the same of characters, spaces included
    SER   recordings with any error at all / recordings

Rates of several recordings are those of the sums, so that a long one weighs more. Intervals are 95 %, by the
bootstrap over recordings (Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance
evaluation", ICASSP 2004); the same seed each time, so that the same run has the same interval.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, NamedTuple

import jiwer

DRAWS = 1000
LOW, HIGH = 0.025, 0.975
RATES = ("wer", "cer", "ser")
APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇", "'"))  # noqa: RUF001


def normalised(text: str) -> str:
    """Words as they are compared: Unicode NFKC, lower case, letters, marks, digits and inner apostrophes.

    All else parts words, hyphens too, and one space stands between them. Numbers stay as they are written:
    "20" is not "twenty".
    """
    text = unicodedata.normalize("NFKC", text).translate(APOSTROPHES).lower()
    kept = (each if each == "'" or unicodedata.category(each)[0] in "LMN" else " " for each in text)
    return " ".join(word for each in "".join(kept).split() if (word := each.strip("'")))


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one recording."""

    words: int
    substitutions: int
    deletions: int
    insertions: int
    characters: int
    character_errors: int

    def of(self, rate: str) -> tuple[int, int]:
        """Errors, and what they are a share of."""
        word_errors = self.substitutions + self.deletions + self.insertions
        if rate == "wer":
            return word_errors, self.words
        if rate == "cer":
            return self.character_errors, self.characters
        return int(word_errors > 0), 1

    @property
    def errors(self) -> float:
        """Its own word error rate."""
        return _ratio([self.of("wer")])


def counted(said: str, heard: str) -> Counts:
    said, heard = normalised(said), normalised(heard)
    words = jiwer.process_words(said, heard)
    characters = jiwer.process_characters(said, heard)
    return Counts(
        len(said.split()),
        words.substitutions,
        words.deletions,
        words.insertions,
        len(said),
        characters.substitutions + characters.deletions + characters.insertions,
    )


class Rate(NamedTuple):
    """Shares, not per cent; a WER may be over 1. `low` and `high` hold 95 % of the draws."""

    value: float
    low: float
    high: float


def rate(counts: Sequence[Counts], name: str) -> Rate:
    """One of RATES, of all these recordings, of which there is at least one."""
    pairs = [each.of(name) for each in counts]
    draws = sorted(_ratio([pairs[at] for at in drawn]) for drawn in _draws(len(pairs)))
    return Rate(_ratio(pairs), *_interval(draws))


def summary(counts: Sequence[Counts]) -> dict[str, Any]:
    """All rates as {value, low, high}, and the sums, for JSON; {"recordings": 0} without any."""
    if not counts:
        return {"recordings": 0}
    sums = {name: sum(getattr(each, name) for each in counts) for name in asdict(counts[0])}
    return {"recordings": len(counts)} | sums | {name: rate(counts, name)._asdict() for name in RATES}


class Difference(NamedTuple):
    """How much higher the second's rate is than the first's, of `recordings` that both have.

    `worse`: the share of draws in which it is higher; 0.975 and more is a regression that chance does not
    explain, 0.025 and less an improvement.
    """

    recordings: int
    first: float
    second: float
    value: float
    low: float
    high: float
    worse: float


def difference(first: Sequence[Counts], second: Sequence[Counts], name: str = "wer") -> Difference:
    """Paired: the same recordings in the same order, at least one, drawn together."""
    ours, theirs = [each.of(name) for each in first], [each.of(name) for each in second]
    draws = sorted(
        _ratio([theirs[at] for at in drawn]) - _ratio([ours[at] for at in drawn])
        for drawn in _draws(len(ours))
    )
    before, after = _ratio(ours), _ratio(theirs)
    worse = sum(draw > 0 for draw in draws) / DRAWS
    return Difference(len(ours), before, after, after - before, *_interval(draws), worse)


def _draws(count: int) -> Iterator[list[int]]:
    chance = Random(count)  # noqa: S311 - repeatable, not secret
    return (chance.choices(range(count), k=count) for _ in range(DRAWS))


def _ratio(pairs: Sequence[tuple[int, int]]) -> float:
    """Of silence, in which nothing is to be heard, every word that is heard is an error."""
    return sum(errors for errors, _ in pairs) / (sum(units for _, units in pairs) or 1)


def _interval(ascending: Sequence[float]) -> tuple[float, float]:
    last = len(ascending) - 1
    return ascending[round(LOW * last)], ascending[round(HIGH * last)]


class Passage(NamedTuple):
    """Words in a row that are the same, `said` and `heard`, or that differ: then either may be empty."""

    said: str
    heard: str

    @property
    def is_same(self) -> bool:
        return self.said == self.heard


def passages(said: str, heard: str) -> list[Passage]:
    """Both texts, normalised, from beginning to end, as they were aligned to be counted."""
    said, heard = normalised(said), normalised(heard)
    found: list[Passage] = []
    for chunk in jiwer.process_words(said, heard).alignments[0]:
        one = " ".join(said.split()[chunk.ref_start_idx : chunk.ref_end_idx])
        other = " ".join(heard.split()[chunk.hyp_start_idx : chunk.hyp_end_idx])
        if chunk.type != "equal" and found and not found[-1].is_same:
            last = found.pop()
            one, other = f"{last.said} {one}".strip(), f"{last.heard} {other}".strip()
        found.append(Passage(one, other))
    return found
