"""A recogniser that errs, for trying out what has to do with one that does. Pure.

Words are substituted, split at a syllable and timed wrongly, and windows are cut elsewhere. What happens to a
word hangs on the seed and on when in its stream it is said: a stream that is sent again unchanged errs again
as before, and what is sent again from elsewhere is heard differently, as by a real recogniser.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sandbox.engines.tones import SYLLABLES, word_of
from sandbox.faults import BadFault
from sandbox.live.segments import Ear
from sandbox.transcript import Word

BLOCK_SECONDS = 2.0
"""Words of one block are timed wrongly alike, but for a third of the error."""
SHORTEST_WINDOW = 0.4
"""Of the length that windows have without noise."""


@dataclass(frozen=True)
class Noise:
    """Shares of words that are substituted or split, and the seconds by which they are timed wrongly."""

    seed: int = 0
    substitutions: float = 0.03
    splits: float = 0.03
    shift: float = 0.3

    @classmethod
    def read(cls, content: Any) -> "Noise | None":
        """From an object with any of the fields, or None. Raises BadFault."""
        if content is None:
            return None
        try:
            noise = cls(**content)
            in_range = 0 <= noise.substitutions <= 1 and 0 <= noise.splits <= 1 and 0 <= noise.shift <= 1
        except TypeError:
            in_range = False
        if not in_range:
            raise BadFault("noise has a seed, and from 0 to 1 substitutions, splits and shift")
        return noise

    def rng(self, *what: object) -> random.Random:
        return random.Random(f"{self.seed} {what}")  # noqa: S311 - it has to repeat itself


class NoisyEar:
    """What `ear` hears, with errors. Times stay in order, and within what was heard."""

    def __init__(self, ear: Ear, noise: Noise) -> None:
        self._ear = ear
        self._noise = noise
        self.slow = ear.slow
        self.hangover_seconds = ear.hangover_seconds
        self._forgotten = 0.0

    @property
    def now(self) -> float:
        return self._ear.now

    def hear(self, pcm: bytes) -> list[tuple[float, bool]]:
        return self._ear.hear(pcm)

    def window_seconds(self, start: float) -> float:
        longest = self._ear.window_seconds(start)
        return self._noise.rng("window", round(start, 2)).uniform(SHORTEST_WINDOW * longest, longest)

    def cut(self, at: float, within: float) -> float:
        return self._ear.cut(at, within)

    def words(self, until: float) -> list[Word]:
        words: list[Word] = []
        earliest = self._forgotten
        for word in self._ear.words(until):
            for heard in self._misheard(word):
                start = min(max(heard.start, earliest), until)
                end = min(max(heard.end, start), until)
                words.append(replace(heard, start=start, end=end))
                earliest = end
        return words

    def forget(self, until: float) -> None:
        self._ear.forget(until)
        self._forgotten = until

    def flush(self) -> None:
        self._ear.flush()

    def _misheard(self, word: Word) -> Iterator[Word]:
        rng = self._noise.rng(round(word.start, 2), word.bare)
        block = self._noise.rng("block", word.start // BLOCK_SECONDS)
        shift = self._noise.shift * (block.uniform(-2, 2) + rng.uniform(-1, 1)) / 3
        word = replace(word, start=word.start + shift, end=word.end + shift)
        draw = rng.random()
        if draw < self._noise.substitutions:
            # One of three syllables: what was said has two, as long as it is less than 6,400 words.
            yield replace(word, text=word_of(rng.randrange(len(SYLLABLES) ** 2, len(SYLLABLES) ** 3)))
        elif draw < self._noise.substitutions + self._noise.splits:
            middle = (word.start + word.end) / 2
            yield replace(word, text=word.text[:2], end=middle)
            yield replace(word, text=word.text[2:], start=middle)
        else:
            yield word
