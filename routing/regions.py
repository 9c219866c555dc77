"""Regions: where a job may be transcribed, and with which provider, queue and limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from django.conf import settings

# For providers of one's own, the sandbox among them, that take any key.
KEY_WITHOUT_MEANING = "sandbox"


class UnknownRegion(Exception):
    """There is no region of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no region {name!r}; there are {', '.join(all_regions())}.")


@dataclass(frozen=True, slots=True)
class Region:
    """A provider endpoint with its own queue, limits and residency.

    `max_recordings`, `max_live`, `max_calls`: what its provider takes at once of recordings, of live audio
    and of both together, from all processes (routing.limits); 0: as many as come.
    """

    name: str
    base_url: str
    api_key: str = field(repr=False)
    queue: str
    max_attempts: int
    max_recordings: int
    max_live: int
    max_calls: int


@lru_cache(maxsize=1)
def all_regions() -> dict[str, Region]:
    """By name, the preferred first. REGIONS is a list of objects; unset, there is one, of DEEPGRAM_*."""
    described = settings.REGIONS or [{"name": "default"}]
    return {
        row["name"]: Region(
            name=row["name"],
            base_url=row.get("base_url", settings.DEEPGRAM_BASE_URL),
            api_key=row.get("api_key", settings.DEEPGRAM_API_KEY) or KEY_WITHOUT_MEANING,
            queue=row.get("queue", f"transcription.{row['name']}"),
            max_attempts=row.get("max_attempts", settings.MAX_ATTEMPTS),
            max_recordings=row.get("max_recordings", settings.PROVIDER_MAX_RECORDINGS),
            max_live=row.get("max_live", settings.PROVIDER_MAX_LIVE),
            max_calls=row.get("max_calls", settings.PROVIDER_MAX_CALLS),
        )
        for row in described
    }


def region_named(name: str) -> Region:
    """The region of this name; UnknownRegion if there is none."""
    try:
        return all_regions()[name]
    except KeyError:
        raise UnknownRegion(name) from None


def region_served_by(queue: str) -> Region | None:
    """The region whose jobs stand in this queue; None for queues that are no region's."""
    return next((region for region in all_regions().values() if region.queue == queue), None)


def regions_within(residency: list[str]) -> list[Region]:
    """Those that the residency allows, the preferred first; none named means any."""
    return [region for name, region in all_regions().items() if not residency or name in residency]


def choose_region(pinned: str, residency: list[str]) -> Region | None:
    """The region that a pin asks for, else the first that the residency allows; None if there is none.

    A pin outside the residency is None as well: residency is binding.
    """
    allowed = regions_within(residency)
    if pinned:
        region_named(pinned)
        allowed = [region for region in allowed if region.name == pinned]
    return next(iter(allowed), None)
