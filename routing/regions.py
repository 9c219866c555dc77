"""Regions: where work may be done, and with which provider, queue, broker and limits.

They are rows (routing.models), which REGIONS seeds when there are none. A process reads them again every
KNOWN_SECONDS, so that no job asks the database for them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError

from routing.encryption import SecretUnreadable
from routing.models import Profile, RegionRow
from routing.provider import ProviderEndpoint
from routing.remembered import remembered

logger = logging.getLogger(__name__)

# For providers of one's own, the sandbox among them, that take any key.
KEY_WITHOUT_MEANING = "sandbox"
KNOWN_SECONDS = 2.0
SEEDED_FIELDS = frozenset(
    each.name for each in RegionRow._meta.local_concrete_fields if each.name != "changed_at"
)


class UnknownRegion(Exception):
    """There is no region of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no region {name!r}; there are {', '.join(all_regions())}.")


@dataclass(frozen=True, slots=True)
class Region:
    """A provider endpoint with its own queue, broker, limits and residency.

    `live_url`: ws:// or wss://. `broker_url` is empty if messages go nowhere but within this process.
    `weight`: its share beside others; 0: only what no other can do. `residency`: what projects may call it
    beside its name. `max_recordings`, `max_live`, `max_calls`: what its provider takes at once of recordings,
    of live audio and of both together, from all processes (routing.limits); 0: as many as come.
    """

    name: str
    base_url: str
    live_url: str
    api_key: str = field(repr=False)
    queue: str
    broker_url: str = field(repr=False)
    enabled: bool
    weight: int
    residency: frozenset[str]
    concurrency: int
    max_attempts: int
    max_recordings: int
    max_live: int
    max_calls: int

    @property
    def endpoint(self) -> ProviderEndpoint:
        return ProviderEndpoint(self.base_url, self.api_key, region=self.name)


@remembered(KNOWN_SECONDS, keeps_through=(OperationalError, InterfaceError))
def all_regions() -> dict[str, Region]:
    """By name, the preferred first, those included that are switched off."""
    rows = list(RegionRow.objects.all()) or _seeded()
    return {row.name: _region(row) for row in rows}


def region_named(name: str) -> Region:
    """The region of this name; UnknownRegion if there is none."""
    try:
        return all_regions()[name]
    except KeyError:
        raise UnknownRegion(name) from None


def region_served_by(queue: str) -> Region | None:
    """The region whose jobs stand in this queue; None for queues that are no region's."""
    return next((region for region in all_regions().values() if region.queue == queue), None)


def names_of_residency() -> list[str]:
    """What a project's residency may name: regions, and their labels."""
    regions = all_regions()
    labels = {label for each in regions.values() for label in each.residency}
    return [*regions, *sorted(labels - set(regions))]


def seed(described: dict[str, Any]) -> RegionRow:
    """An object of REGIONS as a row that is not saved. Its fields are SEEDED_FIELDS."""
    return RegionRow(**{"queue": f"transcription.{described['name']}", **described})


def _seeded() -> list[RegionRow]:
    """REGIONS; unset, one region of the DEEPGRAM_* settings."""
    rows = [seed(described) for described in settings.REGIONS or [{"name": "default"}]]
    RegionRow.objects.bulk_create(rows, ignore_conflicts=True)
    return list(RegionRow.objects.all())


def _region(row: RegionRow) -> Region:
    profile = Profile(row.profile)
    base_url = row.base_url or settings.DEEPGRAM_BASE_URL
    return Region(
        name=row.name,
        base_url=base_url,
        live_url=row.live_url or base_url.replace("http", "ws", 1),
        api_key=_secret(row, "api_key", settings.DEEPGRAM_API_KEY or KEY_WITHOUT_MEANING),
        queue=row.queue,
        broker_url=_secret(row, "broker_url", settings.REDIS_URL),
        enabled=row.enabled,
        weight=row.weight,
        residency=frozenset(row.residency),
        concurrency=row.concurrency or profile.concurrency,
        max_attempts=row.max_attempts or profile.max_attempts,
        max_recordings=_given(row.max_recordings, settings.PROVIDER_MAX_RECORDINGS),
        max_live=_given(row.max_live, settings.PROVIDER_MAX_LIVE),
        max_calls=_given(row.max_calls, settings.PROVIDER_MAX_CALLS),
    )


def _given(limit: int | None, otherwise: int) -> int:
    return otherwise if limit is None else limit


def _secret(row: RegionRow, name: str, otherwise: str) -> str:
    """Empty if it cannot be opened: nothing else is put in the place of a key that was given."""
    try:
        return str(getattr(row, name)) or otherwise
    except SecretUnreadable:
        logger.error("The %s of region %s cannot be decrypted: enter it again.", name, row.name)
        return ""
