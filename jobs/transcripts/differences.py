"""What one version of a transcript says otherwise than another, and which words that taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from jobs.transcripts.exports import joined, shown
from jobs.transcripts.results import Word

CONTEXT_WORDS = 4
# Longer passages were rewritten, and are no term.
TERM_WORDS = 4
TERM_CHARACTERS = 60


class Change(NamedTuple):
    """`before` became `after`, at `start` seconds; `leading` and `trailing` are what stands around it."""

    start: float
    leading: str
    before: str
    after: str
    trailing: str


def changes(before: Sequence[Word], after: Sequence[Word]) -> list[Change]:
    """In the order of the audio; both versions' words are in theirs."""
    found = []
    for i, j, k, m in _different(before, after):
        at = after[k] if k < len(after) else before[min(i, len(before) - 1)]
        found.append(
            Change(
                before[i]["start"] if i < j else at["start"],
                joined(after[max(k - CONTEXT_WORDS, 0) : k]),
                joined(before[i:j]),
                joined(after[k:m]),
                joined(after[m : m + CONTEXT_WORDS]),
            )
        )
    return found


def new_terms(before: Sequence[Word], after: Sequence[Word]) -> list[str]:
    """What the corrections wrote that was nowhere heard, the most frequent first: names, jargon."""
    heard = {word["word"].lower() for word in before}
    terms: Counter[str] = Counter()
    for i, j, k, m in _different(before, after):
        written = list(after[k:m])
        if i == j or not 0 < len(written) <= TERM_WORDS:
            continue
        # At either end what was there before, in some other place: articles, and the like.
        while written and written[0]["word"] in heard:
            del written[0]
        while written and written[-1]["word"] in heard:
            del written[-1]
        term = joined(written).strip("\"'“”‘’.,;:!?()")  # noqa: RUF001
        if 2 < len(term) <= TERM_CHARACTERS:
            terms[term] += 1
    return [term for term, _ in terms.most_common()]


def _different(before: Sequence[Word], after: Sequence[Word]) -> Iterator[tuple[int, int, int, int]]:
    """Stretches of both, as difflib has them, that are not the same.

    Corrections leave the times of all other words alone, which so are found at once; the rest is compared by
    what is written.
    """
    timed = SequenceMatcher(None, list(map(_timed, before)), list(map(_timed, after)), autojunk=False)
    for kind, i, j, k, m in timed.get_opcodes():
        if kind == "equal":
            continue
        texts = SequenceMatcher(None, list(map(shown, before[i:j])), list(map(shown, after[k:m])))
        for inner, a, b, c, d in texts.get_opcodes():
            if inner != "equal":
                yield i + a, i + b, k + c, k + d


def _timed(word: Word) -> tuple[str, float, int]:
    return shown(word), word["start"], word.get("channel", 0)
