"""A job's history as one list."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs import lifecycle
from jobs.lifecycle import CallReport
from jobs.models import Delivery, DeliveryAttempt, Status, TranscriptionJob
from jobs.timeline import timeline
from tests.jobs.rows import LEASE_SECONDS, QUEUE, RESULT, WORKER, make_job

pytestmark = pytest.mark.django_db
UNAVAILABLE = CallReport(status_code=503, request_id="r", error_code="provider_error", error_message="busy")


def claimed():
    job = TranscriptionJob.objects.claim(QUEUE, WORKER, LEASE_SECONDS)
    assert job is not None
    return job


def kinds(job):
    return [entry["kind"] for entry in timeline(job)]


def test_it_tells_retries_the_transcript_and_what_was_announced():
    make_job(callback_url="https://hooks.example.com/")
    lifecycle.wait(claimed(), -1, UNAVAILABLE, counted=True)
    job = claimed()
    lifecycle.complete(job, RESULT, CallReport(status_code=200, request_id="s"))

    entries = timeline(job)

    attempts = [entry["details"] for entry in entries if entry["kind"] == "attempt"]
    assert [(attempt["outcome"], attempt["request_id"], attempt["worker"]) for attempt in attempts] == [
        ("retried", "r", WORKER),
        ("completed", "s", WORKER),
    ]
    assert entries[0]["kind"] == "created"
    assert {entry["kind"] for entry in entries[1:]} == {"attempt", "transcript", "event", "next_delivery"}
    assert [entry["at"] for entry in entries[1:]] == sorted(entry["at"] for entry in entries[1:])


def test_an_attempt_under_way_is_told_too():
    make_job()
    job = claimed()

    assert kinds(job) == ["created", "running"]
    assert timeline(job)[1]["details"] == {"region": "default", "worker": WORKER}


def test_a_waiting_job_tells_why_and_until_when():
    make_job()
    job = claimed()
    lifecycle.wait(job, 60, UNAVAILABLE, counted=True)

    waiting = timeline(job)[-1]

    assert waiting["kind"] == "waiting"
    assert waiting["details"]["error_code"] == "provider_error"
    assert waiting["details"]["until"] == job.run_at


def test_runs_are_kept_apart():
    make_job()
    job = claimed()
    lifecycle.fail(job, UNAVAILABLE)
    lifecycle.requeue(job)
    lifecycle.complete(claimed(), RESULT)

    told = [(entry["run"], entry["kind"]) for entry in timeline(job)]

    assert sorted(entry for entry in told if entry[1] in ("attempt", "event")) == [
        (1, "attempt"),
        (1, "event"),
        (2, "attempt"),
        (2, "event"),
    ]


def test_deliveries_tell_what_was_answered():
    job = make_job(Status.RUNNING, callback_url="https://hooks.example.com/")
    lifecycle.complete(job, RESULT)
    delivery = Delivery.objects.get()
    DeliveryAttempt.objects.create(
        delivery=delivery, number=1, started_at=timezone.now(), duration=0.5, error="ConnectError: refused"
    )

    delivered = next(entry for entry in timeline(job) if entry["kind"] == "delivery")

    assert delivered["run"] == 1
    assert delivered["details"] == {
        "url": "https://hooks.example.com/",
        "number": 1,
        "status_code": None,
        "took_it": False,
        "error": "ConnectError: refused",
        "seconds": 0.5,
    }


def test_it_takes_five_queries_however_much_happened():
    job = make_job(Status.RUNNING, callback_url="https://hooks.example.com/")
    for _ in range(3):
        lifecycle.complete(job, RESULT)
        lifecycle.requeue(job)
        job = claimed()

    with CaptureQueriesContext(connection) as captured:
        timeline(job)

    assert len(captured) == 5
