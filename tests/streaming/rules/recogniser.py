"""A recogniser without ears: it hears words that are known, and hears them differently each time.

Each word that it gives out remembers which spoken word it comes from, which the rules do not see, so that
tests can count what was lost and what came twice, whatever the words became.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from streaming.rules.merge import Spoken

SPEECH = """
Yes. Yes. No, no, no, that is not what I asked you to do. I asked whether the parcel has arrived or not.
It has. It has arrived on the twenty third of the month, and nobody told us about it until the day after
that. The the order number is four four four seven seven one. Four four four seven seven one. Thank you
very much. We choose to go to the moon in this decade and do the other things, not because they are
easy, but because they are hard, because that goal will serve to organize and measure the best of our
energies and skills. Okay. Okay. So what you are saying is that it was there all along and all along
nobody looked? Well well well. Yes. I am. I am saying that, and I am saying that you have to pay for it.
And to pay for it in full. And in time. Goodbye.
""".split()  # noqa: SIM905  (a list of 200 would not be read)


@dataclass(frozen=True, slots=True)
class Heard:
    """A word as it was heard, and which of the spoken words it comes from."""

    word: Spoken
    origin: int


@dataclass(frozen=True, slots=True)
class Window:
    """What a result says of [start, end)."""

    start: float
    end: float
    heard: tuple[Heard, ...]

    @property
    def words(self) -> list[Spoken]:
        return [heard.word for heard in self.heard]


def speech(chance: random.Random, *, seconds: float) -> list[Spoken]:
    """Words of some speech, one after the other: sentences with pauses, phrases with hardly any."""
    at = chance.randrange(len(SPEECH))
    now, words = chance.uniform(0.0, 1.0), list[Spoken]()
    while now < seconds:
        text = SPEECH[at % len(SPEECH)]
        length = 0.1 + 0.05 * len(text.strip(".,?")) * chance.uniform(0.7, 1.5)
        words.append(Spoken(text, now, now + length))
        pause = chance.uniform(0.3, 1.5) if text[-1] in ".?" else chance.choice([0.0, 0.0, 0.02, 0.1, 0.2])
        now += length + pause
        at += 1
    return words


@dataclass(frozen=True, slots=True)
class Recogniser:
    """`noise` 0 hears what was said. 1 moves words by up to 0.3 s, hears every tenth as another and every
    25th as two, each time anew.
    """

    said: Sequence[Spoken]
    noise: float = 0.0

    def listen(
        self, chance: random.Random, base: float, until: float, *, finalize: float | None = None
    ) -> tuple[list[Window], Window]:
        """The final results of a connection that hears [base, until), and what it would say next.

        Finals end after some seconds, wherever a word ends; and at `finalize`, if told to.
        """
        windows, heard, start, length = list[Window](), list[Heard](), base, chance.uniform(1.0, 5.0)
        for origin, word in enumerate(self.said):
            if word.end <= base or word.end > until:
                continue
            if finalize is not None and start < finalize <= word.start:
                windows.append(Window(start, finalize, _in_order(heard)))
                start, heard = finalize, []
            if word.start >= base:
                heard += self._hear(chance, word, origin)
            elif word.middle > base and chance.random() < 0.5:  # else what is left of it is no word
                heard.append(Heard(Spoken(word.text[len(word.text) // 2 :], base, word.end), origin))
            following = self.said[origin + 1].start if origin + 1 < len(self.said) else until
            ended = word.end + chance.uniform(0.0, following - word.end)
            if finalize is not None and start < finalize:
                ended = min(ended, finalize)
            if (following - word.end > 0.4 or ended - start > length) and ended < until:
                windows.append(Window(start, ended, _in_order(heard)))
                start, heard, length = ended, [], chance.uniform(1.0, 5.0)
        rest = Window(start, until, _in_order(heard))
        return ([*windows, rest], rest) if until >= self.said[-1].end else (windows, rest)

    def _hear(self, chance: random.Random, word: Spoken, origin: int) -> list[Heard]:
        if not self.noise:
            return [Heard(word, origin)]
        start = word.start + self.noise * chance.uniform(-0.3, 0.3)
        end = max(start + 0.02, word.end + self.noise * chance.uniform(-0.3, 0.3))
        text, dice = word.text, chance.random()
        if dice < 0.06 * self.noise:
            text = chance.choice(SPEECH)
        elif dice < 0.1 * self.noise:
            text = text[:-1] or "a"
        elif dice < 0.14 * self.noise and len(text) > 3:
            cut, middle = chance.randrange(1, len(text) - 1), (start + end) / 2
            return [
                Heard(Spoken(text[:cut], start, middle), origin),
                Heard(Spoken(text[cut:], middle, end), origin),
            ]
        return [Heard(Spoken(text, start, end), origin)]


def _in_order(heard: list[Heard]) -> tuple[Heard, ...]:
    """Words keep their order whatever becomes of their times, as they do in every recogniser."""
    starts = sorted(each.word.start for each in heard)
    ends = sorted(each.word.end for each in heard)
    return tuple(
        Heard(Spoken(each.word.text, start, max(start, end)), each.origin)
        for each, start, end in zip(heard, starts, ends, strict=True)
    )
