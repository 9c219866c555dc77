"""The state machine of a job: every move from every status."""

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from jobs.models import InvalidTransition, Priority, Status, TranscriptionJob
from jobs.models.job import Ahead
from jobs.queues import ISOLATION_QUEUE
from tests.jobs.rows import QUEUE, ago, fresh, make_job, make_project, row

pytestmark = pytest.mark.django_db

HELD_MOVES = {
    "complete": lambda job: job.complete(1.5),
    "fail": lambda job: job.fail("code", "message"),
    "wait": lambda job: job.wait(30, "code", "message", counted=True),
    "release": lambda job: job.release(),
    "bury": lambda job: job.bury("message"),
}
MOVES = HELD_MOVES | {
    "lose_lease": lambda job: job.lose_lease(),
    "cancel": lambda job: job.cancel(),
    "pass_deadline": lambda job: job.pass_deadline(),
    "requeue": lambda job: job.requeue(queue=QUEUE, start_tag=7, deadline_in=60),
}
LEGAL = {
    ("complete", "running"): "completed",
    ("fail", "running"): "failed",
    ("wait", "running"): "waiting",
    ("release", "running"): "queued",
    ("bury", "running"): "dead",
    ("lose_lease", "running"): "queued",
    ("cancel", "queued"): "cancelled",
    ("cancel", "running"): "cancelled",
    ("cancel", "waiting"): "cancelled",
    ("pass_deadline", "queued"): "failed",
    ("pass_deadline", "waiting"): "failed",
    ("requeue", "completed"): "queued",
    ("requeue", "failed"): "queued",
    ("requeue", "cancelled"): "queued",
    ("requeue", "dead"): "queued",
}
ILLEGAL = [(move, status) for move in MOVES for status in Status.values if (move, status) not in LEGAL]


def job_in(status):
    # Its lease is over, so that the move that needs this can be made as well as all others.
    lease = {"lease_until": ago(1)} if status == Status.RUNNING else {}
    return make_job(Status(status), **lease)


@pytest.mark.parametrize(("move", "status"), LEGAL)
def test_a_legal_move_enters_its_status_and_leaves_the_lease(move, status):
    job = job_in(status)

    MOVES[move](job)

    stored = fresh(job)
    assert stored.status == job.status == LEGAL[move, status]
    assert (stored.lease_token, stored.lease_until, stored.worker) == (None, None, "")
    assert stored.is_ended == (stored.finished_at is not None)


@pytest.mark.parametrize(("move", "status"), ILLEGAL)
def test_an_illegal_move_is_refused_and_changes_nothing(move, status):
    job = job_in(status)
    before = row(job)

    with pytest.raises(InvalidTransition):
        MOVES[move](job)

    assert row(job) == before


def test_a_lease_that_was_lost_before_is_not_lost_by_who_has_the_next():
    stale = make_job(Status.RUNNING)
    TranscriptionJob.objects.filter(pk=stale.pk).update(lease_token=uuid4(), lease_until=ago(1))

    with pytest.raises(InvalidTransition):
        stale.lose_lease()

    assert fresh(stale).crashes == 0


@pytest.mark.parametrize("move", HELD_MOVES)
def test_a_stale_holder_can_move_nothing(move):
    stale = make_job(Status.RUNNING)
    TranscriptionJob.objects.filter(pk=stale.pk).update(lease_token=uuid4())
    before = row(stale)

    with pytest.raises(InvalidTransition):
        HELD_MOVES[move](stale)

    assert row(stale) == before


def test_a_lease_that_lasts_cannot_be_lost():
    job = make_job(Status.RUNNING)

    with pytest.raises(InvalidTransition):
        job.lose_lease()

    assert fresh(job).status == Status.RUNNING


@pytest.mark.parametrize(
    ("crashes", "queue", "goes_to"),
    [(0, QUEUE, QUEUE), (1, QUEUE, ISOLATION_QUEUE), (2, ISOLATION_QUEUE, ISOLATION_QUEUE)],
)
def test_the_second_lost_lease_sends_a_job_to_isolation(crashes, queue, goes_to):
    job = make_job(Status.RUNNING, lease_until=ago(1), crashes=crashes, queue=queue)

    job.lose_lease()

    assert (fresh(job).crashes, fresh(job).queue) == (crashes + 1, goes_to)


def test_a_release_is_no_strike():
    job = make_job(Status.RUNNING, crashes=1, attempts=1)

    job.release()

    assert (fresh(job).crashes, fresh(job).attempts, fresh(job).queue) == (1, 1, QUEUE)


@pytest.mark.parametrize(("counted", "attempts", "deferrals"), [(True, 2, 3), (False, 1, 4)])
def test_a_wait_counts_as_an_attempt_or_as_a_deferral(counted, attempts, deferrals):
    job = make_job(Status.RUNNING, attempts=1, deferrals=3)

    job.wait(30, "provider_timeout", "It took too long.", counted=counted)

    stored = fresh(job)
    assert (stored.attempts, stored.deferrals) == (attempts, deferrals)
    assert (stored.error_code, stored.error_message) == ("provider_timeout", "It took too long.")
    assert 25 < (stored.run_at - timezone.now()).total_seconds() < 35


def test_a_requeue_begins_the_next_run_with_nothing_counted():
    job = make_job(
        Status.DEAD, queue=ISOLATION_QUEUE, attempts=3, deferrals=2, crashes=2, error_code="killed_its_worker"
    )

    job.requeue(queue=QUEUE, start_tag=7, deadline_in=60, options={"model": "nova-2"})

    stored = fresh(job)
    assert (stored.run, stored.queue, stored.start_tag, stored.options) == (2, QUEUE, 7, {"model": "nova-2"})
    assert (stored.attempts, stored.deferrals, stored.crashes, stored.error_code) == (0, 0, 0, "")
    assert stored.started_at is None


def test_of_two_requeues_of_the_same_run_one_is_refused():
    job = make_job(Status.FAILED)
    other = fresh(job)
    job.requeue(queue=QUEUE, start_tag=0, deadline_in=60)
    TranscriptionJob.objects.filter(pk=job.pk).update(status=Status.FAILED, finished_at=timezone.now())

    with pytest.raises(InvalidTransition):
        other.requeue(queue=QUEUE, start_tag=0, deadline_in=60)

    assert fresh(job).run == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "lost"},
        {"status": Status.RUNNING, "lease_token": None, "lease_until": None},
        {"status": Status.QUEUED, "lease_token": uuid4()},
        {"status": Status.WAITING, "run_at": None},
        {"status": Status.COMPLETED, "finished_at": None},
        {"status": Status.QUEUED, "finished_at": timezone.now()},
    ],
    ids=["status", "running unleased", "leased unrun", "waits for ever", "ended never", "finished open"],
)
def test_the_database_refuses_a_row_that_contradicts_itself(fields):
    job = make_job()

    with pytest.raises(IntegrityError), transaction.atomic():
        TranscriptionJob.objects.filter(pk=job.pk).update(**fields)


def test_the_position_counts_what_is_claimed_before():
    project = make_project()
    make_job(project=project, priority=Priority.HIGH, start_tag=9)
    make_job(project=project, start_tag=0)
    make_job(Status.WAITING, project=project, run_at=ago(1))
    make_job(Status.WAITING, project=project)
    make_job(project=project, priority=Priority.LOW)
    make_job(Status.RUNNING, project=project)
    job = make_job(project=project, start_tag=1)

    assert job.ahead() == Ahead(jobs=3, audio=0.0, unknown=3)
    assert make_job(Status.RUNNING, project=project).ahead() is None
