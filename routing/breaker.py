"""Circuit breakers: a region that says no to everybody is left alone for a while.

A rate limit (429) and a refused key (401, 402, 403) are no fault of the job that meets them, and the next job
would meet them too. So the breaker opens: nothing is claimed for the region. When its time is over it is
half-open: one call a second is let through, and the first that succeeds closes it.

Each process has its own.
"""

import threading
from collections.abc import Callable
from functools import cache
from time import monotonic

PROBE_EVERY_SECONDS = 1.0


class Breaker:
    """Closed, open until an instant, then half-open. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._changed = threading.Lock()
        self._opened_at = 0.0
        self._next_probe_at: float | None = None

    def open(self, seconds: float) -> None:
        """Let nothing through for `seconds`."""
        with self._changed:
            self._opened_at = self._clock()
            self._next_probe_at = max(self._next_probe_at or 0.0, self._opened_at + seconds)

    def admits(self) -> bool:
        """Whether a call may be made now. Half-open, whoever is told yes is the probe."""
        with self._changed:
            if self._next_probe_at is None:
                return True
            if self._clock() < self._next_probe_at:
                return False
            self._next_probe_at = self._clock() + PROBE_EVERY_SECONDS
            return True

    def succeeded(self, began_at: float) -> None:
        """A call that began then has succeeded. One from before the breaker opened proves nothing."""
        if self._next_probe_at is not None and began_at > self._opened_at:
            with self._changed:
                self._next_probe_at = None


@cache
def breaker_of(region: str) -> Breaker:
    """This process's breaker of the region."""
    return Breaker()
