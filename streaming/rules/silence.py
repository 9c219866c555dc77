"""When a provider that says nothing hangs."""

from __future__ import annotations

_WITH_INTERIMS = 8.0  # seconds of audio sent, and of time, without a word of the provider's
_WITHOUT = 30.0


class Silence:
    """The provider's, since it spoke last. Each time that it was too long, the next may be twice as long."""

    def __init__(self, *, has_interims: bool) -> None:
        self._longest = _WITH_INTERIMS if has_interims else _WITHOUT
        self._patience = 1.0
        self._since = 0.0
        self._cursor = 0.0

    @property
    def due_at(self) -> float:
        """Before then it is not too long."""
        return self._since + self._longest * self._patience

    def ends(self, now: float, cursor: float) -> None:
        """The provider speaks, or begins to listen; audio was sent up to second `cursor`."""
        self._since, self._cursor = now, cursor

    def is_too_long(self, now: float, cursor: float, *, is_asked_to_end: bool) -> bool:
        if now < self.due_at:
            return False
        # At the end it has an answer to give whatever it heard.
        return is_asked_to_end or cursor - self._cursor >= self._longest * self._patience

    def forgive(self) -> None:
        """It hung, and is given up: a new connection may take longer."""
        self._patience *= 2

    def expect_as_ever(self) -> None:
        """It has said something final."""
        self._patience = 1.0
