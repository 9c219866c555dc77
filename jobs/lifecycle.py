"""The moves of a job together with all that is written with them.

Each function is one transaction: the fenced UPDATE of the job first, so that whoever has lost the job to
somebody else (InvalidTransition) writes nothing at all; then the attempt, the transcript, the event and its
deliveries. Workers are woken once it is committed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from structlog.contextvars import bound_contextvars

from jobs import events, metrics, quotas, usage
from jobs.batches import completion
from jobs.forgetting.deletion import remove_answer, remove_unattached
from jobs.models import (
    Attempt,
    AttemptOutcome,
    Mode,
    Priority,
    Recording,
    Status,
    Transcript,
    TranscriptionJob,
)
from jobs.models.state import AudioDeleted
from jobs.placing import elsewhere, place
from jobs.queues import ISOLATION_QUEUE
from jobs.running.wakeups import wake
from jobs.transcripts.results import Result
from routing import tracing
from routing.choice import Capability

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallReport:
    """What a provider call left to tell, for the attempt's row."""

    status_code: int | None = None
    request_id: str = ""
    error_code: str = ""
    error_message: str = ""
    provider_code: str = ""
    outcome_unknown: bool = False


NO_CALL = CallReport()


def attach(job: TranscriptionJob, recording: Recording) -> None:
    """What was fetched and stored for a running job, its row not saved yet, becomes the job's recording."""
    with transaction.atomic():
        if job.project.daily_minutes is not None and recording.duration:
            # Of two tries, the first of which was made without its being known, one counts.
            row = TranscriptionJob.objects.select_for_update(no_key=True).filter(pk=job.pk, recording=None)
            if row.values_list("pk"):
                quotas.count(job.project_id, recording.duration)
        job.attach(recording)
        # Also the second time.
        Recording.objects.bulk_create([recording], ignore_conflicts=True)


def complete(
    job: TranscriptionJob, result: Result, report: CallReport = NO_CALL, answer_name: str = ""
) -> Transcript:
    """The provider's answer becomes the job's transcript, in a version of its own."""
    with transaction.atomic():
        held = _Held(job)
        job.complete(result.duration)
        # A first run has none before it: no need to ask.
        earlier = job.transcripts.aggregate(last=Max("version"))["last"] if job.run > 1 else None
        transcript = Transcript.objects.create(
            job=job,
            run=job.run,
            version=(earlier or 0) + 1,
            text=result.text,
            confidence=result.confidence,
            language=result.language or "",
            words=result.words,
            utterances=result.utterances,
            channels=result.channels,
            answer=answer_name,
        )
        held.end(AttemptOutcome.COMPLETED, report, counted=True)
        _ended(job)
    return transcript


def fail(job: TranscriptionJob, report: CallReport, *, counted: bool = True) -> None:
    with transaction.atomic():
        held = _Held(job)
        job.fail(report.error_code, report.error_message, counted=counted)
        held.end(AttemptOutcome.FAILED, report, counted=counted)
        _came_to_nothing(job)


def wait(
    job: TranscriptionJob, seconds: float, report: CallReport, *, counted: bool, may_leave: bool = False
) -> None:
    """Try again in `seconds`: after an attempt that counts, or after a deferral.

    `may_leave`: its region is to blame, so that another, if one can, has it next.
    """
    with transaction.atomic():
        held = _Held(job)
        line = {}
        stays = job.pinned or job.queue == ISOLATION_QUEUE or not may_leave
        if not stays and (region := elsewhere(job.project, job.region)):
            tag = TranscriptionJob.objects.next_start_tag(job.project, region.queue, job.priority)
            line = {"region": region.name, "queue": region.queue, "start_tag": tag}
        job.wait(seconds, report.error_code, report.error_message, counted=counted, **line)
        outcome = AttemptOutcome.RETRIED if counted else AttemptOutcome.DEFERRED
        held.end(outcome, report, counted=counted)


def release(job: TranscriptionJob) -> None:
    """Give the job back, since this process is going."""
    with transaction.atomic():
        held = _Held(job)
        job.release()
        held.end(AttemptOutcome.RELEASED, NO_CALL, counted=False)
    transaction.on_commit(partial(wake, job.queue))


def bury(job: TranscriptionJob, message: str) -> None:
    with transaction.atomic():
        held = _Held(job)
        job.bury(message)
        report = CallReport(error_code="killed_its_worker", error_message=message)
        held.end(AttemptOutcome.CRASHED, report, counted=True)
        _came_to_nothing(job)


def lose_lease(job: TranscriptionJob) -> None:
    """The sweeper's finding: whoever held the job is gone."""
    with transaction.atomic():
        held = _Held(job)
        job.lose_lease()
        report = CallReport(
            error_code="lease_lost",
            error_message=f"{job.worker} stopped renewing its lease.",
            outcome_unknown=True,
        )
        held.end(AttemptOutcome.LOST, report, counted=False)
    transaction.on_commit(partial(wake, job.queue))


