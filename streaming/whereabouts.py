"""Which region a live session is connected to, and which it tries next."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from routing.breaker import Breaker, breaker_of
from routing.choice import Capability, Work
from routing.health import choose_region, obstacle
from routing.regions import Region, region_named

# Of connections that broke and handshakes that failed in a row: after so many a region is left.
FAILURES_PER_REGION = 2
# A key that is refused, or a limit that is reached without a word of when to come again.
REFUSED_SECONDS = 30.0
BUSY_SECONDS = 2.0
# What takes longer to be connected to is slow.
SLOW_SECONDS = 1.5
BROKEN = frozenset({1006, 1011, 1012, 1013, 1014})


class Whereabouts:
    """Of one session. All of it asks the store, and some the database: not for an event loop."""

    def __init__(self, residency: Sequence[str]) -> None:
        self._residency = residency
        self._region = ""
        self._avoid = ""
        self._began_at = 0.0

    def next(self, failures: int) -> Region | None:
        """The region of the next connection, chosen anew; None if none may be tried now.

        A connection that breaks is made again where it was, as long as that region can and others work there.
        `failures`: of connections and handshakes, since something was heard.
        """
        stays = self._region and not self._avoid and failures < FAILURES_PER_REGION
        if stays and not obstacle(self._region, Capability.LIVE) and self._may_begin(self._region):
            return region_named(self._region)
        avoid = self._avoid or self._region
        for _ in range(2):
            chosen = choose_region(Work(Capability.LIVE, residency=self._residency, avoid=avoid))
            if chosen is None:
                return None
            region, _ = chosen
            if region.enabled and self._may_begin(region.name):
                return region
            avoid = region.name
        return None

    def connected(self, region: Region) -> None:
        self._region, self._avoid = region.name, ""
        self._breaker(region.name).succeeded(self._began_at, at_most=SLOW_SECONDS)

    def refused(self, region: Region, status: int | None, retry_after: float | None) -> None:
        """`status`: None if there was no answer."""
        self._avoid = region.name
        match status:
            case 429:
                self._breaker(region.name).open(retry_after or BUSY_SECONDS)
            case 401 | 402 | 403:
                self._breaker(region.name).open(REFUSED_SECONDS)
            case None | 408:
                self._breaker(region.name).failed(self._began_at)
            case _ if status >= 500:
                self._breaker(region.name).failed(self._began_at)
            case _:
                self._breaker(region.name).succeeded(self._began_at)

    def full(self, region: Region) -> None:
        """It had no room after all, and was not called."""
        self._avoid = region.name
        self._breaker(region.name).returned()

    def lost(self, region: Region, code: int) -> None:
        """`code`: of the close; 1006 if there was none."""
        if code in BROKEN:
            self._breaker(region.name).failed(self._began_at)

    def _may_begin(self, region: str) -> bool:
        admitted = self._breaker(region).admits()
        # Not before: a probe's failure is told from others' by having begun after it was let through.
        self._began_at = monotonic()
        return admitted

    def _breaker(self, region: str) -> Breaker:
        return breaker_of(region, live=True)
