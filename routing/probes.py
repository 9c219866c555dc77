"""Looking after regions: what a process does so that all know how each does.

One thread. It says that the regions which its process works for have a worker, and probes all: whichever
process comes first asks the provider something that costs nothing (the list of models) and the broker for a
PING. While they fail they are made every second; the second that fails is believed. What a region can't do is
put up with the time at which that was first seen.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from django.db import DatabaseError, connection
from django.utils import timezone
from redis import Redis
from redis.exceptions import RedisError

from routing.choice import Broker, Provider
from routing.coordination import store
from routing.health import (
    BROKER,
    PROVIDER,
    SINCE,
    WORKER,
    WORKER_SECONDS,
    Probed,
    obstacles,
    report_of,
)
from routing.limits import Kind
from routing.provider import (
    CallAborted,
    ProviderError,
    ProviderRefusedCredentials,
    ProviderRejected,
    provider_for,
)
from routing.regions import Region, all_regions, region_served_by
from routing.transport import Call
from routing.trust import came_back

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
PROBE_EVERY_SECONDS = 5.0
PROBE_AGAIN_SECONDS = 1.0
PROBE_DEADLINE_SECONDS = 3.0
SLOW_SECONDS = 1.5
BROKER_DEADLINE_SECONDS = 1.0
# What nobody probes any more is unknown.
PROBED_SECONDS = 20.0
BELIEVED_FAILURES = 2
# An obstacle that comes back within it, as a breaker does that was half-open, has been there all the time.
SAME_OBSTACLE_SECONDS = 15.0
TURN = "turn"
FAILING = (Provider.ERRING, Provider.REFUSING)


class Watch:
    """`name`: of this process. `slots`: how many jobs of `queues` it runs at once, asked each time."""

    def __init__(self, name: str, queues: Collection[str] = (), slots: Callable[[], int] = lambda: 0) -> None:
        self._name = name
        self._queues = queues
        self._slots = slots
        self._stopping = threading.Event()
        # A look under way would say that it is alive after it has said that it is not.
        self._one_at_a_time = threading.Lock()
        self._probing = ThreadPoolExecutor(4, thread_name_prefix="probe")

    def start(self) -> None:
        threading.Thread(target=self._run, name="regions", daemon=True).start()

    def stop(self) -> None:
        """Take this process from the boards."""
        self._stopping.set()
        with self._one_at_a_time:
            self._probing.shutdown(wait=False, cancel_futures=True)
            self._say_alive(0.0)

    def look(self) -> None:
        """Say that it is alive, and begin the probes that are due; nothing once it was stopped."""
        with self._one_at_a_time:
            if self._stopping.is_set():
                return
            self._say_alive(WORKER_SECONDS)
            for region in all_regions().values():
                if store().note(region.name, TURN, self._name, PROBE_EVERY_SECONDS, if_absent=True):
                    _say_since_when(region.name)
                    self._probing.submit(_guarded, region)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except DatabaseError as error:
                logger.warning("Regions cannot be read: %s", type(error).__name__)
            except Exception:
                logger.exception("Regions cannot be looked after.")
            finally:
                connection.close()
            self._stopping.wait(LOOK_SECONDS)

    def _say_alive(self, seconds: float) -> None:
        slots = self._slots()
        for queue in self._queues:
            region = region_served_by(queue)
            if region is not None and (slots or not seconds):
                store().note(region.name, f"{WORKER}{self._name}", str(slots), seconds)


def _say_since_when(region: str) -> None:
    for what in obstacles(region):
        since = report_of(region).since.get(what)
        told = (since or timezone.now()).isoformat(timespec="seconds")
        store().note(region, f"{SINCE}{what}", told, SAME_OBSTACLE_SECONDS, if_absent=since is None)


def probe(region: Region) -> None:
    """Ask the region's provider and its broker, and put up what they said."""
    known = store().notes(region.name).texts
    before = Probed.read(known[PROVIDER]) if PROVIDER in known else None
    found = _believed(_ask_provider(region), before, FAILING)
    store().note(region.name, PROVIDER, str(found), PROBED_SECONDS)
    if before is not None and before.state in FAILING and found.state not in FAILING:
        came_back(store(), region.name, *Kind)
    failed = found.failed
    if region.broker_url:
        heard = Probed.read(known[BROKER]) if BROKER in known else None
        broker = _believed(_ask_broker(region), heard, (Broker.UNREACHABLE,))
        store().note(region.name, BROKER, str(broker), PROBED_SECONDS)
        failed = failed or broker.failed
    if failed:
        store().note(region.name, TURN, "", PROBE_AGAIN_SECONDS)


def _believed(found: Probed, before: Probed | None, failing: Collection[str]) -> Probed:
    """What failed once is as it was before; only the second time it counts."""
    if found.state not in failing:
        return found
    before = before or Probed(Provider.UNKNOWN)
    failed = before.failed + 1
    state = found.state if failed >= BELIEVED_FAILURES else before.state
    return Probed(state, failed, found.seconds, found.error)


def _ask_provider(region: Region) -> Probed:
    began_at = monotonic()
    state, error = Provider.OK, ""
    try:
        provider_for(region.endpoint).models(include_outdated=False, call=Call(PROBE_DEADLINE_SECONDS))
    except ProviderRefusedCredentials as refused:
        # A key that may transcribe need not be allowed to list models.
        if refused.status in (None, 401):
            state, error = Provider.REFUSING, refused.code
    except ProviderRejected:
        # It has no such list, and answers.
        pass
    except ProviderError as failure:
        if failure.status != 429:
            state, error = Provider.ERRING, failure.code
    except CallAborted:
        state, error = Provider.ERRING, "provider_timeout"
    seconds = monotonic() - began_at
    if state is Provider.OK and seconds > SLOW_SECONDS:
        state = Provider.SLOW
    return Probed(state, seconds=seconds, error=error)


def _ask_broker(region: Region) -> Probed:
    began_at, limit = monotonic(), BROKER_DEADLINE_SECONDS
    try:
        with Redis.from_url(region.broker_url, socket_timeout=limit, socket_connect_timeout=limit) as client:
            client.ping()
    except (RedisError, OSError, ValueError) as error:
        return Probed(Broker.UNREACHABLE, error=type(error).__name__)
    return Probed(Broker.OK, seconds=monotonic() - began_at)


def _guarded(region: Region) -> None:
    try:
        probe(region)
    except Exception:
        logger.exception("Region %s cannot be probed.", region.name)