def pass_deadline(job: TranscriptionJob) -> None:
    with transaction.atomic():
        job.pass_deadline()
        _came_to_nothing(job)


def cancel(job: TranscriptionJob) -> None:
    with transaction.atomic():
        # Locked first: the attempt to be recorded is that of whoever holds the job now.
        job.refresh_from_db(from_queryset=TranscriptionJob.objects.select_for_update())
        held = _Held(job)
        job.cancel()
        if held.token is not None:
            held.end(AttemptOutcome.CANCELLED, NO_CALL, counted=False)
        _came_to_nothing(job)


def requeue(job: TranscriptionJob, options: Mapping[str, Any] | None = None) -> None:
    """Run an ended job once more, with other options if given; earlier transcripts stay as versions.

    AudioDeleted if its audio is not kept any more. QuotaExceeded or LongerThanQuota if it was transcribed,
    and for doing that again there is too little of the project's quota; what came to nothing is not counted
    twice.
    NotAccepted if no region may take it any more, UnknownRegion if the one that it is pinned to is gone.
    """
    region = place(job.project, Capability.ASYNC, pinned=job.region if job.pinned else "").region
    with transaction.atomic():
        # The job before its recording, as whoever deletes it (jobs.forgetting.deletion). Its run stays as
        # it was seen, so that of two requeues one is refused.
        job.refresh_from_db(
            fields=("status", "recording", "duration"),
            from_queryset=TranscriptionJob.objects.select_for_update(no_key=True),
        )
        # Locked: the purge looks for open jobs first (jobs.forgetting.retention).
        if job.recording_id is not None:
            recording = Recording.objects.select_for_update(no_key=True).get(pk=job.recording_id)
            if recording.audio_deleted_at is not None:
                raise AudioDeleted(job)
        if job.status == Status.COMPLETED:
            quotas.charge(job.project, job.duration)
        job.requeue(
            queue=region.queue,
            region=region.name,
            start_tag=TranscriptionJob.objects.next_start_tag(job.project, region.queue, job.priority),
            deadline_in=settings.JOB_DEADLINE_SECONDS,
            mode=Mode.ASYNC,
            traceparent=tracing.traceparent(),
            **({} if options is None else {"options": dict(options)}),
        )
        if job.batch_id:
            completion.reopen(job.batch_id)
    transaction.on_commit(partial(wake, region.queue))


def change(
    job: TranscriptionJob,
    *,
    priority: Priority | None = None,
    metadata: dict[str, Any] | None = None,
    tags: list[str] | None = None,
) -> None:
    """Change what is given. Another priority is a new place in the queue: NotInLine if it is in none."""
    labels = {"metadata": metadata, "tags": tags}
    with transaction.atomic():
        if priority is not None and priority != job.priority:
            place = TranscriptionJob.objects.next_start_tag(job.project, job.queue, priority)
            job.prioritise(priority, place)
        job.label(**{name: value for name, value in labels.items() if value is not None})


def _attempt_ended(attempt: Attempt) -> None:
    metrics.attempt_ended(attempt)
    tracing.tell(outcome=attempt.outcome, status_code=attempt.status_code, error_code=attempt.error_code)
    ids = {"job_id": str(attempt.job_id), "attempt_id": str(attempt.lease_token)}
    with bound_contextvars(**ids, provider_request_id=attempt.request_id):
        why = f" ({attempt.error_code})" if attempt.error_code else ""
        logger.info("Attempt in %s: %s%s", attempt.region, attempt.outcome, why)


def _came_to_nothing(job: TranscriptionJob) -> None:
    remove_answer(job)
    _ended(job)


def _ended(job: TranscriptionJob) -> None:
    # They may have been changed since it was claimed; its row is held now.
    job.refresh_from_db(fields=("metadata", "tags"))
    events.job_ended(job)
    usage.job_ended(job)
    transaction.on_commit(partial(metrics.job_ended, job))
    if job.batch_id:
        completion.finish_if_done(job.batch_id)


class _Held:
    """Who held the job before it moved, for the attempt's row."""

    def __init__(self, job: TranscriptionJob) -> None:
        self.job = job
        self.token = job.lease_token
        self.region = job.region
        self.worker = job.worker
        self.started_at = job.claimed_at

    def end(self, outcome: AttemptOutcome, report: CallReport, *, counted: bool) -> None:
        attempt = Attempt.objects.create(
            job=self.job,
            run=self.job.run,
            # Whoever has moved a job that was held knows its token.
            lease_token=cast(UUID, self.token),
            region=self.region,
            worker=self.worker,
            outcome=outcome,
            outcome_unknown=report.outcome_unknown,
            counted=counted,
            status_code=report.status_code,
            request_id=report.request_id,
            error_code=report.error_code,
            error_message=report.error_message,
            provider_code=report.provider_code,
            started_at=self.started_at or timezone.now(),
        )
        transaction.on_commit(partial(_attempt_ended, attempt))
        if self.job.recording_id is None:
            remove_unattached(self.job.pk, self.token)
