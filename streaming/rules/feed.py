"""What goes to the provider: audio at the log's cursor, as fast as allowed, and controls in their places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streaming.rules.actions import Action, SendAudio, SendText
from streaming.rules.audio_log import AudioLog
from streaming.rules.pacing import PIECE, Pace

CLOSE_STREAM = '{"type":"CloseStream"}'

_MOST_CONTROLS = 100
_CLOSE_ENOUGH = 1e-3  # seconds: less than any frame that is sent alone


@dataclass(slots=True)
class Control:
    """A text message that has its place in the audio: after second `at`."""

    at: float
    text: str


class Feed:
    """Goes to one connection after the other. `sent_at`: the instant at which something was sent last."""

    def __init__(self, log: AudioLog) -> None:
        self.log = log
        self.sent_at = 0.0
        self._pace = Pace()
        self._controls: list[Control] = []

    @property
    def is_done(self) -> bool:
        """Whether all that came has been sent, and nothing is to be said at a later place."""
        return self.log.is_taken and not self._controls

    @property
    def has_controls(self) -> bool:
        return bool(self._controls)

    @property
    def is_full(self) -> bool:
        """Whether as many controls wait for their places as may."""
        return len(self._controls) >= _MOST_CONTROLS

    def passes(self, seconds: float, now: float) -> bool:
        """Whether the last message may go on as it came, nothing waiting before it; then it is sent."""
        if not self._pace.admits(seconds, now):
            return False
        self.log.skip()
        self.sent_at = now
        return True

    def begin_again(self, at: float, now: float) -> float:
        """Another connection begins, at this second or the nearest place before; without any controls."""
        self._controls.clear()
        self._pace.hold_back(now)
        self.sent_at = now
        return self.log.rewind(at)

    def stop(self) -> None:
        """There is no connection."""
        self._controls.clear()

    def add(self, control: Control) -> None:
        self._controls.append(control)
        self._controls.sort(key=lambda each: each.at)

    def pump(self, now: float) -> Iterator[Action]:
        """Send what may be sent now."""
        while True:
            if self._controls and self._controls[0].at <= self.log.cursor + _CLOSE_ENOUGH:
                control = self._controls.pop(0)
                if control.text == CLOSE_STREAM:
                    self._controls.clear()
                yield SendText(control.text)
                self.sent_at = now
                continue
            if self.log.is_taken or self._pace.wait(now) > 0:
                return
            before = self.log.cursor
            piece = self.log.take(min(PIECE, self._controls[0].at - before) if self._controls else PIECE)
            self._pace.spend(self.log.cursor - before, now)
            if piece:
                yield SendAudio(piece)
                self.sent_at = now

    def due_at(self, now: float) -> float:
        """When there will be more to send."""
        return float("inf") if self.log.is_taken else now + self._pace.wait(now)
