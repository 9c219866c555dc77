"""Circuit breakers: a provider that fails everybody is left alone for a while, by all processes.

Closed, calls are made. Open, none is: nothing is claimed for the region, and new work goes elsewhere. When
its time is over it is half-open: one call at a time is let through, and the first that succeeds closes it.
Two things open one:

- Of the last ten calls five have failed within 30 s (no connection, no answer, 5xx): for 5 s, and each time
  that the call which is let through then fails for twice as long, up to 30 s.
- A rate limit (429) or a refused key (401, 402, 403), which the next call would be told as well: for as long
  as the provider asks for, or as the job waits.

Recordings and live audio have one each, since either may fail alone. What is known is kept in the store
(routing/coordination.py). A process that was told "closed" believes it for BELIEVED_SECONDS, and tells of
calls that succeed only while others fail, so that a healthy region costs next to nothing; it leaves one alone
within that time after another process has opened the breaker. With the store down each goes by what it saw.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from time import monotonic

from routing.coordination import Admission, State, Store, Tripping, store
from routing.limits import Kind
from routing.trust import Pace, came_back

# For a call that is let through to come to something, before another is.
PROBE_HOLD_SECONDS = 15.0
BELIEVED_SECONDS = 0.5
TRIPPING = Tripping()


class Breaker:
    """What this process knows of a region's breaker. Thread-safe."""

    def __init__(
        self, region: str, kept: Store, clock: Callable[[], float] = monotonic, *, live: bool = False
    ) -> None:
        self._region = region
        self._name = f"{region} live" if live else region
        self._kind = Kind.LIVE if live else Kind.RECORDINGS
        self._pace = Pace(region, self._kind, kept, clock)
        self._store = kept
        self._clock = clock
        self._changed = threading.Lock()
        self._told = Admission(True)
        self._believed_until = 0.0

    def open(self, seconds: float) -> None:
        """Let nothing through for `seconds`."""
        self._store.open(self._name, seconds)
        self._believe(Admission(False), min(seconds, BELIEVED_SECONDS))

    def admits(self) -> bool:
        """Whether a call may be made now. Half-open, whoever is told yes is the one."""
        if self._clock() < self._believed_until:
            return self._told.admitted
        told = self._store.admits(self._name, PROBE_HOLD_SECONDS)
        if told.is_probe:
            # To all others here.
            self._believe(Admission(False, is_probe=True), PROBE_HOLD_SECONDS)
        else:
            self._believe(told, min(told.retry_in or BELIEVED_SECONDS, BELIEVED_SECONDS))
        return told.admitted

    def returned(self) -> None:
        """Whoever was told yes has made no call after all."""
        # Of those whom it let through before it opened, that says nothing.
        if self._told.is_probe:
            self._store.returned(self._name)
            self._believe(Admission(False), 0.0)

    @property
    def is_calm(self) -> bool:
        """Whether it is closed and no call has failed of late: nobody is told of a timely success."""
        return self._told.admitted and not self._told.is_troubled

    def succeeded(self, began_at: float, at_most: float | None = None) -> None:
        """A call that began then has succeeded. One from before the breaker opened proves nothing.

        `at_most`: the seconds that it should have taken.
        """
        if at_most is not None:
            self._pace.took(self._clock() - began_at, at_most)
        if self.is_calm:
            return
        if self._store.succeeded(self._name, self._clock() - began_at):
            came_back(self._store, self._region, self._kind)
        if not self._told.admitted:
            self._believe(Admission(False), 0.0)

    def failed(self, began_at: float) -> None:
        """A call that began then has failed, in a way that says nothing about what was asked."""
        self._store.failed(self._name, self._clock() - began_at, TRIPPING)
        self._believe(Admission(self._told.admitted, is_troubled=True), 0.0)

    def state(self) -> State:
        return self._store.state(self._name)

    def _believe(self, told: Admission, seconds: float) -> None:
        with self._changed:
            self._told = told
            self._believed_until = self._clock() + seconds


@cache
def breaker_of(region: str, *, live: bool = False) -> Breaker:
    return Breaker(region, store(), live=live)
