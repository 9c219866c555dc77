"""What stands in the queues: how much, for how long, how fast it comes and goes, when it should be gone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q, Sum
from django.db.models.functions import Now

from jobs.estimates import Span
from jobs.ids import first_id
from jobs.models import Attempt, AttemptOutcome, Mode, Status, TranscriptionJob, WorkerProcess
from jobs.models.queue import first_queued
from jobs.models.state import OPEN
from jobs.remembered import remembered
from jobs.speed import Speed, speed_of_region
from routing.regions import region_served_by

# Rates are those of so long, or of as many attempts as are looked at.
RATE_OVER = timedelta(minutes=10)
ATTEMPTS_LOOKED_AT = 2000
# By these a job leaves its queue for good.
_ENDING = (AttemptOutcome.COMPLETED, AttemptOutcome.FAILED, AttemptOutcome.CANCELLED, AttemptOutcome.CRASHED)

_Place = tuple[str, int]


@dataclass(slots=True)
class Wait:
    """So many jobs wait for the same reason; `next` is when the first is tried again."""

    error_code: str
    count: int
    next: datetime


@dataclass(slots=True)
class Lane:
    """What is in one queue at one priority.

    `oldest`: seconds that what has waited longest to be begun has done so. `arriving` and `served`: jobs a
    minute, of late. `left`: until what is queued and waits now is done, None if that cannot be told;
    `slots`: how many jobs of the queue its living workers run at once, of which so many are `taken`.
    """

    queue: str
    priority: int
    region: str
    queued: int
    running: int
    waiting: int
    oldest: float | None
    arriving: float
    served: float
    slots: int
    taken: int
    left: Span | None
    waits: list[Wait] = field(default_factory=list)

    @property
    def is_unserved(self) -> bool:
        return not self.slots and bool(self.queued or self.waiting)

    @property
    def is_full(self) -> bool:
        """Whether what is queued waits for nothing but the end of what runs."""
        return 0 < self.slots <= self.taken and self.queued > 0


def backlog(now: datetime, workers: Iterable[WorkerProcess]) -> list[Lane]:
    """The lanes that have open jobs or had some lately, by queue and then priority. Four queries."""
    slots: Counter[str] = Counter()
    for worker in workers:
        slots.update(dict.fromkeys(worker.queues, worker.concurrency))
    rows = remembered("backlog", _open)
    arriving, served = remembered("rates", lambda: (_arriving(now), _served(now)))
    none = {"queued": 0, "running": 0, "waiting": 0, "queued_since": None, "audio": 0.0, "unknown": 0}
    taken: Counter[str] = Counter()
    for (queue, _), row in rows.items():
        taken[queue] += row["running"]
    places = sorted({*rows, *arriving, *served})
    waits = _waits()
    before: dict[str, float] = defaultdict(float)
    lanes = []
    for queue, priority in places:
        row = rows.get((queue, priority), none)
        region = region_served_by(queue)
        speed = speed_of_region(region.name) if region else None
        lane = Lane(
            queue=queue,
            priority=priority,
            region=region.name if region else "",
            queued=row["queued"],
            running=row["running"],
            waiting=row["waiting"],
            oldest=None if row["queued_since"] is None else (now - row["queued_since"]).total_seconds(),
            arriving=arriving.get((queue, priority), 0.0),
            served=served.get((queue, priority), 0.0),
            slots=slots[queue],
            taken=taken[queue],
            left=_left(row, before[queue], slots[queue], speed),
            waits=waits.get((queue, priority), []),
        )
        before[queue] += row["audio"]
        lanes.append(lane)
    return lanes


def in_line(queue: str) -> int:
    """Jobs that could be begun now."""
    return remembered(f"in-line-{queue}", lambda: _in_line(queue))


def _in_line(queue: str) -> int:
    # One after the other: each has an index of its own.
    in_queue = TranscriptionJob.objects.filter(queue=queue)
    due = in_queue.filter(status=Status.WAITING, run_at__lte=Now())
    return in_queue.filter(status=Status.QUEUED).count() + due.count()


def _open() -> dict[_Place, dict[str, Any]]:
    """Over the rows of open jobs alone."""
    not_begun = ~Q(status=Status.RUNNING)
    rows = (
        TranscriptionJob.objects.filter(status__in=OPEN)
        .order_by()
        .values("queue", "priority")
        .annotate(
            queued=Count("id", filter=Q(status=Status.QUEUED)),
            running=Count("id", filter=Q(status=Status.RUNNING)),
            waiting=Count("id", filter=Q(status=Status.WAITING)),
            queued_since=first_queued(),
            audio=Sum("duration", filter=not_begun, default=0.0),
            unknown=Count("id", filter=not_begun & Q(duration=None)),
        )
    )
    return {(row["queue"], row["priority"]): dict(row) for row in rows}


def _waits() -> Mapping[_Place, list[Wait]]:
    rows = (
        TranscriptionJob.objects.filter(status=Status.WAITING)
        .order_by("queue", "priority", "error_code")
        .values("queue", "priority", "error_code")
        .annotate(count=Count("id"), next=Min("run_at"))
    )
    found: dict[_Place, list[Wait]] = defaultdict(list)
    for row in rows:
        found[row["queue"], row["priority"]].append(Wait(row["error_code"], row["count"], row["next"]))
    return found


def _arriving(now: datetime) -> dict[_Place, float]:
    """Jobs a minute that came to be queued."""
    rows = (
        TranscriptionJob.objects.filter(id__gte=first_id(now - RATE_OVER), mode=Mode.ASYNC)
        .order_by()
        .values_list("queue", "priority")
        .annotate(Count("id"))
    )
    minutes = RATE_OVER.total_seconds() / 60
    return {(queue, priority): count / minutes for queue, priority, count in rows}


def _served(now: datetime) -> dict[_Place, float]:
    """Jobs a minute that workers were done with, of the last attempts."""
    last = Attempt.objects.order_by("-id").values_list(
        "ended_at", "outcome", "job__mode", "job__queue", "job__priority"
    )[:ATTEMPTS_LOOKED_AT]
    lately = [row for row in last if row[0] > now - RATE_OVER]
    over = now - lately[-1][0] if len(lately) == ATTEMPTS_LOOKED_AT else RATE_OVER
    minutes = max(over.total_seconds(), 1.0) / 60
    counted = Counter(
        (queue, priority)
        for _, outcome, mode, queue, priority in lately
        if outcome in _ENDING and mode == Mode.ASYNC
    )
    return {place: count / minutes for place, count in counted.items()}


def _left(row: Mapping[str, Any], before: float, slots: int, speed: Speed | None) -> Span | None:
    """At best all slots take to this lane at once; at worst what is before it goes first, and all is slow."""
    known = row["queued"] + row["waiting"] - row["unknown"]
    if not slots or speed is None or known <= 0:
        return None
    audio = row["audio"] * (1 + row["unknown"] / known)
    return Span(least=audio / slots * speed.typical, most=(before + audio) / slots * speed.slow)


def unserved(queues: Iterable[str], workers: Iterable[WorkerProcess]) -> list[str]:
    """Those of the queues that no living worker looks after."""
    served = {queue for worker in workers for queue in worker.queues}
    return sorted(set(queues) - served)
