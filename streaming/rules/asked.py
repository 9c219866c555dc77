"""What the client has asked of the provider, so that a later connection can be asked again."""

from __future__ import annotations

from collections.abc import Iterator

from streaming.rules.feed import CLOSE_STREAM, Control

_EDGE = 0.1  # seconds: as near as an answer is to where it was asked for
_MOST_UNANSWERED = 5  # not every Finalize is answered


class Asked:
    """False if nothing waits for its answer but, perhaps, a Configure."""

    def __init__(self) -> None:
        self._unanswered: list[Control] = []
        self._configure: str | None = None
        self._configure_is_answered = True

    def __bool__(self) -> bool:
        return bool(self._unanswered)

    def finalize(self, asked: Control) -> None:
        self._unanswered = [*self._unanswered[1 - _MOST_UNANSWERED :], asked]

    def close(self, asked: Control) -> None:
        self._unanswered.append(asked)

    def configure(self, text: str) -> None:
        self._configure, self._configure_is_answered = text, False

    def again(self) -> Iterator[Control]:
        """For a connection that knows of nothing yet."""
        if self._configure is not None:
            yield Control(0.0, self._configure)
        yield from self._unanswered

    def finalized(self) -> None:
        """The first Finalize was answered."""
        for asked in self._finalizes():
            self._unanswered.remove(asked)
            return

    def configured(self) -> bool:
        """A Configure was answered; whether that is for the client: to one that was sent again, it is not."""
        is_first, self._configure_is_answered = not self._configure_is_answered, True
        return is_first

    def is_within(self, start: float, end: float) -> bool:
        """Whether a Finalize was asked for in this window."""
        return any(start - _EDGE <= asked.at <= end + _EDGE for asked in self._finalizes())

    def _finalizes(self) -> list[Control]:
        return [asked for asked in self._unanswered if asked.text != CLOSE_STREAM]
