"""Where a job goes: the region for it, by health and by the room that the queues leave."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import InterfaceError, OperationalError

from jobs.models import Project, Status, TranscriptionJob
from jobs.refusal import NotAccepted
from routing.choice import Capability, Work
from routing.health import choose_region, report_of
from routing.regions import Region, all_regions
from routing.remembered import remembered

COUNTED_SECONDS = 1.0
MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """`able`: whether the region can do it now; if not, it waits there. `reason`: in a sentence."""

    region: Region
    able: bool
    reason: str


class RegionOutsideResidency(NotAccepted):
    def __init__(self) -> None:
        super().__init__(
            "region_outside_residency", "No region that the project's residency allows was asked for."
        )


def place(project: Project, capability: Capability, *, pinned: str = "", avoid: str = "") -> Place:
    """The region that a job of the project is best done in now.

    RegionOutsideResidency if none may ever do it, UnknownRegion if it is pinned to none that there is.
    """
    work = Work(capability, pinned, project.residency, avoid)
    # Callers who wait and live audio do not stand in the queue.
    chosen = choose_region(work, _room() if capability is Capability.ASYNC else None)
    if chosen is None:
        raise RegionOutsideResidency
    region, why = chosen
    return Place(region, why.able, why.reason)


def elsewhere(project: Project, region: str) -> Region | None:
    """Another region that can do queued jobs of the project, which stand in this one; None if they stay."""
    try:
        found = place(project, Capability.ASYNC, avoid=region)
    except RegionOutsideResidency:
        return None
    return found.region if found.able and found.region.name != region else None


@remembered(COUNTED_SECONDS, keeps_through=(OperationalError, InterfaceError))
def _room() -> dict[str, float]:
    """By region, what part of it new jobs would find free: its slots among them and what is queued."""
    regions = all_regions()
    if len(regions) == 1:
        return {}
    return {name: _free(region) for name, region in regions.items()}


def _free(region: Region) -> float:
    queued = TranscriptionJob.objects.filter(queue=region.queue, status=Status.QUEUED)[:MOST_COUNTED].count()
    slots = report_of(region.name).health.slots or region.concurrency
    return slots / (slots + queued)
