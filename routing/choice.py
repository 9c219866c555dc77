"""Choosing the region of a piece of work. A pure function, and what it goes by."""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

# A region that has just come back is given its full share after so long, and the least of it at first.
RAMP_SECONDS = 30.0
LEAST_SHARE = 0.1


class Capability(StrEnum):
    """What is to be done: for a caller who waits, by the region's workers, or on a live socket."""

    SYNC = "sync"
    ASYNC = "async"
    LIVE = "live"


class Provider(StrEnum):
    """What a region's provider says to probes, and to calls."""

    OK = "ok"
    SLOW = "slow"
    FLAPPING = "flapping"  # it fails and comes back, again and again
    ERRING = "erring"
    REFUSING = "refusing"  # our key
    LEFT_ALONE = "left_alone"  # its breaker is open
    UNKNOWN = "unknown"


class Broker(StrEnum):
    OK = "ok"
    IN_PROCESS = "in_process"  # embedded: there is none, and none is needed
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


UNABLE = {
    Provider.ERRING: "its provider fails",
    Provider.REFUSING: "its provider refuses our key",
    Provider.LEFT_ALONE: "calls failed, and it is left alone for a while",
}

FULL = "all its places are taken"


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a region just now. What is unknown is not dead.

    `recordings`, `live`: its provider for the one and the other. `slots`: how many jobs its workers run at
    once; 0: they are all gone; None: that is not known. `share`, `live_share`: of the recordings and
    the live audio that are its due, from LEAST_SHARE to 1: one that has just come back is not given all of
    it at once.
    """

    recordings: Provider = Provider.UNKNOWN
    live: Provider = Provider.UNKNOWN
    broker: Broker = Broker.UNKNOWN
    slots: int | None = None
    share: float = 1.0
    live_share: float = 1.0

    def share_of(self, capability: Capability) -> float:
        return self.live_share if capability is Capability.LIVE else self.share

    def provider(self, capability: Capability) -> Provider:
        return self.live if capability is Capability.LIVE else self.recordings

    def obstacle(self, capability: Capability) -> str:
        """Why it can't do this; empty if it can."""
        if capability is Capability.ASYNC and self.slots == 0:
            return "its workers are gone"
        return UNABLE.get(self.provider(capability), "")

    def drawbacks(self, capability: Capability) -> int:
        """How many reasons there are to prefer another that can do it as well."""
        without_broker = capability is Capability.ASYNC and self.broker is Broker.UNREACHABLE
        return without_broker + (self.provider(capability) in (Provider.SLOW, Provider.FLAPPING))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A region as the choice sees it. `room`: how much of what it can do at once is free, from 0 to 1."""

    name: str
    enabled: bool = True
    weight: int = 1
    residency: frozenset[str] = frozenset()
    health: Health = field(default_factory=Health)
    room: float = 1.0

    def is_within(self, residency: Sequence[str]) -> bool:
        return not residency or self.name in residency or not self.residency.isdisjoint(residency)

    def obstacle(self, capability: Capability) -> str:
        return self.health.obstacle(capability) if self.enabled else "it is switched off"

    def share_of(self, capability: Capability) -> float:
        # Standbys share alike, and those that are full: they are asked only where there is no other.
        return (self.weight or 1) * (self.room or 1.0) * self.health.share_of(capability)


@dataclass(frozen=True, slots=True)
class Work:
    """`pinned`: the only region that may do it. `residency`: names or labels of those that may; none: any.

    `avoid`: where it has failed before: only if no other can.
    """

    capability: Capability
    pinned: str = ""
    residency: Sequence[str] = ()
    avoid: str = ""

    def may_go_to(self, region: Candidate) -> bool:
        return (not self.pinned or region.name == self.pinned) and region.is_within(self.residency)


@dataclass(frozen=True, slots=True)
class Chosen:
    """`able`: whether the region can do it now; if not, it waits there. `reason`: in a sentence."""

    region: str
    able: bool
    reason: str


def choose(
    regions: Sequence[Candidate],
    work: Work,
    *,
    random: Callable[[], float] = _random.random,
) -> Chosen | None:
    """Where the work goes; None if no region may ever do it.

    Pin and residency bind. Of those that can, the ones that have room, and of these the ones with the fewest
    drawbacks, share the work by weight and room, at random: with what each process knows a second old, the
    one with the most room would be given all.
    """
    allowed = [region for region in regions if work.may_go_to(region)]
    if not allowed:
        return None
    able = [region for region in allowed if not region.obstacle(work.capability)]
    if not able:
        waits_in = max(allowed, key=lambda region: (region.enabled, region.weight))
        return Chosen(waits_in.name, False, f"None that may do it can just now: {_obstacles(allowed, work)}.")
    best = _best(able, work)
    drawn = random() * sum(region.share_of(work.capability) for region in best)
    for region in best:
        drawn -= region.share_of(work.capability)
        if drawn < 0:
            break
    return Chosen(region.name, True, _reason(region, best, allowed, work))


def _best(able: Sequence[Candidate], work: Work) -> list[Candidate]:
    def rank(region: Candidate) -> tuple[bool, bool, int, bool]:
        return (
            region.room == 0,
            region.name == work.avoid,
            region.health.drawbacks(work.capability),
            # None of the work is its due, unless no other can do it.
            region.weight == 0,
        )

    least = min(map(rank, able))
    return [region for region in able if rank(region) == least]


def _reason(region: Candidate, best: Sequence[Candidate], allowed: Sequence[Candidate], work: Work) -> str:
    if work.pinned:
        return "It was asked for."
    if len(allowed) == 1:
        return "It is the only one that may do it."
    if len(best) > 1:
        return f"By weight and room, among {', '.join(sorted(each.name for each in best))}."
    if others := _obstacles(allowed, work):
        return f"It is the best of those that can: {others}."
    return "It is preferred to the others."


def _obstacles(allowed: Sequence[Candidate], work: Work) -> str:
    return "; ".join(_told(allowed, work.capability))


def _told(regions: Sequence[Candidate], capability: Capability) -> Iterator[str]:
    for region in regions:
        if obstacle := region.obstacle(capability) or (FULL if region.room == 0 else ""):
            yield f"{region.name}: {obstacle}"
