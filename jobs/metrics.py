"""What is counted of jobs and webhooks, in the process where it happens and once it is committed.

Labels are few: what callers may choose freely (a custom model) is counted as `custom`. What is a question
over rows, as how many jobs wait, is asked when it is collected (transcribe_project/metrics/fleet.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from prometheus_client import Counter, Histogram

from jobs.models import Attempt, Delivery, DeliveryAttempt, Priority, Status, TranscriptionJob
from jobs.prices import cost_of
from jobs.transcripts.options import model_family

LONG = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)

SUBMITTED = Counter("transcribe_jobs_submitted", "Jobs accepted.", ("mode", "region"))
ENDED = Counter(
    "transcribe_jobs_ended",
    "Runs of jobs that ended. status: completed, failed, cancelled, dead.",
    ("status", "mode", "region", "model"),
)
FAILED = Counter(
    "transcribe_jobs_failed", "Runs of jobs that failed or are dead, by why.", ("region", "error_code")
)
QUEUE_SECONDS = Histogram(
    "transcribe_job_queue_duration_seconds",
    "From the queueing of a job to its being begun by a worker.",
    ("region", "priority"),
    buckets=LONG,
)
ATTEMPT_SECONDS = Histogram(
    "transcribe_attempt_duration_seconds",
    "Attempts, from the claim of the job to what came of it. outcome: completed, retried, deferred (no "
    "attempt by the count), failed, cancelled, released, lost (with its worker), crashed.",
    ("region", "outcome"),
    buckets=LONG,
)
AUDIO_SECONDS = Counter(
    "transcribe_audio_seconds",
    "Audio transcribed, live as it comes. mode: sync, async, streaming.",
    ("mode", "region", "model"),
)
COST = Counter(
    "transcribe_estimated_cost",
    "What that audio should cost by PRICES, in PRICE_CURRENCY; nothing where there is no price.",
    ("mode", "region", "model"),
)
RESCUES = Counter(
    "transcribe_sweeper_rescues",
    "What was moved on since nobody looked after it. what: stalled_job (its worker is gone), overdue_job "
    "(past its deadline), lapsed_stream (its server is gone), abandoned_stream (its client did not come "
    "back).",
    ("what",),
)
WEBHOOK_SECONDS = Histogram(
    "transcribe_webhook_attempt_duration_seconds",
    "Attempts at webhooks. outcome: delivered (any 2xx), refused (another answer), unanswered.",
    ("outcome",),
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)
WEBHOOK_DELIVERIES = Counter(
    "transcribe_webhook_deliveries",
    "Deliveries that are over: delivered, or given up after the last attempt.",
    ("outcome",),
)
WEBHOOK_LAG_SECONDS = Histogram(
    "transcribe_webhook_lag_seconds",
    "From what happened to its being taken by a receiver; replays left out.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300, 1800, 7200, 43200, 259200),
)

# What has not happened yet is 0 and not unknown, or its first time would be no rise.
for _what in ("stalled_job", "overdue_job", "lapsed_stream", "abandoned_stream"):
    RESCUES.labels(_what)
for _outcome in ("delivered", "refused", "unanswered"):
    WEBHOOK_SECONDS.labels(_outcome)
for _outcome in ("delivered", "given_up"):
    WEBHOOK_DELIVERIES.labels(_outcome)
# Of what alerts are about (docker/prometheus).
_WATCHED = (
    "provider_unreachable",
    "provider_timeout",
    "provider_error",
    "internal_error",
    "killed_its_worker",
    "deadline_exceeded",
)


def expect(region: str) -> None:
    """The same, for what depends on the region."""
    for mode in ("sync", "async"):
        SUBMITTED.labels(mode, region)
    for code in _WATCHED:
        FAILED.labels(region, code)


def model_label(options: Mapping[str, Any]) -> str:
    return model_family(options) or "custom"


def audio_transcribed(seconds: float, *, mode: str, region: str, options: Mapping[str, Any]) -> None:
    labels = (mode, region, model_label(options))
    AUDIO_SECONDS.labels(*labels).inc(seconds)
    cost = cost_of(seconds, str(options.get("model", "")))
    if cost is not None:
        COST.labels(*labels).inc(float(cost))


def job_claimed(job: TranscriptionJob) -> None:
    """By a worker. Retries are left out: they wait as long as they are told to."""
    if job.claimed_at is None or job.claimed_at != job.started_at:
        return
    waited = (job.claimed_at - job.queued_at).total_seconds()
    QUEUE_SECONDS.labels(job.region, Priority(job.priority).label).observe(max(0.0, waited))


def job_ended(job: TranscriptionJob) -> None:
    ENDED.labels(job.status, job.mode, job.region, model_label(job.options)).inc()
    if job.status in (Status.FAILED, Status.DEAD):
        FAILED.labels(job.region, job.error_code).inc()
    if job.status == Status.COMPLETED and job.duration:
        audio_transcribed(job.duration, mode=job.mode, region=job.region, options=job.options)


def attempt_ended(attempt: Attempt) -> None:
    took = (attempt.ended_at - attempt.started_at).total_seconds()
    ATTEMPT_SECONDS.labels(attempt.region, attempt.outcome).observe(max(0.0, took))


def webhook_attempted(log: DeliveryAttempt) -> None:
    outcome = "unanswered" if log.status_code is None else "delivered" if log.took_it else "refused"
    WEBHOOK_SECONDS.labels(outcome).observe(log.duration)


def webhook_delivered(delivery: Delivery) -> None:
    WEBHOOK_DELIVERIES.labels("delivered").inc()
    if not delivery.attempts_before_replay:
        lag = (timezone.now() - delivery.event.created_at).total_seconds()
        WEBHOOK_LAG_SECONDS.observe(max(0.0, lag))


def webhook_given_up() -> None:
    WEBHOOK_DELIVERIES.labels("given_up").inc()
