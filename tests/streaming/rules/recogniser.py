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

    def connect(self, chance: random.Random, base: float) -> Hearing:
        return Hearing(self, chance, base)

    def listen(
        self, chance: random.Random, base: float, until: float, *, finalize: float | None = None
    ) -> tuple[list[Window], Window]:
        """The final results of a connection that hears [base, until), and what it would say next.

        It is told to finalize when it has heard the audio up to `finalize`.
        """
        hearing, windows = self.connect(chance, base), list[Window]()
        if finalize is not None and base < finalize < until:
            windows += [*hearing.hear(finalize), hearing.finalize()]
        windows += hearing.hear(until)
        if until >= self.said[-1].end:
            windows.append(hearing.finalize())
            return windows, windows[-1]
        return windows, hearing.interim()

    def hear(self, chance: random.Random, word: Spoken, origin: int) -> list[Heard]:
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


class Hearing:
    """One connection: it began at second `base`, and hears what comes in its order."""

    def __init__(self, recogniser: Recogniser, chance: random.Random, base: float) -> None:
        self._recogniser = recogniser
        self._chance = chance
        self._base = self._start = self._now = base
        self._length = chance.uniform(1.0, 5.0)
        self._heard: list[Heard] = []
        self._ended: float | None = None  # where the window would end by itself
        self._next = next(
            (i for i, word in enumerate(recogniser.said) if word.end > base), len(recogniser.said)
        )

    def hear(self, until: float) -> list[Window]:
        """Final results, which end after some seconds, wherever a word ends."""
        windows, said = list[Window](), self._recogniser.said
        self._now = until
        while True:
            if self._ended is not None and self._ended <= until:
                windows.append(self._window(self._ended))
            if self._next >= len(said) or said[self._next].end > until:
                return windows
            if self._ended is not None:  # later than what comes next
                return windows
            word, origin = said[self._next], self._next
            self._next += 1
            if word.start >= self._base:
                self._heard += self._recogniser.hear(self._chance, word, origin)
            elif word.middle > self._base and self._chance.random() < 0.5:  # else what is left is no word
                rest = Spoken(word.text[len(word.text) // 2 :], self._base, word.end)
                self._heard.append(Heard(rest, origin))
            following = said[self._next].start if self._next < len(said) else word.end + 0.5
            ended = word.end + self._chance.uniform(0.0, following - word.end)
            if following - word.end > 0.4 or ended - self._start > self._length:
                self._ended = ended

    def finalize(self) -> Window:
        """A result of all that was heard, now."""
        return self._window(self._now)

    def interim(self) -> Window:
        return Window(self._start, self._now, _in_order(self._heard))

    def _window(self, end: float) -> Window:
        window = Window(self._start, end, _in_order(self._heard))
        self._start, self._heard, self._ended = end, [], None
        self._length = self._chance.uniform(1.0, 5.0)
        return window


def _in_order(heard: list[Heard]) -> tuple[Heard, ...]:
    """Words keep their order whatever becomes of their times, as they do in every recogniser."""
    starts = sorted(each.word.start for each in heard)
    ends = sorted(each.word.end for each in heard)
    return tuple(
        Heard(Spoken(each.word.text, start, max(start, end)), each.origin)
        for each, start, end in zip(heard, starts, ends, strict=True)
    )
