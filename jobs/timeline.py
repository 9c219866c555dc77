"""What happened to a job, in order: one list from the rows that were written as it went."""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter
from typing import Any, Literal, TypedDict

from jobs.models import Delivery, DeliveryStatus, Status, TranscriptionJob


class Entry(TypedDict):
    """`details` depend on the kind; an attempt's `at` is its start and `ended_at` its end.

    created     mode, region
    attempt     outcome, region, worker, counted, outcome_unknown, status_code, request_id, error_code,
                error_message
    running     region, worker (the attempt that has not ended yet)
    waiting     until, error_code, error_message (`at` is the end of the last attempt)
    transcript  version, corrected (whether by a person), author
    event       type, id
    delivery    url, number, status_code, error, seconds
    next_delivery   url, number (`at` may lie ahead)
    """

    at: datetime
    ended_at: datetime | None
    kind: Literal[
        "created", "attempt", "running", "waiting", "transcript", "event", "delivery", "next_delivery"
    ]
    run: int
    details: dict[str, Any]


def timeline(job: TranscriptionJob) -> list[Entry]:
    """The oldest entry first, over all runs. Five queries however much happened."""
    entries = _attempts(job)
    entries += [
        _entry(
            "transcript",
            transcript.run,
            transcript.created_at,
            version=transcript.version,
            corrected=transcript.author != "",
            author=transcript.author,
        )
        for transcript in job.transcripts.defer("text", "words", "utterances", "channels", "speakers")
    ]
    entries += _told(job)
    # First whatever the clocks say: that of this host wrote it, the database's what came of it.
    created = _entry("created", 1, job.created_at, mode=job.mode, region=job.region)
    return [created, *sorted(entries, key=itemgetter("at"))]


def _entry(kind: Any, run: int, at: datetime, ended_at: datetime | None = None, **details: Any) -> Entry:
    return Entry(kind=kind, run=run, at=at, ended_at=ended_at, details=details)


def _attempts(job: TranscriptionJob) -> list[Entry]:
    shown = (
        "outcome",
        "region",
        "worker",
        "counted",
        "outcome_unknown",
        "status_code",
        "request_id",
        "error_code",
        "error_message",
    )
    attempts = list(job.history.all())
    entries = [
        _entry(
            "attempt",
            attempt.run,
            attempt.started_at,
            attempt.ended_at,
            **{name: getattr(attempt, name) for name in shown},
        )
        for attempt in attempts
    ]
    if job.status == Status.RUNNING:
        since = job.claimed_at or job.created_at
        entries.append(_entry("running", job.run, since, region=job.region, worker=job.worker))
    elif job.status == Status.WAITING:
        since = attempts[-1].ended_at if attempts else job.created_at
        code, message = job.error_code, job.error_message
        entries.append(
            _entry("waiting", job.run, since, until=job.run_at, error_code=code, error_message=message)
        )
    return entries


def _told(job: TranscriptionJob) -> list[Entry]:
    entries = [
        _entry("event", event.sequence, event.created_at, type=event.type, id=str(event.pk))
        for event in job.events.all()
    ]
    for delivery in Delivery.objects.filter(event__job=job).select_related("event").prefetch_related("log"):
        run = delivery.event.sequence
        entries += [
            _entry(
                "delivery",
                run,
                attempt.started_at,
                url=delivery.url,
                number=attempt.number,
                status_code=attempt.status_code,
                took_it=attempt.took_it,
                error=attempt.error,
                seconds=attempt.duration,
            )
            for attempt in delivery.log.all()
        ]
        if delivery.status == DeliveryStatus.PENDING:
            entries.append(
                _entry("next_delivery", run, delivery.run_at, url=delivery.url, number=delivery.attempts + 1)
            )
    return entries
