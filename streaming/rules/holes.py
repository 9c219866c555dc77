"""Stretches that were not transcribed as they were spoken, and what is put into them late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from streaming.rules import timeline
from streaming.rules.channel import Channel
from streaming.rules.merge import Spoken, fit_hole
from streaming.rules.messages import number, parse, recognise
from streaming.rules.timeline import Message

_BESIDE = 3.0  # seconds after a hole, of which the words tell where what fills it has to end
_EDGE = 0.3  # seconds: of a word that began before the connection did


@dataclass(slots=True)
class Hole:
    """No transcript from `start` (of the first channel to have none) to `end`.

    `marks` and `before`: for each channel, where its own hole begins and the last final words before.
    """

    start: float
    end: float
    marks: list[float]
    before: list[list[Spoken]]
    after: list[list[Spoken]] = field(default_factory=list)
    results: list[str] | None = None  # what fills it, once that is known

    def beside(self, channel: int, words: Sequence[Spoken]) -> None:
        """A final result of after the hole."""
        while len(self.after) <= channel:
            self.after.append([])
        self.after[channel] += [word for word in words if word.start < self.end + _BESIDE]

    def follow(self, other: Hole, channel: int, words: Sequence[Spoken]) -> None:
        """Another hole has been filled with these words, which are before this one if it is the next."""
        if other.end == self.start and channel < len(self.before):
            self.before[channel] = list(words)

    def fitted(self, text: str) -> tuple[int, Message] | None:
        """What of a result, in the session's time, belongs into the hole; and its channel."""
        message, channel = parse(text), recognise(text).channel
        if channel >= len(self.marks):
            return None
        start = self.marks[channel]
        after = self.after[channel] if channel < len(self.after) else []
        # What the next connection heard at its very beginning was not given out: it belongs to the hole.
        end = min(after[0].start, self.end + _EDGE) if after else self.end
        heard_from = number(message.get("start"))
        heard = heard_from, heard_from + number(message.get("duration"))
        part = fit_hole(self.before[channel], timeline.words(message), after, (start, end), heard)
        timeline.keep(message, part, start, max(start, end))
        return (channel, message) if timeline.words(message) else None


class Holes:
    """Those of a session into which nothing was put yet."""

    def __init__(self) -> None:
        self._open: list[Hole] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    def leave(self, start: float, end: float, channels: Sequence[Channel]) -> None:
        marks = [channel.mark for channel in channels]
        self._open.append(Hole(start, end, marks, [channel.words() for channel in channels]))

    def beside(self, channel: int, words: Sequence[Spoken]) -> None:
        """A final result of a channel."""
        for hole in self._open:
            hole.beside(channel, words)

    def fill(self, start: float, results: list[str]) -> Hole | None:
        """What was said in the hole that begins there; None if it is not open, or that is known already."""
        for hole in self._open:
            if hole.start == start and hole.results is None:
                hole.results = results
                return hole
        return None

    def fitting(self, mark: float, *, is_over: bool) -> Iterator[tuple[Hole, int, Message]]:
        """What goes into which hole and channel, once it is known how things go on after it, up to `mark`."""
        for hole in list(self._open):
            follows = any(other.end == hole.start for other in self._open)
            if hole.results is None or follows or not (is_over or mark >= hole.end + _BESIDE):
                continue
            self._open.remove(hole)
            for text in hole.results:
                if (fitted := hole.fitted(text)) is not None:
                    channel, message = fitted
                    for other in self._open:
                        other.follow(hole, channel, timeline.words(message))
                    yield hole, channel, message

    def clear(self) -> None:
        self._open.clear()
