"""What an engine answers: words in time. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

NEAR_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Word:
    """One word as written, with case and punctuation. Seconds from the start of the recording."""

    text: str
    start: float
    end: float
    confidence: float
    speaker: int = 0

    @property
    def bare(self) -> str:
        """The word as Deepgram gives it without formatting: lower case, no punctuation around it."""
        if self.text.isalpha():  # Most are, and this costs a tenth.
            return self.text.lower()
        return re.sub(r"^\W+|\W+$", "", self.text).lower() or self.text.lower()


def spread(text: str, stretches: Sequence[tuple[float, float]], confidence: float) -> list[Word]:
    """Places the words of `text` on the `stretches` (start, end) in which somebody speaks, by their length.

    An estimate, for recognisers that time a passage but not its words: a word takes the share of the spoken
    time that its letters are of all letters; where a word ends near a pause, it ends at the pause. No word
    begins in a pause; one may run across a pause.
    """
    texts = text.split()
    letters = sum(len(word) + 1 for word in texts)
    lengths = [end - start for start, end in stretches]
    spoken = sum(lengths)
    if not texts or spoken <= 0:
        return []

    ends = [spoken * done / letters for done in accumulate(len(word) + 1 for word in texts)]
    for pause in list(accumulate(lengths))[:-1]:
        nearest = min(range(len(ends) - 1), key=lambda index: abs(ends[index] - pause), default=None)
        if nearest is not None and abs(ends[nearest] - pause) <= NEAR_SECONDS:
            ends[nearest] = pause
    return [
        Word(word, _at(stretches, start, opening=True), _at(stretches, end, opening=False), confidence)
        for word, start, end in zip(texts, [0.0, *ends], ends, strict=False)
    ]


def _at(stretches: Sequence[tuple[float, float]], spoken: float, *, opening: bool) -> float:
    """The instant at which `spoken` seconds were spoken; on a boundary, the end of this stretch or, when
    `opening`, the start of the next."""
    for start, end in stretches:
        length = end - start
        # Shares are sums of floats: without a tolerance a word may open at the very end of a stretch.
        if spoken < length - 1e-6 or (not opening and spoken <= length + 1e-6):
            return min(start + spoken, end)
        spoken -= length
    return stretches[-1][1]


def occurrences(words: Sequence[Word], phrase: str) -> list[int]:
    """The indices at which `phrase` begins, compared without case and punctuation; they do not overlap."""
    wanted = [Word(text, 0, 0, 0).bare for text in phrase.split()]
    found, index = [], 0
    while wanted and index + len(wanted) <= len(words):
        if [word.bare for word in words[index : index + len(wanted)]] == wanted:
            found.append(index)
            index += len(wanted)
        else:
            index += 1
    return found


def substituted(words: Sequence[Word], phrase: str, replacement: str) -> list[Word]:
    """`words` with each `phrase` replaced; the replacement takes its time, an empty one removes it."""
    result: list[Word] = []
    index, length = 0, len(phrase.split())
    for start in occurrences(words, phrase):
        result += words[index:start]
        index = start + length
        if replacement:
            last = words[index - 1]
            result.append(replace(words[start], text=replacement + _punctuation(last), end=last.end))
    return [*result, *words[index:]]


def respelled(words: Sequence[Word], phrase: str) -> list[Word]:
    """`words` with each `phrase` spelt as it is given, case included."""
    result = list(words)
    for start in occurrences(words, phrase):
        for index, text in enumerate(phrase.split(), start):
            result[index] = replace(words[index], text=text + _punctuation(words[index]))
    return result


def _punctuation(word: Word) -> str:
    return word.text[len(word.text.rstrip(".,;:!?")) :]


def redacted(words: Sequence[Word]) -> list[Word]:
    """`words` with each digit starred: what the sandbox makes of every kind of redaction."""
    return [replace(word, text=re.sub(r"\d", "*", word.text)) for word in words]
