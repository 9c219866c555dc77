"""How each region does, as this process last read it: from probes, breakers and its workers' heartbeats.

Probes and heartbeats are notes on the region's board in the store (routing/coordination.py), put up by
routing/probes.py, and so is since when there has been an obstacle. What is not there, or cannot be read, is
unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings

from routing import limits
from routing.breaker import breaker_of
from routing.choice import (
    LEAST_SHARE,
    RAMP_SECONDS,
    UNABLE,
    Broker,
    Candidate,
    Capability,
    Chosen,
    Health,
    Provider,
    Work,
    choose,
)
from routing.coordination import Notes, State, store
from routing.regions import Region, all_regions, region_named
from routing.remembered import remembered
from routing.trust import DISTRUSTED, RECOVERED

READ_SECONDS = 1.0
# Three heartbeats.
WORKER_SECONDS = 6.0
# A board that is younger may not have heard of workers that there are.
YOUNG_SECONDS = 10.0
PROVIDER, BROKER, WORKER, SINCE = "provider", "broker", "worker ", "since "
# Among what there is a since of, beside what can't be done: all that its provider takes of queued recordings.
FULL = "full"


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found: `state`, how many `failed` in a row, how long it took, the error's code."""

    state: str
    failed: int = 0
    seconds: float = 0.0
    error: str = ""

    def __str__(self) -> str:
        return json.dumps([self.state, self.failed, round(self.seconds, 3), self.error])

    @classmethod
    def read(cls, text: str) -> Probed:
        return cls(*json.loads(text))


@dataclass(frozen=True, slots=True)
class Report:
    """A region's health, and what it was told from.

    `breakers`: of recordings and of live audio. `room`: what part of its provider's places is free for whom.
    `is_full`: none is for what is queued. `since`: when it was first seen to be unable of a capability, or
    FULL; good only while it is.
    """

    health: Health
    probed: Probed | None = None
    broker: Probed | None = None
    breakers: tuple[State, State] = (State.CLOSED, State.CLOSED)
    workers: int = 0
    room: Mapping[Capability, float] = field(default_factory=dict)
    is_full: bool = False
    since: Mapping[str, datetime] = field(default_factory=dict)


@remembered(READ_SECONDS)
def reports() -> dict[str, Report]:
    """By region. Never fails: without the store all is unknown but what this process has seen itself."""
    return {name: _report(region) for name, region in all_regions().items()}


def report_of(region: str) -> Report:
    return reports().get(region) or Report(Health())


def choose_region(work: Work, room: dict[str, float] | None = None) -> tuple[Region, Chosen] | None:
    """Where the work goes, by what is known now; None if no region may ever do it.

    UnknownRegion if it is pinned to none that there is. `room`: by region, where it is not its provider's.
    """
    if work.pinned:
        region_named(work.pinned)
    regions = all_regions().values()
    chosen = choose([_candidate(region, work.capability, room or {}) for region in regions], work)
    return None if chosen is None else (region_named(chosen.region), chosen)


def obstacle(region: str, capability: Capability) -> str:
    """Why the region can't do this now, in words; empty if it can."""
    known = all_regions().get(region)
    if known is None:
        return "there is no such region any more"
    return _candidate(known, capability, {}).obstacle(capability)


def obstacles(region: str) -> Iterator[str]:
    """What the region can't do now, and FULL if its provider has no place for what is queued."""
    yield from (capability for capability in Capability if obstacle(region, capability))
    if report_of(region).is_full:
        yield FULL


def _candidate(region: Region, capability: Capability, room: dict[str, float]) -> Candidate:
    report = report_of(region.name)
    return Candidate(
        region.name,
        region.enabled,
        region.weight,
        region.residency,
        report.health,
        room.get(region.name, report.room.get(capability, 1.0)),
    )


def _report(region: Region) -> Report:
    notes = store().notes(region.name)
    probed, broker = _probed(notes, PROVIDER), _probed(notes, BROKER)
    breakers = breaker_of(region.name).state(), breaker_of(region.name, live=True).state()
    slots = [int(text) for name, text in notes.texts.items() if name.startswith(WORKER)]
    is_young = notes.age is None or notes.age < YOUNG_SECONDS
    health = Health(
        recordings=_provider(probed, breakers[0], notes, limits.Kind.RECORDINGS),
        live=_provider(probed, breakers[1], notes, limits.Kind.LIVE),
        broker=_broker(broker),
        slots=None if not slots and is_young else sum(slots),
        share=_share(notes, breakers[0]),
        live_share=_share(notes, breakers[1]),
    )
    room = {
        Capability.SYNC: limits.free(region, limits.Kind.RECORDINGS),
        Capability.LIVE: limits.free(region, limits.Kind.LIVE),
    }
    is_full = not limits.has_room(region, limits.Use.QUEUED)
    return Report(health, probed, broker, breakers, len(slots), room, is_full, _since(notes))


def _since(notes: Notes) -> dict[str, datetime]:
    put_up = {name: text for name, text in notes.texts.items() if name.startswith(SINCE)}
    return {name.removeprefix(SINCE): datetime.fromisoformat(text) for name, text in put_up.items()}


def _probed(notes: Notes, name: str) -> Probed | None:
    text = notes.texts.get(name)
    return Probed.read(text) if text else None


def _provider(probed: Probed | None, breaker: State, notes: Notes, kind: limits.Kind) -> Provider:
    if breaker is State.OPEN:
        return Provider.LEFT_ALONE
    state = Provider.UNKNOWN if probed is None else Provider(probed.state)
    return Provider(notes.texts.get(f"{DISTRUSTED}{kind}", state)) if state not in UNABLE else state


def _broker(probed: Probed | None) -> Broker:
    if probed is not None:
        return Broker(probed.state)
    return Broker.IN_PROCESS if settings.EMBEDDED else Broker.UNKNOWN


def _share(notes: Notes, breaker: State) -> float:
    # Only its own: where nobody speaks live, nobody tries whether that works again.
    if breaker is State.HALF_OPEN:
        return LEAST_SHARE
    left: Any = notes.remaining.get(RECOVERED)
    return 1.0 if left is None else max(LEAST_SHARE, 1 - left / RAMP_SECONDS)
