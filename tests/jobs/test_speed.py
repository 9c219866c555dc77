"""When a job should be done, and when nobody can tell."""

from uuid import uuid4

import pytest
from django.core.cache import cache
from django.utils import timezone

from jobs import speed
from jobs.models import Attempt, AttemptOutcome, Status, WorkerProcess
from jobs.models import job as job_module
from jobs.speed import expected_end, recent_speed
from tests.jobs.rows import QUEUE, ago, fresh, make_job, make_project

pytestmark = pytest.mark.django_db
MODEL = {"model": "nova-3"}


@pytest.fixture(autouse=True)
def nothing_remembered():
    cache.clear()


@pytest.fixture
def project():
    return make_project()


def queued(project, duration=60.0, **fields):
    return make_job(project=project, options=MODEL, duration=duration, **fields)


def last_queued(project, duration=60.0):
    # Ids of the same millisecond are in no order.
    return queued(project, duration, start_tag=1)


def has_run(project, duration=100.0, took=10.0):
    """A tenth of real time, unless said otherwise."""
    job = make_job(Status.COMPLETED, project=project, options=MODEL, duration=duration)
    Attempt.objects.create(
        job=job,
        run=1,
        lease_token=uuid4(),
        region="default",
        worker="w",
        outcome=AttemptOutcome.COMPLETED,
        counted=True,
        started_at=ago(100 + took),
        ended_at=ago(100),
    )


def add_worker(concurrency=1, queues=(QUEUE,), seen_at=None):
    WorkerProcess.objects.create(
        name=uuid4().hex, queues=list(queues), concurrency=concurrency, seen_at=seen_at or timezone.now()
    )


def seconds_until_done(job):
    end = expected_end(job, job.ahead())
    return None if end is None else round((end - timezone.now()).total_seconds())


def test_a_queued_job_is_done_when_those_before_it_are(project):
    has_run(project)
    add_worker()
    for _ in range(3):
        queued(project, 100.0)

    assert seconds_until_done(last_queued(project, 60.0)) == 3 * 10 + 6


def test_more_workers_are_done_sooner(project):
    has_run(project)
    add_worker(concurrency=2)
    add_worker(concurrency=4)
    for _ in range(12):
        queued(project, 100.0)

    assert seconds_until_done(last_queued(project, 60.0)) == 12 * 10 / 6 + 6


def test_with_a_slot_free_it_is_begun_at_once(project):
    has_run(project)
    add_worker(concurrency=2)
    make_job(Status.RUNNING, project=project)

    assert seconds_until_done(last_queued(project, 60.0)) == 6


def test_what_runs_is_half_done(project):
    has_run(project)
    add_worker()
    make_job(Status.RUNNING, project=project)

    assert seconds_until_done(last_queued(project, 60.0)) == 5 + 6


def test_those_of_unknown_length_take_what_jobs_usually_take(project):
    has_run(project)
    add_worker()
    queued(project, None)

    assert seconds_until_done(last_queued(project, 60.0)) == 10 + 6


def test_a_running_job_is_done_that_long_after_it_was_begun(project):
    has_run(project)
    job = fresh(make_job(Status.RUNNING, project=project, options=MODEL, duration=60.0))

    takes = (expected_end(job, None) - job.claimed_at).total_seconds()
    assert takes == pytest.approx(6, abs=0.01)


@pytest.mark.parametrize("missing", ["worker", "worker of the queue", "living worker", "speed", "duration"])
def test_nobody_can_tell_without(project, missing):
    if missing != "speed":
        has_run(project)
    if missing == "worker of the queue":
        add_worker(queues=["transcription.elsewhere"])
    elif missing == "living worker":
        add_worker(seen_at=ago(60))
    elif missing != "worker":
        add_worker()

    assert seconds_until_done(last_queued(project, None if missing == "duration" else 60.0)) is None


def test_nobody_can_tell_from_too_far_behind(project, monkeypatch):
    monkeypatch.setattr(job_module, "MOST_COUNTED", 3)
    monkeypatch.setattr("jobs.speed.MOST_COUNTED", 3)
    has_run(project)
    add_worker()
    for _ in range(4):
        queued(project)
    job = last_queued(project)

    assert job.ahead().jobs == 3
    assert seconds_until_done(job) is None


@pytest.mark.parametrize("status", [Status.WAITING, Status.COMPLETED, Status.FAILED])
def test_what_is_not_in_line_has_no_end_to_expect(project, status):
    has_run(project)
    add_worker()

    assert seconds_until_done(make_job(status, project=project, options=MODEL, duration=60.0)) is None


def test_whoever_asks_for_many_models_asks_the_database_once(project, django_assert_num_queries):
    has_run(project)

    with django_assert_num_queries(1):
        assert recent_speed("default", MODEL) == pytest.approx((0.1, 0.1), rel=0.01)
        for number in range(20):
            assert recent_speed("default", {"model": f"guess-{number}"}) is None


def test_only_the_last_attempts_are_looked_at(project, monkeypatch):
    monkeypatch.setattr(speed, "LOOKED_AT", 2)
    for took in (1000.0, 10.0, 10.0):
        has_run(project, took=took)

    assert recent_speed("default", MODEL) == pytest.approx((0.1, 0.1), rel=0.01)
