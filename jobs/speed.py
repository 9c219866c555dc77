"""How fast recordings have been transcribed lately, to tell how long the next one should take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

from django.core.cache import cache
from django.db.models import F, QuerySet
from django.utils import timezone

from jobs.models import Attempt, AttemptOutcome, Status, TranscriptionJob, WorkerProcess
from jobs.models.job import MOST_COUNTED, Ahead

SAMPLE = 50
SLOW = 0.9
REMEMBERED_SECONDS = 10
TOOK = F("ended_at") - F("started_at")


class Speed(NamedTuple):
    """Seconds per second of audio: the median of recent attempts, and what nine in ten of them kept to."""

    typical: float
    slow: float


def estimated_seconds(duration: float | None, region: str, options: Mapping[str, Any]) -> float | None:
    """Seconds that transcribing `duration` seconds should take in this region with this model.

    By the median speed of the last 50 completed attempts, in seconds per second of audio; None if unknown.
    """
    if duration is None:
        return None
    speed = recent_speed(region, options)
    return None if speed is None else duration * speed.typical


def recent_speed(region: str, options: Mapping[str, Any]) -> Speed | None:
    """How fast this region was with this model in the last 50 completed attempts; None if there are none."""
    model = str(options.get("model", ""))
    speed: Speed | None = cache.get_or_set(
        f"speed:{region}:{model}", lambda: _speed(region, model), REMEMBERED_SECONDS
    )
    return speed


def expected_end(job: TranscriptionJob, ahead: Ahead | None) -> datetime | None:
    """When a job that runs, or is queued behind what is `ahead`, should be finished; None if nobody can tell.

    A queued one waits until the workers that are alive have run what is before it, by recent speed, and what
    they run now, which is half done on average.
    """
    takes = estimated_seconds(job.duration, job.region, job.options)
    if takes is None:
        return None
    if job.status == Status.RUNNING and job.claimed_at is not None:
        return job.claimed_at + timedelta(seconds=takes)
    wait = None if ahead is None else _wait(job, ahead)
    return None if wait is None else timezone.now() + timedelta(seconds=wait + takes)


def _wait(job: TranscriptionJob, ahead: Ahead) -> float | None:
    """Seconds until a queued job is begun; None if that cannot be told."""
    alive = WorkerProcess.objects.alive()
    slots: int = sum(worker.concurrency for worker in alive if job.queue in worker.queues)
    working = estimated_seconds(ahead.audio, job.region, job.options)
    typical: float | None = cache.get_or_set(
        f"typical:{job.region}", lambda: _typical(job.region), REMEMBERED_SECONDS
    )
    if not slots or working is None or typical is None or ahead.jobs >= MOST_COUNTED:
        return None
    running = TranscriptionJob.objects.filter(status=Status.RUNNING, queue=job.queue).count()
    if running + ahead.jobs < slots:
        return 0.0
    return (working + (ahead.unknown + running / 2) * typical) / slots


def _speed(region: str, model: str) -> Speed | None:
    timed = _recent(region).filter(job__options__model=model, job__duration__gt=0)
    recent = timed.values_list(TOOK, "job__duration")[:SAMPLE]
    speeds = sorted(took.total_seconds() / audio for took, audio in recent)
    return Speed(median(speeds), speeds[int(len(speeds) * SLOW)]) if speeds else None


def _typical(region: str) -> float | None:
    """Seconds that a job takes, whatever its length."""
    recent = _recent(region).values_list(TOOK, flat=True)[:SAMPLE]
    return median(took.total_seconds() for took in recent) if recent else None


def _recent(region: str) -> QuerySet[Attempt]:
    return Attempt.objects.filter(outcome=AttemptOutcome.COMPLETED, region=region).order_by("-id")
