"""What the admin's first page says of jobs: the queues, who works on them, and what went wrong lately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from django.db.models import Count, QuerySet

from jobs.admin.charts import Bars, stacked
from jobs.admin.regions import (
    CONDITIONS,
    breakers_in_words,
    condition,
    limits_in_words,
    obstacle_in_words,
    provider_in_words,
    workers_in_words,
)
from jobs.admin.wording import error_in_words, span, stretch, title, until
from jobs.backlog import Lane, backlog, unserved
from jobs.ids import first_id
from jobs.models import (
    Batch,
    BatchArchive,
    Delivery,
    Priority,
    Status,
    TranscriptionJob,
    WebhookEndpoint,
    WorkerProcess,
)
from jobs.models.state import OPEN
from jobs.queues import BATCH_QUEUE, WEBHOOK_QUEUE
from jobs.speed import expected_end
from jobs.trends import WINDOWS, Window, by_status
from routing import limits
from routing.choice import Capability
from routing.health import report_of
from routing.limits import Use
from routing.regions import Region, all_regions

SHOWN = 8
# What a chart tells apart.
KINDS = {
    "completed": (Status.COMPLETED,),
    "failed": (Status.FAILED, Status.DEAD),
    "cancelled": (Status.CANCELLED,),
    "open": OPEN,
}


@dataclass(frozen=True, slots=True)
class Row:
    """A lane as it is put to people."""

    lane: Lane
    priority: str
    oldest: str
    left: str
    blocks: list[str]


@dataclass(frozen=True, slots=True)
class Running:
    """A job that runs. `share`: per cent of the time that it should take, None if nobody can tell."""

    job: TranscriptionJob
    title: str
    elapsed: str
    expected: str
    share: int | None


@dataclass(frozen=True, slots=True)
class Chart:
    window: Window
    bars: Bars
    since: str


@dataclass(frozen=True, slots=True)
class Place:
    """A region, as it is put to people: what it can do ("all", "some", "nothing"), and what it has to do."""

    region: Region
    can: str
    colour: str
    provider: str
    workers: str
    in_use: list[str]
    breakers: list[str]


def of_jobs(now: datetime) -> dict[str, Any]:
    """A fixed number of queries, each over an index, over the rows of open jobs, or over a bounded number."""
    processes = list(WorkerProcess.objects.order_by("name"))
    alive = {worker.pk for worker in WorkerProcess.objects.alive()}
    workers = [worker for worker in processes if worker.pk in alive]
    lanes = backlog(now, workers)
    deliveries_due = Delivery.objects.pending().count()
    backlogged = {lane.queue for lane in lanes if lane.queued or lane.waiting}
    if deliveries_due:
        backlogged.add(WEBHOOK_QUEUE)
    if Batch.objects.moving().exists() or BatchArchive.objects.unopened().exists():
        backlogged.add(BATCH_QUEUE)
    busy = _busy()
    return {
        "now": now,
        "lanes": [_row(lane, now) for lane in lanes],
        "regions": [_place(region) for region in all_regions().values()],
        "workers": [(worker, busy[worker.pk]) for worker in workers],
        "silent": [worker for worker in processes if worker.pk not in alive],
        "slots": sum(worker.concurrency for worker in workers),
        "busy": sum(busy[worker.pk] for worker in workers),
        "queued": sum(lane.queued for lane in lanes),
        "waiting": sum(lane.waiting for lane in lanes),
        "running_count": sum(lane.running for lane in lanes),
        "unserved": unserved(backlogged, workers),
        "deliveries_due": deliveries_due,
        "charts": [_chart(window, now) for window in WINDOWS],
        "running": _running(now),
        "failures": _failures(),
        "deliveries": _failing_deliveries(now),
        "endpoints": WebhookEndpoint.objects.failing().select_related("project")[:SHOWN],
    }


def _row(lane: Lane, now: datetime) -> Row:
    return Row(
        lane=lane,
        priority=Priority(lane.priority).label,
        oldest="" if lane.oldest is None else span(lane.oldest),
        left=stretch(lane.left) if lane.left else "",
        blocks=list(_blocks(lane, now)),
    )


def _blocks(lane: Lane, now: datetime) -> Iterable[str]:
    """What keeps the lane's jobs: "3 wait: the provider could not be reached (next in 12 s)"."""
    if lane.is_unserved:
        yield "No worker is alive."
    if lane.is_full:
        yield f"All {lane.slots} places of its workers are taken."
    region = all_regions().get(lane.region)
    if region is not None and (lane.queued or lane.waiting):
        # Of its workers the lane knows better.
        if why := obstacle_in_words(region.name, Capability.SYNC):
            yield f"Its region does nothing now: {why}."
        if not limits.has_room(region, Use.QUEUED):
            yield "Its provider's limit is reached."
    for wait in lane.waits:
        due = until((wait.next - now).total_seconds())
        yield f"{wait.count} put off: {error_in_words(wait.error_code)} (next {due})."


def _place(region: Region) -> Place:
    report, can = report_of(region.name), condition(region)
    return Place(
        region,
        can,
        CONDITIONS[can],
        provider_in_words(report),
        workers_in_words(report),
        limits_in_words(region),
        breakers_in_words(report),
    )


def _busy() -> Counter[str]:
    """Jobs that run, by who holds them: what workers report of themselves is seconds behind."""
    rows = (
        TranscriptionJob.objects.filter(status=Status.RUNNING)
        .order_by()
        .values_list("worker")
        .annotate(Count("id"))
    )
    return Counter(dict(rows))


def _running(now: datetime) -> list[Running]:
    """Those that have run the longest."""
    jobs: QuerySet[TranscriptionJob] = TranscriptionJob.objects.filter(status=Status.RUNNING)
    return [_of_running(job, now) for job in jobs.select_related("recording").order_by("claimed_at")[:SHOWN]]


def _of_running(job: TranscriptionJob, now: datetime) -> Running:
    begun = job.claimed_at or now
    elapsed = max((now - begun).total_seconds(), 0.0)
    end = expected_end(job, None)
    takes = (end - begun).total_seconds() if end else None
    return Running(
        job,
        title(job),
        span(elapsed),
        span(takes) if takes else "",
        min(round(100 * elapsed / takes), 100) if takes else None,
    )


def _chart(window: Window, now: datetime) -> Chart:
    columns = [
        {kind: sum(counted[status] for status in statuses) for kind, statuses in KINDS.items()}
        for counted in by_status(window, now)
    ]
    since = now - window.stretch * window.count
    return Chart(window, stacked(columns, KINDS), since.isoformat(timespec="seconds"))


def _failures() -> list[dict[str, Any]]:
    """The latest, found by the index of each status."""
    latest = [
        job
        for status in (Status.FAILED, Status.DEAD)
        for job in TranscriptionJob.objects.filter(status=status)
        .select_related("recording", "project")
        .order_by("-id")[:SHOWN]
    ]
    latest.sort(key=attrgetter("id"), reverse=True)
    return [
        {"job": job, "title": title(job), "error": error_in_words(job.error_code)} for job in latest[:SHOWN]
    ]


def _failing_deliveries(now: datetime) -> Sequence[Delivery]:
    """The latest of this week."""
    this_week = Delivery.objects.in_trouble().filter(id__gte=first_id(now - timedelta(days=7)))
    return list(this_week.select_related("event").order_by("-id")[:SHOWN])
