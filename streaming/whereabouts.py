"""Which region a live session is connected to, and which it tries next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from routing import limits
from routing.breaker import breaker_of
from routing.choice import Capability, Work
from routing.health import choose_region, obstacle
from routing.limits import Slot, Use
from routing.regions import Region, region_named

# Of connections that broke and handshakes that failed in a row: after so many a region is left.
FAILURES_PER_REGION = 2
# A key that is refused, or a limit that is reached without a word of when to come again.
REFUSED_SECONDS = 30.0
BUSY_SECONDS = 2.0
# What takes longer to be connected to is slow.
SLOW_SECONDS = 1.5
BROKEN = frozenset({1006, 1011, 1012, 1013, 1014})
NO_ROOM = "The provider has no room for another live connection now."
NO_REGION = "No region can be connected to just now."


class NoPlace(Exception):
    """There is nowhere to connect to now. `status` is that of a handshake that is refused for it."""

    def __init__(self, *, is_full: bool) -> None:
        super().__init__(NO_ROOM if is_full else NO_REGION)
        self.status = 429 if is_full else 503


@dataclass(slots=True)
class Place:
    """Leave to connect to a region once, and room for that, since `began_at`. To be given back.

    `is_proven`: it is known what came of connecting.
    """

    region: Region
    slot: Slot
    began_at: float
    is_proven: bool = False

    def give_back(self) -> None:
        self.slot.give_back()
        if not self.is_proven:
            breaker_of(self.region.name, live=True).returned()


class Whereabouts:
    """Of one session. All but `is_as_expected` ask the store, some the database: not for an event loop."""

    def __init__(self, residency: Sequence[str]) -> None:
        self._residency = residency
        self._region = ""
        self._avoid = ""

    def next(self, failures: int) -> Place:
        """For the next connection, its region chosen anew. NoPlace.

        A connection that breaks is made again where it was, as long as that region can and others work there.
        `failures`: of connections and handshakes, since something was heard.
        """
        stays = self._region and not self._avoid and failures < FAILURES_PER_REGION
        if stays and not obstacle(self._region, Capability.LIVE):
            place, _ = self._place_at(region_named(self._region))
            if place is not None:
                return place
        avoid = self._avoid or self._region
        is_full = False
        for _ in range(2):
            chosen = choose_region(Work(Capability.LIVE, residency=self._residency, avoid=avoid))
            if chosen is None:
                break
            region, _ = chosen
            if region.enabled:
                place, is_full = self._place_at(region)
                if place is not None:
                    return place
            avoid = region.name
        self._avoid = avoid
        raise NoPlace(is_full=is_full)

    def is_as_expected(self, place: Place) -> bool:
        """That it is connected tells nobody anything new: then `connected` asks nothing."""
        in_time = monotonic() < place.began_at + SLOW_SECONDS
        return in_time and breaker_of(place.region.name, live=True).is_calm

    def connected(self, place: Place) -> None:
        self._region, self._avoid = place.region.name, ""
        place.is_proven = True
        breaker_of(place.region.name, live=True).succeeded(place.began_at, at_most=SLOW_SECONDS)

    def refused(self, place: Place, status: int | None, retry_after: float | None) -> None:
        """`status`: None if there was no answer."""
        self._avoid = place.region.name
        place.is_proven = True
        breaker = breaker_of(place.region.name, live=True)
        match status:
            case 429:
                breaker.open(retry_after or BUSY_SECONDS)
            case 401 | 402 | 403:
                breaker.open(REFUSED_SECONDS)
            case None | 408:
                breaker.failed(place.began_at)
            case _ if status >= 500:
                breaker.failed(place.began_at)
            case _:
                breaker.succeeded(place.began_at)

    def lost(self, place: Place, code: int) -> None:
        """`code`: of the close; 1006 if there was none."""
        if code in BROKEN:
            breaker_of(place.region.name, live=True).failed(place.began_at)

    def _place_at(self, region: Region) -> tuple[Place | None, bool]:
        """If there is one now; and whether that is for want of room."""
        # First: a half-open breaker lets one through at a time, which shall be one that has room.
        slot = limits.take(region, Use.LIVE)
        if slot is None:
            return None, True
        if breaker_of(region.name, live=True).admits():
            # Not before: a probe's failure is told from others' by having begun after it was let through.
            return Place(region, slot, monotonic()), False
        slot.give_back()
        return None, False
