"""When a live stream says what: interim results, finals, ends of speech. Pure.

A channel's audio is cut into windows that touch each other. A window is open until a final closes it: at the
end of speech (endpointing), when it has become long, or because the client asks for it. Everything is decided
by the audio's time alone, so that the size of the messages that the audio comes in changes nothing.
"""

from dataclasses import dataclass
from typing import Protocol

from sandbox.transcript import Word

NEVER = float("inf")
INTERIM_SECONDS = 1.0
CUT_WITHIN = 3.0
"""A window that has become long is closed in its last so many seconds."""


class Ear(Protocol):
    """What an engine does with one channel of a stream. Times are seconds from the start of the stream."""

    slow: bool
    """Whether words() takes so long that nobody should wait for it."""
    hangover_seconds: float
    """Shorter silences are no end of speech, whatever `endpointing` says."""

    @property
    def now(self) -> float:
        """How much was heard."""

    def window_seconds(self, start: float) -> float:
        """A window that begins there is closed between two words when it becomes longer."""

    def hear(self, pcm: bytes) -> list[tuple[float, bool]]:
        """Takes in 16-bit samples. The instants at which sound began (True) or ended (False), in order."""

    def cut(self, at: float, within: float) -> float:
        """Where a window may be closed: at `at`, or at most `within` before it rather than in mid-word."""

    def words(self, until: float) -> list[Word]:
        """Those that were heard out by then, since the last forget()."""

    def forget(self, until: float) -> None:
        """A final has told of all that was before."""

    def flush(self) -> None:
        """Takes the sound that goes on as ended: nothing more comes."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    at: float


@dataclass(frozen=True, slots=True)
class Window:
    """Results for `start` to `end`. What is not final is said again, with more, by later ones."""

    start: float
    end: float
    utterance: int
    """How many utterances ended before."""
    is_final: bool
    speech_final: bool = False
    from_finalize: bool = False


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """Nobody has spoken for `utterance_end_ms`."""


Event = SpeechStarted | Window | UtteranceEnded


class Segments:
    """One channel. `endpointing` and `utterance_end` are seconds of silence, None for never."""

    def __init__(self, ear: Ear, endpointing: float | None, utterance_end: float | None) -> None:
        self._ear = ear
        self._window_ends = ear.window_seconds(0.0)
        self._endpointing = NEVER if endpointing is None else max(endpointing, ear.hangover_seconds)
        self._utterance_end = NEVER if utterance_end is None else utterance_end
        self._start = 0.0
        self._interim_at = INTERIM_SECONDS
        self._quiet_since: float | None = 0.0
        """None while there is sound."""
        self._speaking = False
        """There was sound since speech last ended (speech_final)."""
        self._uttering = False
        """There was sound since the last UtteranceEnded."""
        self._utterances = 0

    def hear(self, pcm: bytes) -> list[Event]:
        events: list[Event] = []
        for at, loud in self._ear.hear(pcm):
            self._advance(at, events)
            if loud:
                paused = (
                    self._quiet_since is not None and at - self._quiet_since >= self._ear.hangover_seconds
                )
                if paused or not self._speaking:
                    events.append(SpeechStarted(at))
                self._quiet_since = None
                self._speaking = self._uttering = True
            else:
                self._quiet_since = at
        self._advance(self._ear.now, events)
        return events

    def finalize(self) -> Window:
        """All that was said, but for a word in the middle of which Finalize came: that one stays whole."""
        return self._close(max(self._start, self._ear.cut(self._ear.now, 0.0)), from_finalize=True)

    def finish(self) -> Window | None:
        """The last final, None if there is nothing left to tell."""
        self._ear.flush()
        return self._close(self._ear.now) if self._ear.now > self._start else None

    def _advance(self, now: float, events: list[Event]) -> None:
        """What falls due up to `now`, in order."""
        while True:
            speech_ends = utterance_ends = NEVER
            if self._quiet_since is not None:
                if self._speaking:
                    speech_ends = self._quiet_since + self._endpointing
                if self._uttering:
                    utterance_ends = self._quiet_since + self._utterance_end
            due = min(speech_ends, utterance_ends, self._window_ends, self._interim_at)
            if due > now:
                return
            if due == speech_ends:
                events.append(self._close(due, speech_final=True))
                self._speaking = False
                self._utterances += 1
            elif due == utterance_ends:
                if self._quiet_since is not None and self._quiet_since > self._start:
                    events.append(self._close(due))
                events.append(UtteranceEnded())
                self._uttering = False
            elif due == self._window_ends:
                events.append(self._close(self._ear.cut(due, CUT_WITHIN)))
            else:
                events.append(Window(self._start, due, self._utterances, is_final=False))
                self._interim_at += INTERIM_SECONDS

    def _close(self, end: float, *, speech_final: bool = False, from_finalize: bool = False) -> Window:
        window = Window(self._start, end, self._utterances, True, speech_final, from_finalize)
        self._start = end
        self._interim_at = end + INTERIM_SECONDS
        self._window_ends = end + self._ear.window_seconds(end)
        return window
