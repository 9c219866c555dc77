"""What is a question over rows: asked of the database when it is collected, once for all processes.

It is told at /metrics/fleet by whichever process is asked, and is the same at each: have it scraped from one
address, or it is there as often as there are processes. The answer is kept for KEPT_SECONDS, and for COST
times what it took to get: however often it is asked for, the database is busy for 5 % of the time at most.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from itertools import product
from time import monotonic

from django.db import DatabaseError
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs import quotas
from jobs.models import Delivery, Priority, TranscriptionJob, WebhookEndpoint, WorkerProcess
from jobs.models.endpoint import GIVEN_UP
from jobs.models.state import ENDED, OPEN
from jobs.queues import BATCH_QUEUE, ISOLATION_QUEUE, WEBHOOK_QUEUE
from routing import health, limits
from routing.choice import Capability
from routing.coordination import State
from routing.regions import all_regions, region_served_by
from streaming.models import OPEN as OPEN_STATES
from streaming.models import Hole, LiveSession
from transcribe_project.health import database_answers

logger = logging.getLogger(__name__)

KEPT_SECONDS = 5.0
COST = 20
# All that ever ended are counted by an index of theirs, which takes its time with millions of them.
ENDED_KEPT_SECONDS = 60.0
NEAR_QUOTA = 0.8

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "transcribe_database_up": ("Whether the database answered; without it nothing else is told here.", ()),
    "transcribe_jobs": (
        "Jobs by status; those that have ended up to a minute late.",
        ("status",),
    ),
    "transcribe_open_jobs": (
        "Jobs that have not ended. region: whose queue it is, empty for the one of isolated jobs.",
        ("region", "queue", "priority", "status"),
    ),
    "transcribe_backlog_jobs": (
        "Jobs that a worker could begin now: queued, or waiting for a time that has come.",
        ("region", "queue", "priority"),
    ),
    "transcribe_backlog_oldest_seconds": (
        "For how long the oldest of the queued jobs has been queued; 0 if there is none.",
        ("region", "queue", "priority"),
    ),
    "transcribe_workers_alive": ("Workers heard of within the last 15 s; 0 where none is.", ("queue",)),
    "transcribe_worker_slots": ("Jobs that these run at once.", ("queue",)),
    "transcribe_webhook_deliveries_pending": ("Deliveries to be attempted, now or later.", ()),
    "transcribe_webhook_oldest_due_seconds": (
        "For how long the oldest delivery that is due has been; 0 if none is.",
        (),
    ),
    "transcribe_webhook_endpoints_in_trouble": (
        "Endpoints that fail, and those that were given up for failing. state: failing, given_up.",
        ("state",),
    ),
    "transcribe_live_sessions_open": (
        "Live sessions in all processes. state: connecting, live, interrupted (the client may come back).",
        ("state",),
    ),
    "transcribe_breaker_state": (
        "1 at the state that a region's circuit breaker is in. kind: recordings, live. state: closed, open, "
        "half_open.",
        ("region", "kind", "state"),
    ),
    "transcribe_region_able": (
        "Whether a region that is switched on can do its work now. capability: sync, async, live.",
        ("region", "capability"),
    ),
    "transcribe_provider_slots": (
        "What a region's provider takes at once, where there is a limit. kind: recordings, live.",
        ("region", "kind"),
    ),
    "transcribe_provider_slots_in_use": (
        "How many of these all processes hold together.",
        ("region", "kind"),
    ),
    "transcribe_projects_near_quota": (
        "Projects that have used four fifths of their minutes of today, or more.",
        (),
    ),
    "transcribe_live_holes_open": ("Stretches of live audio still to be transcribed late.", ()),
}

Families = dict[str, GaugeMetricFamily]


class Fleet(Collector):
    """Thread-safe; whoever asks while another does waits for the other's answer."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._told: list[Metric] = []
        self._told_until = self._ended_at = float("-inf")
        self._ended: dict[str, int] = {}

    def describe(self) -> Iterable[Metric]:
        return _families().values()

    def collect(self) -> Iterable[Metric]:
        with self._asking:
            began = monotonic()
            if began > self._told_until:
                told = self._ask()
                self._told = list((told or _of_no_database()).values())
                # What a database costs that does not answer is not its time.
                cost = COST * (monotonic() - began) if told else 0.0
                self._told_until = monotonic() + max(KEPT_SECONDS, cost)
            return self._told

    def _ask(self) -> Families | None:
        """None if the database does not answer."""
        # In less time than Prometheus waits, or it would take the process for gone, and not the database.
        if not database_answers():
            return None
        families = _families()
        try:
            if monotonic() - self._ended_at > ENDED_KEPT_SECONDS:
                self._ended = TranscriptionJob.objects.ended_by_status()
                self._ended_at = monotonic()
            _tell_jobs(families, self._ended)
            _tell_workers(families)
            _tell_webhooks(families)
            _tell_streams(families)
            _tell_limits(families)
            _tell_regions(families)
        except DatabaseError as error:
            logger.warning("The database cannot be asked for metrics: %s", type(error).__name__)
            return None
        families["transcribe_database_up"].add_metric((), 1)
        return families


