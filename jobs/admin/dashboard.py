"""The admin's first page: what is in the queues, who works on it, and what went wrong lately."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from jobs.admin.wording import error_in_words, span, title, until
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

SHOWN = 8


@dataclass(slots=True)
class Lane:
    """What is in one queue at one priority.

    `by_workers` is how many of those that run are living workers', not web processes'; `oldest` is the age of
    what has waited longest to be begun.
    """

    queue: str
    priority: str
    queued: int
    running: int
    waiting: int
    by_workers: int
    oldest: str
    reasons: list[str] = field(default_factory=list)


def add_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """django-unfold's DASHBOARD_CALLBACK."""
    return context | dashboard(timezone.now())


def dashboard_partial(request: HttpRequest) -> HttpResponse:
    return render(request, "admin/jobs/_dashboard.html", dashboard(timezone.now()))


def dashboard(now: datetime) -> dict[str, Any]:
    """Eleven queries, each over an index or over the rows of open jobs alone."""
    workers = list(WorkerProcess.objects.alive().order_by("name"))
    lanes = _lanes(now, workers)
    deliveries_due = Delivery.objects.pending().count()
    backlogged = {lane.queue for lane in lanes if lane.queued or lane.waiting}
    if deliveries_due:
        backlogged.add(WEBHOOK_QUEUE)
    if Batch.objects.moving().exists() or BatchArchive.objects.unopened().exists():
        backlogged.add(BATCH_QUEUE)
    return {
        "now": now,
        "lanes": lanes,
        "workers": workers,
        "slots": sum(worker.concurrency for worker in workers),
        # Of the same query as the queues, which what workers report of themselves is seconds behind.
        "busy": sum(lane.by_workers for lane in lanes),
        "unserved": unserved(backlogged, workers),
        "deliveries_due": deliveries_due,
        "recent": _recent(now),
        "hour_ago": (now - timedelta(hours=1)).isoformat(timespec="seconds"),
        "failures": _failures(),
        "deliveries": _failing_deliveries(now),
        "endpoints": WebhookEndpoint.objects.failing().select_related("project")[:SHOWN],
    }


def unserved(queues: Iterable[str], workers: Iterable[WorkerProcess]) -> list[str]:
    """Those of the queues that no living worker looks after."""
    served = {queue for worker in workers for queue in worker.queues}
    return sorted(set(queues) - served)


def _lanes(now: datetime, workers: Iterable[WorkerProcess]) -> list[Lane]:
    theirs = Q(status=Status.RUNNING, worker__in=[worker.name for worker in workers])
    rows = (
        TranscriptionJob.objects.filter(status__in=OPEN)
        .order_by("queue", "priority")
        .values("queue", "priority")
        .annotate(
            queued=Count("id", filter=Q(status=Status.QUEUED)),
            running=Count("id", filter=Q(status=Status.RUNNING)),
            waiting=Count("id", filter=Q(status=Status.WAITING)),
            by_workers=Count("id", filter=theirs),
            # The deadline is counted from when a job was last queued, and so tells when that was.
            first_deadline=Min("deadline_at", filter=Q(status=Status.QUEUED)),
        )
    )
    reasons = _reasons(now)
    return [
        Lane(
            row["queue"],
            Priority(row["priority"]).label,
            row["queued"],
            row["running"],
            row["waiting"],
            row["by_workers"],
            _age(row["first_deadline"], now),
            reasons.get((row["queue"], row["priority"]), []),
        )
        for row in rows
    ]


def _age(deadline: datetime | None, now: datetime) -> str:
    if deadline is None:
        return ""
    return span((now - deadline).total_seconds() + settings.JOB_DEADLINE_SECONDS)


def _reasons(now: datetime) -> dict[tuple[str, int], list[str]]:
    """Why jobs wait, by queue and priority: "3: The provider could not be reached (next in 12 s)"."""
    rows = (
        TranscriptionJob.objects.filter(status=Status.WAITING)
        .order_by("queue", "priority", "error_code")
        .values("queue", "priority", "error_code")
        .annotate(count=Count("id"), next=Min("run_at"))
    )
    return {
        lane: [
            f"{row['count']}: {error_in_words(row['error_code'])} "
            f"(next {until((row['next'] - now).total_seconds())})"
            for row in of_lane
        ]
        for lane, of_lane in groupby(rows, key=lambda row: (row["queue"], row["priority"]))
    }


def _recent(now: datetime) -> list[dict[str, Any]]:
    """How many of the jobs accepted in the last hour and day are in each status."""
    hour, day = first_id(now - timedelta(hours=1)), first_id(now - timedelta(days=1))
    rows = (
        TranscriptionJob.objects.filter(id__gte=day)
        .order_by()
        .values("status")
        .annotate(day=Count("id"), hour=Count("id", filter=Q(id__gte=hour)))
    )
    found = {row["status"]: row for row in rows}
    none = {"day": 0, "hour": 0}
    return [none | found.get(status.value, {}) | {"status": status.value} for status in Status]


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


def _failing_deliveries(now: datetime) -> list[Delivery]:
    """The latest of this week."""
    this_week = Delivery.objects.in_trouble().filter(id__gte=first_id(now - timedelta(days=7)))
    return list(this_week.select_related("event").order_by("-id")[:SHOWN])
