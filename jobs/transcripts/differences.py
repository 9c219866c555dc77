"""What one version of a transcript says otherwise than another, and which words that taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from difflib import SequenceMatcher
from typing import NamedTuple

from jobs.transcripts.exports import joined, shown
from jobs.transcripts.results import Word

CONTEXT_WORDS = 4
# Longer passages were rewritten, and are no term.
TERM_WORDS = 4
TERM_CHARACTERS = 60
MARKS = "\"'“”‘’.,;:!?()"  # noqa: RUF001


class Change(NamedTuple):
    """`before` became `after`, at `start` seconds; `leading` and `trailing` are what stands around it."""

    start: float
    leading: str
    before: str
    after: str
    trailing: str


def changes(before: Sequence[Word], after: Sequence[Word]) -> tuple[list[Change], list[str]]:
    """What changed, in the order of the audio, and the terms that this taught, the most frequent first.

    Terms are what was written in place of something else and was nowhere heard: names, jargon. Both versions'
    words are in the order of their start.
    """
    heard = {word["word"].lower() for word in before}
    found: list[Change] = []
    terms: Counter[str] = Counter()
    for i, j, k, m in _different(before, after):
        at = before[i] if i < j else after[k]
        found.append(
            Change(
                at["start"],
                joined(after[max(k - CONTEXT_WORDS, 0) : k]),
                joined(before[i:j]),
                joined(after[k:m]),
                joined(after[m : m + CONTEXT_WORDS]),
            )
        )
        if i < j and m - k <= TERM_WORDS and (term := _term(after[k:m], heard)):
            terms[term] += 1
    return found, [term for term, _ in terms.most_common()]


def _term(written: Sequence[Word], heard: Set[str]) -> str:
    """Without what stands at either end of it and was heard elsewhere: articles, and the like."""
    new = [at for at, word in enumerate(written) if word["word"] not in heard]
    term = joined(written[new[0] : new[-1] + 1]).strip(MARKS) if new else ""
    return term if 2 < len(term) <= TERM_CHARACTERS else ""


def _different(before: Sequence[Word], after: Sequence[Word]) -> Iterator[tuple[int, int, int, int]]:
    """Stretches of both, as difflib has them, that are not the same."""
    for i, j, k, m in _retimed(before, after):
        texts = SequenceMatcher(None, list(map(shown, before[i:j])), list(map(shown, after[k:m])))
        for kind, a, b, c, d in texts.get_opcodes():
            if kind != "equal":
                yield i + a, i + b, k + c, k + d


def _retimed(before: Sequence[Word], after: Sequence[Word]) -> Iterator[tuple[int, int, int, int]]:
    """Stretches in which no word is at its time as it was: corrections leave all others alone."""
    places = {key: at for at, key in enumerate(_timed(after))}
    i = k = 0
    for at, key in enumerate(_timed(before)):
        place = places.get(key, -1)
        if place >= k:
            if at > i or place > k:
                yield i, at, k, place
            i, k = at + 1, place + 1
    if i < len(before) or k < len(after):
        yield i, len(before), k, len(after)


def _timed(words: Sequence[Word]) -> Iterator[tuple[str, float, int, int]]:
    """What tells each word from all others: of those that take no time there may be two at once."""
    seen: Counter[tuple[str, float, int]] = Counter()
    for word in words:
        key = (shown(word), word["start"], word.get("channel", 0))
        yield (*key, seen[key])
        seen[key] += 1
