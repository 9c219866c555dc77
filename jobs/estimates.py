"""What is to be expected of audio that is not transcribed yet: its mode, how long it takes, what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.db.models import Sum

from jobs.batches.progress import Tally
from jobs.intake import Order, choose, place_for
from jobs.models import Batch, TranscriptionJob, WorkerProcess
from jobs.placing import place
from jobs.prices import cost_of
from jobs.refusal import NotAccepted
from jobs.speed import REMEMBERED_SECONDS, recent_speed
from routing.choice import Capability
from routing.regions import Region, UnknownRegion


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds from now. `least`: if nothing goes before it; `most`: if all that is queued does."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """`seconds` are of audio; `modes` are how many of the jobs would run in which."""

    jobs: int
    seconds: float
    modes: dict[str, int]
    region: str
    remaining: Span | None
    cost: Decimal | None


def estimate(order: Order, durations: Sequence[float]) -> Estimate:
    """What would become of recordings of these lengths, submitted now one by one.

    NotAccepted if no region may take them, UnknownRegion if there is none of the name that was asked for.
    """
    region = place_for(order, Capability.ASYNC).region
    seconds = sum(durations)
    return Estimate(
        jobs=len(durations),
        seconds=seconds,
        modes=_modes(order, region, durations),
        region=region.name,
        remaining=time_for(seconds, max(durations), region, order.options, order.priority),
        cost=cost_of(seconds, str(order.options.get("model", ""))),
    )


def remaining(batch: Batch, tally: Tally) -> Span | None:
    """How long it should take until none of the batch's jobs is open; None if that cannot be told."""
    if tally.jobs == tally.ended:
        return None
    try:
        region = place(batch.project, Capability.ASYNC, pinned=batch.region).region
    except (NotAccepted, UnknownRegion):
        return None
    left = tally.seconds_left
    if left <= 0:
        # Nothing is known of how long any of it is.
        return None
    average = left / (tally.jobs - tally.ended)
    return time_for(left, average, region, batch.options, batch.priority, of_queued=left)


def time_for(
    seconds: float,
    longest: float,
    region: Region,
    options: Mapping[str, Any],
    priority: int,
    *,
    of_queued: float = 0.0,
) -> Span | None:
    """How long so many seconds of audio should take in this region, the longest piece being so long.

    By recent speed, and by the slots of the workers that are alive. `of_queued`: how much of it is in the
    queue already. None if there are no workers, or nothing is known of speed.
    """
    speed = recent_speed(region.name, options)
    slots = WorkerProcess.objects.slots(region.queue)
    if speed is None or not slots:
        return None
    ahead = max(0.0, _queued_seconds(region.queue, priority) - of_queued)
    return Span(
        least=max(seconds / slots, longest) * speed.typical,
        most=max((seconds + ahead) / slots, longest) * speed.slow,
    )


def _queued_seconds(queue: str, priority: int) -> float:
    """Seconds of audio that are open in the queue at this priority or before it, as far as is known.

    Remembered, since every look at a batch asks for it and all that is open is gone through.
    """
    waiting = TranscriptionJob.objects.open().filter(queue=queue, priority__lte=priority)
    found: Any = cache.get_or_set(
        f"queued:{queue}:{priority}",
        lambda: waiting.aggregate(seconds=Sum("duration", default=0.0))["seconds"],
        REMEMBERED_SECONDS,
    )
    return float(found)


def _modes(order: Order, region: Region, durations: Sequence[float]) -> dict[str, int]:
    speed = recent_speed(region.name, order.options)
    chosen: Counter[str] = Counter()
    for duration in durations:
        expected = None if speed is None else duration * speed.typical
        _, choice = choose(order, duration, expected, patience=order.waits, slot_free=True)
        chosen[choice.mode] += 1
    return {"sync": chosen["sync"], "async": chosen["async"]}
