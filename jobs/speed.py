"""How fast recordings have been transcribed lately, to tell how long the next one should take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from statistics import median
from typing import Any, NamedTuple, cast

from django.core.cache import cache
from django.db.models import F
from django.utils import timezone

from jobs.models import Attempt, AttemptOutcome, Status, TranscriptionJob, WorkerProcess
from jobs.models.job import MOST_COUNTED, Ahead

SAMPLE = 50
LOOKED_AT = 2000
SLOW = 0.9
REMEMBERED_SECONDS = 10
TOOK = F("ended_at") - F("started_at")


class Speed(NamedTuple):
    """Seconds per second of audio: the median of recent attempts, and what nine in ten of them kept to."""

    typical: float
    slow: float


class _Recent(NamedTuple):
    """`any_model`: of all of them. `typical`: seconds that a job takes, whatever its length and model."""

    by_model: dict[str, Speed]
    any_model: Speed | None
    typical: float | None


def estimated_seconds(duration: float | None, region: str, options: Mapping[str, Any]) -> float | None:
    """Seconds that transcribing `duration` seconds should take in this region with this model.

    By the median speed of the last 50 completed attempts, in seconds per second of audio; None if unknown.
    """
    if duration is None:
        return None
    speed = recent_speed(region, options)
    return None if speed is None else duration * speed.typical


def recent_speed(region: str, options: Mapping[str, Any]) -> Speed | None:
    """How fast this region was with this model in its last 50 completed attempts; None if there are none.

    Of the region's last 2,000: a model that was not among them counts as unknown.
    """
    return _recent(region).by_model.get(str(options.get("model", "")))


def speed_of_region(region: str) -> Speed | None:
    """The same, whatever the model."""
    return _recent(region).any_model


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
    slots = WorkerProcess.objects.slots(job.queue)
    working = estimated_seconds(ahead.audio, job.region, job.options)
    typical = _recent(job.region).typical
    if not slots or working is None or typical is None or ahead.jobs >= MOST_COUNTED:
        return None
    running = TranscriptionJob.objects.filter(status=Status.RUNNING, queue=job.queue).count()
    if running + ahead.jobs < slots:
        return 0.0
    return (working + (ahead.unknown + running / 2) * typical) / slots


def _recent(region: str) -> _Recent:
    found: Any = cache.get_or_set(f"speed:{region}", lambda: _read(region), REMEMBERED_SECONDS)
    return cast(_Recent, found)


def _read(region: str) -> _Recent:
    """Of a bounded number of rows, and sorted by model here: whoever asks may name any model."""
    completed = Attempt.objects.filter(outcome=AttemptOutcome.COMPLETED, region=region).order_by("-id")
    rows = completed.values_list(TOOK, "job__duration", "job__options__model")[:LOOKED_AT]
    took: list[float] = []
    speeds: defaultdict[str, list[float]] = defaultdict(list)
    for each, audio, model in rows:
        took.append(each.total_seconds())
        if audio and audio > 0:
            speeds[str(model or "")].append(each.total_seconds() / audio)
    of_all = list(chain.from_iterable(speeds.values()))
    return _Recent(
        {model: _speed(of_model[:SAMPLE]) for model, of_model in speeds.items()},
        _speed(of_all) if of_all else None,
        median(took[:SAMPLE]) if took else None,
    )


def _speed(recent: Sequence[float]) -> Speed:
    return Speed(median(recent), sorted(recent)[int(len(recent) * SLOW)])
