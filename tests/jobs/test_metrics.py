"""What is counted of jobs and webhooks, where it happens and once it is committed."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction

from jobs import intake, lifecycle
from jobs.events import emit
from jobs.intake import Order
from jobs.lifecycle import CallReport
from jobs.metrics import model_label
from jobs.models import EventType, TranscriptionJob
from jobs.running import sweeper
from jobs.running.execution import execute
from jobs.running.worker import Worker
from jobs.webhooks.deliverer import deliver_due
from tests.counted import Rise
from tests.jobs.rows import QUEUE, ago, claim, make_job, make_project, make_recording
from tests.routing.peer import Peer, answering
from tests.sandbox.sounds import wav

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = {"region": "default", "operation": "transcribe"}


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("nova-3", "nova-3"),
        ("nova-2-phonecall", "nova-2"),
        ("meeting", "base"),
        ("550e8400-e29b", "custom"),
        (None, "base"),
    ],
)
def test_callers_cannot_make_labels(model, label):
    assert model_label({} if model is None else {"model": model}) == label


def test_a_job_is_counted_from_its_acceptance_to_its_end(provider, leases, settings):
    settings.PRICES = {"nova-3": Decimal("0.6")}
    project = make_project()
    of_model = {"mode": "async", "region": "default", "model": "nova-3"}
    submitted = Rise("transcribe_jobs_submitted_total", mode="async", region="default")
    ended = Rise("transcribe_jobs_ended_total", status="completed", **of_model)
    audio = Rise("transcribe_audio_seconds_total", **of_model)
    cost = Rise("transcribe_estimated_cost_total", **of_model)
    calls = Rise("transcribe_provider_calls_total", outcome="ok", **ASKED)
    first_bytes = Rise("transcribe_provider_first_byte_seconds_count", **ASKED)
    attempts = Rise("transcribe_attempt_duration_seconds_count", region="default", outcome="completed")
    queued = Rise("transcribe_job_queue_duration_seconds_sum", region="default", priority="normal")

    order = Order(project=project, options={"model": "nova-3"}, mode="async")
    job = intake.submit(order, recording=make_recording(project, wav(2.0)))
    TranscriptionJob.objects.update(created_at=ago(100))
    Worker([QUEUE], 1, leases).run_available(QUEUE)

    assert TranscriptionJob.objects.get().status == "completed"
    duration = TranscriptionJob.objects.get(pk=job.pk).duration
    assert (submitted.by, ended.by, calls.by, first_bytes.by, attempts.by) == (1, 1, 1, 1, 1)
    assert audio.by == pytest.approx(duration)
    assert cost.by == pytest.approx(0.01 * duration, abs=1e-4)
    assert 99 < queued.by < 160


def test_what_is_not_committed_is_not_counted():
    make_job()
    job = claim()
    failed = Rise("transcribe_jobs_failed_total", region="default", error_code="provider_rejected")

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        lifecycle.fail(job, CallReport(error_code="provider_rejected"))
        raise ZeroDivisionError
    assert failed.by == 0
    lifecycle.fail(claim_again(job), CallReport(error_code="provider_rejected"))
    assert failed.by == 1


def claim_again(job):
    return TranscriptionJob.objects.get(pk=job.pk)


def test_a_provider_that_says_no_is_counted_by_what_it_says(provider, leases):
    project = make_project()
    make_job(project=project, recording=make_recording(project, wav(1.0)), url="")
    provider.set_faults("status=429")
    limited = Rise("transcribe_provider_calls_total", outcome="provider_rate_limited", **ASKED)
    deferred = Rise("transcribe_attempt_duration_seconds_count", region="default", outcome="deferred")

    execute(claim(), leases)

    assert (limited.by, deferred.by) == (1, 1)


def test_what_the_sweeper_rescues_is_counted():
    make_job()
    TranscriptionJob.objects.filter(pk=claim().pk).update(lease_until=ago(1))
    make_job(deadline_at=ago(1))
    stalled = Rise("transcribe_sweeper_rescues_total", what="stalled_job")
    overdue = Rise("transcribe_sweeper_rescues_total", what="overdue_job")

    sweeper.sweep()

    assert (stalled.by, overdue.by) == (1, 1)


def test_webhooks_are_counted_with_how_late_they_are(receiver):
    project = make_project()
    event = emit(project.pk, EventType.STREAM_ENDED, {"id": "1"}, callback_url=f"{receiver.url}/hook")
    type(event).objects.update(created_at=event.created_at - timedelta(seconds=30))
    delivered = Rise("transcribe_webhook_deliveries_total", outcome="delivered")
    attempts = Rise("transcribe_webhook_attempt_duration_seconds_count", outcome="delivered")
    lag = Rise("transcribe_webhook_lag_seconds_sum")

    deliver_due()

    assert (delivered.by, attempts.by) == (1, 1)
    assert 29 < lag.by < 90


def test_webhooks_that_are_given_up_are_counted(private_receivers):
    with Peer(answering(410)) as gone:
        emit(make_project().pk, EventType.STREAM_ENDED, {"id": "1"}, callback_url=f"{gone.url}/hook")
        given_up = Rise("transcribe_webhook_deliveries_total", outcome="given_up")
        refused = Rise("transcribe_webhook_attempt_duration_seconds_count", outcome="refused")

        deliver_due()

    assert (given_up.by, refused.by) == (1, 1)
