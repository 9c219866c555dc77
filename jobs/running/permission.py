"""Whether a job may be done in a region now, and the place at its provider that it takes."""

from __future__ import annotations

from routing import limits
from routing.breaker import breaker_of
from routing.choice import Capability
from routing.health import report_of
from routing.limits import Use
from routing.regions import Region


def permitted(region: Region, use: Use) -> limits.Slot | None:
    """None if not: it is off, its provider fails, it is left alone, or has all that it takes.

    Who then calls nobody tells the region's breaker so (`returned`), and gives the place back.
    """
    # What probes find failing costs no job an attempt: one that is pinned would soon have none left.
    if not region.enabled or report_of(region.name).health.obstacle(Capability.SYNC):
        return None
    if not breaker_of(region.name).admits():
        return None
    place = limits.take(region, use)
    if place is None:
        breaker_of(region.name).returned()
    return place
