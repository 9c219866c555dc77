"""How fast audio goes to the provider, and how fast it may come from the client.

Deepgram asks for no more than 1.25 times real time. What is behind catches up at that rate; what comes as it
is spoken passes at once.
"""

from __future__ import annotations

MOST_RATE = 1.25
PIECE = 0.25  # seconds: the longest message of Deepgram's advice

_BURST = 1.0  # seconds of audio that may come at once: a network that stood still for a moment
_MOST_AHEAD = 5.0  # seconds that a client may be ahead of real time before it has to wait
_AGAIN = 2.5  # and at which it may go on


class Pace:
    """Whether audio may be sent now (the generic cell rate algorithm: one number)."""

    def __init__(self) -> None:
        self._due = float("-inf")

    def hold_back(self, now: float) -> None:
        """A connection has begun with audio that has waited for it: no burst on top."""
        self._due = now + _BURST

    def wait(self, now: float) -> float:
        """Seconds until something may be sent."""
        return max(0.0, self._due - _BURST - now)

    def spend(self, seconds: float, now: float) -> None:
        self._due = max(self._due, now) + seconds / MOST_RATE

    def admits(self, seconds: float, now: float) -> bool:
        """Spend, if these seconds may go at once."""
        if self._due - _BURST > now or seconds > 2 * PIECE:
            return False
        self.spend(seconds, now)
        return True


class Inflow:
    """Whether the client sends faster than anybody speaks: what is ahead would only lie in memory."""

    def __init__(self, now: float, *, allowance: float = 0.0) -> None:
        """`allowance`: seconds of audio that may come at once on top, from a client that has saved it up."""
        self._began = now
        self._most = _MOST_AHEAD + allowance
        self._again = _AGAIN + allowance

    def is_ahead(self, seconds: float, now: float) -> bool:
        """Whether a client that has sent so many seconds since it began has to wait."""
        return seconds > self._most + (now - self._began) * MOST_RATE

    def may_go_on_at(self, seconds: float) -> float:
        """The instant at which it may send again."""
        return self._began + max(0.0, seconds - self._again) / MOST_RATE

    def spoken(self, seconds: float, now: float) -> float:
        """How much of it can have been spoken by now."""
        return min(seconds, now - self._began)
