"""How fast recordings have been transcribed lately, to tell how long the next one should take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.core.cache import cache
from django.db.models import F

from jobs.models import Attempt, AttemptOutcome, Status, TranscriptionJob

SAMPLE = 50
REMEMBERED_SECONDS = 10


def estimated_seconds(duration: float | None, region: str, options: Mapping[str, Any]) -> float | None:
    """Seconds that transcribing `duration` seconds should take in this region with this model.

    By the median speed of the last 50 completed attempts, in seconds per second of audio; None if unknown.
    """
    if duration is None:
        return None
    model = str(options.get("model", ""))
    speed = cache.get_or_set(f"speed:{region}:{model}", lambda: _speed(region, model), REMEMBERED_SECONDS)
    return None if speed is None else duration * speed


def expected_end(job: TranscriptionJob) -> datetime | None:
    """When a job that runs should be finished, by recent speed; None if that is not known."""
    if job.status != Status.RUNNING or job.claimed_at is None:
        return None
    takes = estimated_seconds(job.duration, job.region, job.options)
    return None if takes is None else job.claimed_at + timedelta(seconds=takes)


def _speed(region: str, model: str) -> float | None:
    recent = (
        Attempt.objects.filter(
            outcome=AttemptOutcome.COMPLETED, region=region, job__options__model=model, job__duration__gt=0
        )
        .order_by("-id")
        .values_list(F("ended_at") - F("started_at"), "job__duration")[:SAMPLE]
    )
    return median(took.total_seconds() / audio for took, audio in recent) if recent else None