def _families() -> Families:
    return {name: GaugeMetricFamily(name, said, labels=labels) for name, (said, labels) in GAUGES.items()}


def _of_no_database() -> Families:
    families = _families()
    families["transcribe_database_up"].add_metric((), 0)
    return families


def _tell_jobs(families: Families, ended: dict[str, int]) -> None:
    now = timezone.now()
    by_status = dict.fromkeys(OPEN, 0) | dict.fromkeys(ENDED, 0) | ended
    # A lane that is empty is told as well: nothing to be seen is not the same as nothing there.
    queues = [region.queue for region in all_regions().values()]
    backlog = dict.fromkeys(product(queues, Priority), (0, 0.0))
    for lane in TranscriptionJob.objects.lanes():
        queue, priority = lane["queue"], Priority(lane["priority"])
        by_status[lane["status"]] += lane["jobs"]
        families["transcribe_open_jobs"].add_metric(
            (_region_of(queue), queue, priority.label, lane["status"]), lane["jobs"]
        )
        jobs, age = backlog.get((queue, priority), (0, 0.0))
        if lane["queued_since"] is not None:
            age = max(0.0, (now - lane["queued_since"]).total_seconds())
        backlog[queue, priority] = (jobs + lane["claimable"], age)
    for (queue, priority), (jobs, age) in backlog.items():
        labels = (_region_of(queue), queue, priority.label)
        families["transcribe_backlog_jobs"].add_metric(labels, jobs)
        families["transcribe_backlog_oldest_seconds"].add_metric(labels, age)
    for status, jobs in by_status.items():
        families["transcribe_jobs"].add_metric((status,), jobs)


def _region_of(queue: str) -> str:
    region = region_served_by(queue)
    return region.name if region else ""


def _tell_workers(families: Families) -> None:
    workers = list(WorkerProcess.objects.alive())
    queues = {ISOLATION_QUEUE, WEBHOOK_QUEUE, BATCH_QUEUE}
    queues |= {region.queue for region in all_regions().values()}
    for queue in sorted(queues.union(*(worker.queues for worker in workers))):
        serving = [worker for worker in workers if queue in worker.queues]
        families["transcribe_workers_alive"].add_metric((queue,), len(serving))
        slots = sum(worker.concurrency for worker in serving)
        families["transcribe_worker_slots"].add_metric((queue,), slots)


def _tell_webhooks(families: Families) -> None:
    families["transcribe_webhook_deliveries_pending"].add_metric((), Delivery.objects.pending().count())
    due_since = Delivery.objects.due_since()
    age = 0.0 if due_since is None else (timezone.now() - due_since).total_seconds()
    families["transcribe_webhook_oldest_due_seconds"].add_metric((), max(0.0, age))
    failing = WebhookEndpoint.objects.failing()
    given_up = failing.filter(disabled_reason__in=GIVEN_UP).count()
    for state, endpoints in (("failing", failing.count() - given_up), ("given_up", given_up)):
        families["transcribe_webhook_endpoints_in_trouble"].add_metric((state,), endpoints)


def _tell_streams(families: Families) -> None:
    for state in OPEN_STATES:
        sessions = LiveSession.objects.filter(state=state).count()
        families["transcribe_live_sessions_open"].add_metric((state,), sessions)
    families["transcribe_live_holes_open"].add_metric((), Hole.objects.unsettled().count())


def _tell_limits(families: Families) -> None:
    for region in all_regions().values():
        limited = [kind for kind in limits.Kind if limits.room(region, kind) is not None]
        in_use = limits.in_use(region) if limited else {}
        for kind in limited:
            labels = (region.name, kind)
            families["transcribe_provider_slots"].add_metric(labels, limits.room(region, kind) or 0)
            families["transcribe_provider_slots_in_use"].add_metric(labels, in_use[kind])
    near = quotas.nearly_used_up(NEAR_QUOTA).count()
    families["transcribe_projects_near_quota"].add_metric((), near)


def _tell_regions(families: Families) -> None:
    for region in all_regions().values():
        for kind, found in zip(limits.Kind, health.report_of(region.name).breakers, strict=True):
            for state in State:
                labels = (region.name, kind, state)
                families["transcribe_breaker_state"].add_metric(labels, state is found)
        for capability in Capability if region.enabled else ():
            able = not health.obstacle(region.name, capability)
            families["transcribe_region_able"].add_metric((region.name, capability), able)


FLEET = CollectorRegistry()
FLEET.register(Fleet())
