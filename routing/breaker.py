"""Circuit breakers: a region that says no to everybody is left alone for a while, by all processes.

A rate limit (429) and a refused key (401, 402, 403) are no fault of the job that meets them, and the next job
would meet them too. So the breaker opens: nothing is claimed for the region. When its time is over it is
half-open: one call a second is let through, and the first that succeeds closes it.

What is known is kept in the store (routing/coordination.py). A process that was told "closed" believes it for
BELIEVED_SECONDS, so that a healthy region costs next to nothing, and leaves its region alone within that time
after another has opened the breaker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from time import monotonic

from routing.coordination import Admission, Store, store

PROBE_EVERY_SECONDS = 1.0
BELIEVED_SECONDS = 0.5


class Breaker:
    """What this process knows of a region's breaker. Thread-safe."""

    def __init__(self, region: str, kept: Store, clock: Callable[[], float] = monotonic) -> None:
        self._region = region
        self._store = kept
        self._clock = clock
        self._changed = threading.Lock()
        self._told = Admission(True)
        self._believed_until = 0.0

    def open(self, seconds: float) -> None:
        """Let nothing through for `seconds`."""
        self._store.open(self._region, seconds)
        self._believe(Admission(False), min(seconds, BELIEVED_SECONDS))

    def admits(self) -> bool:
        """Whether a call may be made now. Half-open, whoever is told yes is the probe."""
        if self._clock() < self._believed_until:
            return self._told.admitted
        told = self._store.admits(self._region, PROBE_EVERY_SECONDS)
        if told.is_probe:
            self._believe(Admission(False), PROBE_EVERY_SECONDS)
        else:
            self._believe(told, min(told.retry_in or BELIEVED_SECONDS, BELIEVED_SECONDS))
        return told.admitted

    def succeeded(self, began_at: float) -> None:
        """A call that began then has succeeded. One from before the breaker opened proves nothing."""
        if not self._told.admitted:
            self._store.succeeded(self._region, self._clock() - began_at)
            self._believed_until = 0.0

    def _believe(self, told: Admission, seconds: float) -> None:
        with self._changed:
            self._told = told
            self._believed_until = self._clock() + seconds


@cache
def breaker_of(region: str) -> Breaker:
    return Breaker(region, store())
