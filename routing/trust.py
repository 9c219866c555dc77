"""Regions that work and are not to be relied on: slow ones, those that come and go, those that are just back.

A region that is distrusted is given what no other can do, for STEADY_SECONDS from the last reason for it, and
then little at first. It is slow if a process saw SLOW_CALLS of its last OF_CALLS there take too long. It
comes and goes if it has come back RETURNS times, each within STEADY_SECONDS of the one before. That stands
on its board in the store, so that processes agree, and goes by itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from routing.choice import RAMP_SECONDS, Provider
from routing.coordination import Store
from routing.limits import Kind

STEADY_SECONDS = 30.0
# A breaker is open for the longer the more often a region has gone, so that its returns become rare.
RETURNS, RETURNED_SECONDS = 3, 120.0
SLOW_CALLS, OF_CALLS, COUNTED_SECONDS = 5, 20, 120.0
# Stands on the region's board for as long as it is given less than its share.
RECOVERED = "recovered"
DISTRUSTED = "distrusted "


class Pace:
    """Whether a region's calls take too long, as this process sees it. Thread-safe."""

    def __init__(self, region: str, kind: Kind, kept: Store, clock: Callable[[], float] = monotonic) -> None:
        self._region = region
        self._kind = kind
        self._store = kept
        self._clock = clock
        self._calls: deque[tuple[float, bool]] = deque(maxlen=OF_CALLS)
        self._one_at_a_time = threading.Lock()

    def took(self, seconds: float, at_most: float) -> None:
        """A call has taken so long, and should have taken no longer than `at_most`."""
        with self._one_at_a_time:
            now = self._clock()
            self._calls.append((now, seconds > at_most))
            if sum(slow for at, slow in self._calls if at > now - COUNTED_SECONDS) < SLOW_CALLS:
                return
            self._calls.clear()
        _distrust(self._store, self._region, self._kind, Provider.SLOW)


def came_back(kept: Store, region: str, *kinds: Kind) -> None:
    """The region's provider works again, after it did not, for these."""
    known = kept.notes(region)
    kept.note(region, RECOVERED, "", max(RAMP_SECONDS, known.remaining.get(RECOVERED, 0.0)))
    for kind in kinds:
        returned = f"returned {kind}"
        times = int(known.texts.get(returned, 0)) + 1
        kept.note(region, returned, str(times), RETURNED_SECONDS)
        if times >= RETURNS:
            _distrust(kept, region, kind, Provider.FLAPPING)


def _distrust(kept: Store, region: str, kind: Kind, why: Provider) -> None:
    kept.note(region, f"{DISTRUSTED}{kind}", why, STEADY_SECONDS)
    kept.note(region, RECOVERED, "", STEADY_SECONDS + RAMP_SECONDS)
