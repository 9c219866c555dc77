"""What is heard on one channel, as messages."""

from typing import Any

from sandbox.live.results import Messages
from sandbox.live.segments import Ear, Event, Segments, SpeechStarted, UtteranceEnded, Window
from sandbox.query import LiveOptions


class Channel:
    """hear(), finalize() and finish() say what there is to tell(), one after the other."""

    def __init__(self, number: int, ear: Ear, options: LiveOptions, messages: Messages) -> None:
        self._number = number
        self._ear = ear
        self._options = options
        self._messages = messages
        self._segments = Segments(ear, options.endpointing, options.utterance_end)
        self._last_word_end = self._told_word_end = 0.0

    def hear(self, pcm: bytes) -> list[Event]:
        return self._segments.hear(pcm)

    def finalize(self) -> Event:
        return self._segments.finalize()

    def finish(self) -> list[Event]:
        window = self._segments.finish()
        return [] if window is None else [window]

    def tell(self, event: Event) -> dict[str, Any] | None:
        """The message for it, None where the client did not ask for such. Blocks while the ear recognises."""
        match event:
            case Window() if event.is_final or self._options.interim_results:
                return self._results(event)
            case SpeechStarted() if self._options.vad_events:
                return self._messages.speech_started(self._number, event.at)
            case UtteranceEnded() if self._last_word_end > self._told_word_end:
                self._told_word_end = self._last_word_end
                return self._messages.utterance_end(self._number, self._last_word_end)
        return None

    def _results(self, window: Window) -> dict[str, Any]:
        words = self._ear.words(window.end)
        if words:
            self._last_word_end = words[-1].end
        if window.is_final:
            self._ear.forget(window.end)
        return self._messages.results(self._number, window, words)
