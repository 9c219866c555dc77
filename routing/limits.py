"""How many calls and live connections a provider takes at once, kept to by all processes together.

    slot = take(region, Use.SYNC)       None: there is no room now
    slot.give_back()

Deepgram counts them for each of its projects and regions, recordings apart from live audio, and answers 429
to one too many (its page "API Rate Limits"). Regions with one key and address so share their limits here.

What a process holds stands in the store (routing/coordination.py) under the process's name. A thread renews
it, in one step for all; of a process that is killed it runs out, sooner than the leases of its jobs, or one
that crashes again and again would soon hold everything. Each step says how many the process holds in all, so
that one that was lost, or a store that forgot everything, is made good by the next. With the store down each
process keeps to the limits by itself.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from enum import Enum, StrEnum
from functools import cache
from hashlib import sha256
from secrets import token_hex
from time import monotonic

from django.conf import settings

from routing.coordination import Holding, Store, store
from routing.regions import Region

logger = logging.getLogger(__name__)

UNLIMITED = 10**9
LASTS_SECONDS, RENEWED_SECONDS = 15.0, 5.0
# For which a process goes by what it was told of others, without asking again for each slot of its own.
BELIEVED_SECONDS = 1.0


class Kind(StrEnum):
    """What the provider counts apart."""

    RECORDINGS = "recordings"
    LIVE = "live"


class Use(Enum):
    """What a slot is for: one of which kind, and how much of its kind's room such may fill."""

    LIVE = Kind.LIVE, 1.0
    SYNC = Kind.RECORDINGS, 1.0
    # The rest is for callers who wait, whatever is queued.
    QUEUED = Kind.RECORDINGS, 0.9


class Held:
    """What this process holds of one kind at one provider. Thread-safe."""

    def __init__(
        self, limit: str, kind: Kind, kept: Store, holder: str, clock: Callable[[], float] = monotonic
    ) -> None:
        self._limit = limit
        self._kind = kind
        self._store = kept
        self._holder = holder
        self._clock = clock
        self._one_at_a_time = threading.Lock()
        self._in_store = 0
        self._used = 0
        self._others = Holding(True, 0, 0)
        self._believed_until = -1.0

    @property
    def in_use(self) -> int:
        """By all processes, as far as this one was told."""
        return self._others.of_kind + self._used

    def take(self, of_kind: int, in_all: int) -> bool:
        """One more, if there are no more than `of_kind` and `in_all` then."""
        with self._one_at_a_time:
            wanted, others = self._used + 1, self._others
            if wanted <= self._in_store and self._clock() < self._believed_until:
                granted = others.of_kind + wanted <= of_kind and others.in_all + wanted <= in_all
            else:
                granted = self._hold(wanted, of_kind, in_all)
            self._used += granted
            return granted

    def pass_on(self) -> None:
        """One less is used, and kept for who asks next."""
        with self._one_at_a_time:
            self._used -= 1

    def give_back(self) -> None:
        with self._one_at_a_time:
            self._used -= 1
            self._hold(self._used)

    def renew(self) -> None:
        """Go on with what is used, and leave what is not."""
        with self._one_at_a_time:
            if self._in_store:
                self._hold(self._used)

    def _hold(self, count: int, of_kind: int = UNLIMITED, in_all: int = UNLIMITED) -> bool:
        told = self._store.hold(
            self._limit,
            self._kind,
            self._holder,
            count,
            of_kind=of_kind,
            in_all=in_all,
            seconds=LASTS_SECONDS,
        )
        self._others = told
        self._believed_until = self._clock() + BELIEVED_SECONDS
        if told.granted:
            self._in_store = count
        return told.granted


class Slot:
    """Room for one call, or one live connection. Given back, or passed on, once: by whoever is first.

    `is_idle_capacity`: so much is left free that what has time may have it.
    """

    def __init__(self, held: Held | None = None, *, is_idle_capacity: bool = True) -> None:
        self._held = held
        self.is_idle_capacity = is_idle_capacity

    def give_back(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.give_back()

    def pass_on(self) -> None:
        """Keep it for this process's next call, which asks for it at once: the store is told nothing."""
        held, self._held = self._held, None
        if held is not None:
            held.pass_on()


def take(region: Region, use: Use) -> Slot | None:
    """Room at the region's provider, if there is any now. Asks the store: not in an event loop."""
    kind, share = use.value
    room = _room(region, kind)
    if room == UNLIMITED:
        return Slot()
    held = _held(_limit_of(region), kind)
    if not held.take(_part(room, share), region.max_calls or UNLIMITED):
        return None
    return Slot(held, is_idle_capacity=held.in_use <= _part(room, settings.LOW_PRIORITY_SHARE))


def renew() -> None:
    """Keep what this process uses, everywhere, and nothing else."""
    for held in list(_all.values()):
        held.renew()


def in_use(region: Region) -> dict[Kind, int]:
    """How many slots of each kind are held at the region's provider, by all processes."""
    return {kind: _asking(region, kind).of_kind for kind in Kind}


def has_room(region: Region, use: Use) -> bool:
    """Whether `take` would give a slot now."""
    kind, share = use.value
    if (room := _room(region, kind)) == UNLIMITED:
        return True
    held = _asking(region, kind)
    return held.of_kind < _part(room, share) and held.in_all < (region.max_calls or UNLIMITED)


def free(region: Region, kind: Kind) -> float:
    """What part of the places for the kind at its provider nobody holds: from 0 to 1, which is no limit."""
    most = _room(region, kind)
    if most == UNLIMITED:
        return 1.0
    held = _asking(region, kind)
    return max(0, min(most - held.of_kind, (region.max_calls or UNLIMITED) - held.in_all)) / most


def forget() -> None:
    """Hold nothing and know of nothing, as a process that begins."""
    _all.clear()


def _asking(region: Region, kind: Kind) -> Holding:
    # Nobody holds nothing: that changes nothing, and tells what others have.
    return store().hold(_limit_of(region), kind, "-", 0, of_kind=UNLIMITED, in_all=UNLIMITED, seconds=0)


def room(region: Region, kind: Kind) -> int | None:
    """How many of the kind its provider takes at once; None if there is no limit."""
    most = _room(region, kind)
    return None if most == UNLIMITED else most


def _room(region: Region, kind: Kind) -> int:
    of_kind = region.max_recordings if kind is Kind.RECORDINGS else region.max_live
    return min(of_kind or UNLIMITED, region.max_calls or UNLIMITED)


def _part(room: int, share: float) -> int:
    """Of so many slots; never none, or nothing would ever be done."""
    return max(1, int(room * share))


def _limit_of(region: Region) -> str:
    return sha256(f"{region.base_url} {region.api_key}".encode()).hexdigest()[:16]


def _keep_renewing() -> None:
    pause = threading.Event()
    while not pause.wait(RENEWED_SECONDS):
        try:
            renew()
        except Exception:
            logger.exception("What is held at providers could not be renewed.")


_all: dict[tuple[str, Kind], Held] = {}
_making = threading.Lock()
_renewing: threading.Thread | None = None


def _held(limit: str, kind: Kind) -> Held:
    global _renewing
    with _making:
        if _renewing is None:
            _renewing = threading.Thread(target=_keep_renewing, name="limits", daemon=True)
            _renewing.start()
        if (limit, kind) not in _all:
            _all[limit, kind] = Held(limit, kind, store(), _this_process())
        return _all[limit, kind]


@cache
def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
