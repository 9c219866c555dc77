"""What is written with each move of a job, and that it is written with it or not at all."""

import threading
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection

from jobs import lifecycle
from jobs.lifecycle import CallReport
from jobs.models import (
    Attempt,
    Delivery,
    Event,
    InvalidTransition,
    Status,
    Transcript,
    TranscriptionJob,
    UsageLine,
)
from tests.jobs.rows import QUEUE, RESULT, WORKER, ago, fresh, make_job, row

REPORT = CallReport(status_code=503, request_id="r1", error_code="provider_error", error_message="Try later.")
ROUNDS = 10

HELD = {
    "complete": lambda job: lifecycle.complete(job, RESULT),
    "fail": lambda job: lifecycle.fail(job, REPORT),
    "wait": lambda job: lifecycle.wait(job, 30, REPORT, counted=True),
    "release": lifecycle.release,
    "bury": lambda job: lifecycle.bury(job, "It died."),
}
OTHERS = {
    "lose_lease": lifecycle.lose_lease,
    "cancel": lifecycle.cancel,
    "pass_deadline": lifecycle.pass_deadline,
}
MOVES = HELD | OTHERS


def written():
    return [list(model.objects.values()) for model in (Attempt, Transcript, Event, Delivery)]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("move", "status", "event", "told"),
    [
        ("complete", Status.RUNNING, "job.completed", "completed"),
        ("fail", Status.RUNNING, "job.failed", "failed"),
        ("bury", Status.RUNNING, "job.failed", "dead"),
        ("cancel", Status.RUNNING, "job.cancelled", "cancelled"),
        ("cancel", Status.QUEUED, "job.cancelled", "cancelled"),
        ("cancel", Status.WAITING, "job.cancelled", "cancelled"),
        ("pass_deadline", Status.QUEUED, "job.failed", "failed"),
    ],
)
def test_the_end_of_a_run_is_one_event_with_one_delivery(move, status, event, told):
    job = make_job(status, callback_url="https://example.com/hook", metadata={"order": 1}, tags=["a"])

    MOVES[move](job)

    announced = Event.objects.get()
    assert (announced.type, announced.sequence, announced.project_id) == (event, 1, job.project_id)
    assert (announced.data["id"], announced.data["status"]) == (str(job.pk), told)
    assert (announced.data["metadata"], announced.data["tags"]) == ({"order": 1}, ["a"])
    assert (announced.data["transcript_url"] is not None) == (told == "completed")
    assert Delivery.objects.get().url == "https://example.com/hook"


@pytest.mark.django_db
@pytest.mark.parametrize("move", ["complete", "fail"])
def test_metadata_and_tags_are_told_as_they_were_last_changed(move):
    job = make_job(Status.RUNNING, metadata={"order": 1}, tags=["old"])
    lifecycle.change(fresh(job), metadata={"order": 2}, tags=["new"])

    MOVES[move](job)

    told = Event.objects.get().data
    assert (told["metadata"], told["tags"]) == ({"order": 2}, ["new"])
    assert set(UsageLine.objects.values_list("tag", flat=True)) == {"", "new"}


@pytest.mark.django_db
@pytest.mark.parametrize("move", ["wait", "release", "lose_lease"])
def test_what_is_no_end_is_no_event(move):
    job = make_job(Status.RUNNING, lease_until=ago(1), callback_url="https://example.com/hook")

    MOVES[move](job)

    assert not Event.objects.exists()
    assert not Delivery.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("move", "outcome", "counted"),
    [
        ("complete", "completed", True),
        ("fail", "failed", True),
        ("wait", "retried", True),
        ("release", "released", False),
        ("bury", "crashed", True),
        ("lose_lease", "lost", False),
        ("cancel", "cancelled", False),
    ],
)
def test_each_time_the_lease_was_held_is_an_attempt(move, outcome, counted):
    job = make_job(Status.RUNNING, lease_until=ago(1))
    token, claimed_at = job.lease_token, job.claimed_at

    MOVES[move](job)

    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.counted, attempt.worker) == (outcome, counted, WORKER)
    assert (attempt.lease_token, attempt.started_at, attempt.run) == (token, claimed_at, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.QUEUED, Status.WAITING])
def test_cancelling_what_nobody_holds_is_no_attempt(status):
    lifecycle.cancel(make_job(status))

    assert not Attempt.objects.exists()


@pytest.mark.django_db
def test_a_failed_call_is_told_with_its_attempt_and_its_event():
    job = make_job(Status.RUNNING)

    lifecycle.fail(job, REPORT)

    attempt = Attempt.objects.get()
    assert (attempt.status_code, attempt.request_id) == (503, "r1")
    assert (attempt.error_code, attempt.error_message) == ("provider_error", "Try later.")
    assert Event.objects.get().data["error"] == {"code": "provider_error", "message": "Try later."}


@pytest.mark.django_db
@pytest.mark.parametrize("move", HELD)
def test_a_stale_holder_writes_nothing(move):
    stale = make_job(Status.RUNNING, callback_url="https://example.com/hook")
    TranscriptionJob.objects.filter(pk=stale.pk).update(lease_token=uuid4())
    before = row(stale), written()

    with pytest.raises(InvalidTransition):
        HELD[move](stale)

    assert (row(stale), written()) == before


@pytest.mark.django_db
@pytest.mark.parametrize("move", HELD)
def test_who_was_cancelled_meanwhile_writes_nothing(move):
    job = make_job(Status.RUNNING)
    lifecycle.cancel(fresh(job))
    before = row(job), written()

    with pytest.raises(InvalidTransition):
        HELD[move](job)

    assert (row(job), written()) == before


@pytest.mark.django_db(transaction=True)
def test_a_move_whose_event_cannot_be_written_is_not_made():
    job = make_job(Status.RUNNING)
    Event.objects.create(project=job.project, type="job.completed", job=job, sequence=job.run)
    before = row(job), written()

    with pytest.raises(IntegrityError):
        lifecycle.complete(job, RESULT)

    assert (row(job), written()) == before


@pytest.mark.django_db
def test_each_run_has_its_own_transcript_and_event():
    job = make_job(Status.RUNNING)
    lifecycle.complete(job, RESULT)

    lifecycle.requeue(job, {"model": "nova-2"})
    again = TranscriptionJob.objects.claim(QUEUE, "here:1:1", 60)
    lifecycle.complete(again, RESULT)

    assert fresh(job).options == {"model": "nova-2"}
    assert list(job.transcripts.values_list("run", "version")) == [(1, 1), (2, 2)]
    assert list(job.events.order_by("sequence").values_list("sequence", flat=True)) == [1, 2]
    assert list(job.history.values_list("run", flat=True)) == [1, 2]


@pytest.mark.django_db
def test_a_requeue_without_options_keeps_them():
    job = make_job(Status.FAILED, options={"model": "nova-3"})

    lifecycle.requeue(job)

    assert fresh(job).options == {"model": "nova-3"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ["complete", "fail"])
def test_of_a_cancellation_and_an_end_at_the_same_time_one_wins(end):
    for _ in range(ROUNDS):
        job = make_job(Status.RUNNING)
        together, won = threading.Barrier(2), []

        def move(name, job, together=together, won=won):
            together.wait(90)
            try:
                MOVES[name](job)
                won.append(name)
            except InvalidTransition:
                pass
            finally:
                connection.close()

        threads = [threading.Thread(target=move, args=(name, fresh(job))) for name in ("cancel", end)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)

        assert len(won) == 1
        assert job.events.count() == job.history.count() == 1
        assert job.transcripts.count() == (won == ["complete"])
