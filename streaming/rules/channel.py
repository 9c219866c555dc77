"""One channel of a live session: what has been final, and what a new connection says of it again.

All seconds are the session's.
"""

from __future__ import annotations

from collections import deque

from streaming.rules import timeline
from streaming.rules.merge import Overlap, Spoken, replay_from
from streaming.rules.messages import number, parse
from streaming.rules.timeline import Message

KEPT = 15.0
"""Seconds of final results that are kept for the alignment of a new connection."""

_FRAME = 0.05  # seconds: as precise as the ends of windows are


class Channel:
    """`mark`: the end of the last final result; nothing before it is said again."""

    def __init__(self, index: int, mark: float = 0.0) -> None:
        self.index = index
        self.mark = mark
        self.utterance_end = -1.0
        self._finals: deque[tuple[float, str]] = deque()
        self._interim: str | None = None
        self._overlap: Overlap | None = None
        self._fragment_until: float | None = None
        self.delivered_at = float("-inf")  # the instant of the last interim
        self.held_back: tuple[str, float] | None = None  # an interim that waits for its turn, and its end

    def resume(self, text: str) -> None:
        """A final result of the relay before."""
        message = parse(text)
        self.keep(text, number(message.get("start")) + number(message.get("duration")))

    def keep(self, text: str, end: float) -> None:
        """A final result has been delivered, as `text`, up to second `end`."""
        self.mark = max(self.mark, end)
        self._interim = self.held_back = None
        self._finals.append((end, text))
        while self._finals[0][0] < end - KEPT:
            self._finals.popleft()

    def expect(self, text: str) -> None:
        """An interim result. It is read only if the connection is lost."""
        self._interim = text

    def words(self) -> list[Spoken]:
        """The last final words."""
        return [word for _, text in self._finals for word in timeline.words(parse(text))]

    def replay_from(self) -> float:
        if self._fragment_until is not None:
            return self.mark
        return replay_from(self.words(), self.mark)

    def begin_again(self, base: float) -> bool:
        """A new connection begins at `base`; whether it hears again what was final already."""
        expected = timeline.words(parse(self._interim)) if self._interim is not None else []
        self._overlap = Overlap(self.words(), self.mark, base, expected)
        self._interim = self.held_back = None
        return not self._overlap.is_over

    def jump(self, to: float, edge: float) -> None:
        """Leave a hole: the next connection begins at `to`, where nothing before is known of.

        What it hears until `edge` may be the rest of a word, and is left to who fills the hole.
        """
        self.mark = to
        self._finals.clear()
        self._interim = self.held_back = None
        self._fragment_until = edge

    def cut(self, message: Message, *, is_final: bool, is_asked_for: bool) -> bool:
        """Take away from a result what was final already; whether there is anything left to be delivered.

        `is_asked_for`: the client waits for the answer to its Finalize, which counts even if it is empty.
        """
        start = number(message.get("start"))
        end = start + number(message.get("duration"))
        words = timeline.words(message)
        count = 0
        if self._overlap is not None:
            count = self._overlap.repeated(words, start, end, is_final=is_final)
            if self._overlap.is_over and is_final:
                self._overlap = None
        if self._fragment_until is not None:
            while count < len(words) and words[count].start < self._fragment_until:
                count += 1
            if is_final and end >= self._fragment_until:
                self._fragment_until = None
        is_new = end > self.mark + _FRAME or count < len(words)
        if count or start < self.mark:
            timeline.keep(message, slice(count, None), max(start, self.mark), max(end, self.mark))
        if is_new:
            return True
        if not is_final:
            return False
        flushed = message.get("from_finalize") is True
        # Its end may have been what the lost connection did not come to say.
        ends_speech = message.get("speech_final") is True and end >= self.mark - _FRAME
        return is_asked_for if flushed else ends_speech and not self._speech_was_final()

    def _speech_was_final(self) -> bool:
        return bool(self._finals) and parse(self._finals[-1][1]).get("speech_final") is True
