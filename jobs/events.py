"""Telling the world that something has happened: an event, and a delivery for each address that hears of it.

What is told is written in the transaction in which it happens, and webhook workers are woken once that is
committed; nothing here waits for a receiver.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from jobs.models import Batch, Delivery, Event, EventType, Status, TranscriptionJob, WebhookEndpoint
from jobs.models.delivery import receiver_of
from jobs.models.event import as_json
from jobs.queues import WEBHOOK_QUEUE
from jobs.running.wakeups import wake

TYPE_FOR = {
    Status.COMPLETED: EventType.JOB_COMPLETED,
    Status.FAILED: EventType.JOB_FAILED,
    Status.DEAD: EventType.JOB_FAILED,
    Status.CANCELLED: EventType.JOB_CANCELLED,
}
# With what surrounds it, a message stays under the 20 kB that Standard Webhooks 1.0.0 recommends.
MOST_EVENT_BYTES = 19_000
# What users may make as large as they like, and find at the event's `url` as well.
OF_USERS = ("metadata", "tags")


def job_ended(job: TranscriptionJob) -> Event:
    """Tell of the end of the job's run: once, since the run's number is the event's sequence."""
    completed = job.status == Status.COMPLETED
    url = f"{settings.PUBLIC_URL}/api/v1/jobs/{job.pk}/"
    data = {
        "id": str(job.pk),
        "project": str(job.project_id),
        "batch": str(job.batch_id) if job.batch_id else None,
        "status": job.status,
        "run": job.run,
        "sequence": job.run,
        "attempts": job.attempts,
        "duration": job.duration,
        "error": {"code": job.error_code, "message": job.error_message} if job.error_code else None,
        "metadata": job.metadata,
        "tags": job.tags,
        "url": url,
        "transcript_url": f"{url}transcript.json" if completed else None,
    }
    return emit(
        job.project_id,
        TYPE_FOR[Status(job.status)],
        data,
        job=job,
        sequence=job.run,
        callback_url=job.callback_url,
        traceparent=job.traceparent,
    )


def emit(
    project_id: UUID, kind: EventType, data: dict[str, Any], *, callback_url: str = "", **fields: Any
) -> Event:
    """Write an event of the project, with its deliveries. Call it in the transaction of what it tells of.

    As `event_of` has it. `callback_url` is told beside those who subscribed. IntegrityError if this
    `sequence` of the job or batch has been told.
    """
    event = event_of(project_id, kind, data, **fields)
    emit_all([event], callback_url)
    return event


def event_of(
    project_id: UUID,
    kind: EventType,
    data: dict[str, Any],
    *,
    job: TranscriptionJob | None = None,
    batch: Batch | None = None,
    sequence: int = 1,
    traceparent: str = "",
) -> Event:
    """An event to be written by `emit_all`.

    `data` goes to receivers as it is, with `truncated` added: where a message would be too large, `metadata`
    and `tags` are null in it. Keep what else it has well below 19 kB of JSON, with links to the rest.
    `traceparent`: of what its deliveries are a part of (routing.tracing).
    """
    data = {**data, "truncated": False}
    if len(as_json(data)) > MOST_EVENT_BYTES:
        data |= {name: None for name in OF_USERS if name in data} | {"truncated": True}
    return Event(
        project_id=project_id,
        type=kind,
        job=job,
        batch=batch,
        sequence=sequence,
        data=data,
        traceparent=traceparent,
    )


def emit_all(events: Sequence[Event], callback_url: str = "") -> None:
    """Write these with their deliveries, as `emit` does one."""
    hearing: dict[tuple[UUID, str], list[tuple[UUID | None, str]]] = {
        about: [*WebhookEndpoint.objects.hearing(*about)]
        for about in {(event.project_id, event.type) for event in events}
    }
    callback: list[tuple[UUID | None, str]] = [(None, callback_url)] if callback_url else []
    Event.objects.bulk_create(events)
    deliveries = [
        Delivery(event=event, endpoint_id=endpoint_id, url=url, receiver=receiver_of(url))
        for event in events
        for endpoint_id, url in hearing[event.project_id, event.type] + callback
    ]
    if deliveries:
        Delivery.objects.bulk_create(deliveries)
        transaction.on_commit(partial(wake, WEBHOOK_QUEUE))
