"""What stands in the queues, how fast it comes and goes, and when it should be gone."""

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs import lifecycle
from jobs.backlog import backlog
from jobs.lifecycle import CallReport
from jobs.models import Mode, Priority, Status, TranscriptionJob, WorkerProcess
from tests.jobs.rows import QUEUE, RESULT, ago, make_job, make_project

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_remembered(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}


@pytest.fixture
def project():
    return make_project()


def worker(concurrency=10):
    return WorkerProcess(name="w", queues=[QUEUE], concurrency=concurrency)


def lanes(*workers):
    return {lane.priority: lane for lane in backlog(timezone.now(), workers)}


def transcribed(project, seconds, audio):
    """A job that a worker has just done, within so many seconds."""
    job = make_job(Status.RUNNING, project=project, duration=audio, claimed_at=ago(seconds))
    lifecycle.complete(job, RESULT)
    TranscriptionJob.objects.filter(pk=job.pk).update(duration=audio)


def test_what_came_and_what_was_done_of_late_are_rates(project):
    for _ in range(5):
        transcribed(project, 1, 10)
    make_job(project=project)
    make_job(Status.COMPLETED, project=project, mode=Mode.SYNC)

    lane = lanes()[Priority.NORMAL]

    assert (lane.arriving, lane.served) == (0.6, 0.5)


def test_an_attempt_that_is_tried_again_was_not_served(project):
    job = make_job(Status.RUNNING, project=project)
    lifecycle.wait(job, 60, CallReport(error_code="provider_error"), counted=True)

    assert lanes()[Priority.NORMAL].served == 0


def test_it_is_gone_at_best_by_all_slots_at_once_and_at_worst_behind_what_goes_first(project):
    for _ in range(10):
        transcribed(project, 10, 100)
    make_job(project=project, duration=600.0, priority=Priority.HIGH)
    make_job(project=project, duration=1200.0)

    found = lanes(worker(concurrency=6))

    assert found[Priority.HIGH].left.least == pytest.approx(10, rel=0.2)
    assert found[Priority.NORMAL].left.least == pytest.approx(20, rel=0.2)
    assert found[Priority.NORMAL].left.most == pytest.approx(30, rel=0.2)


def test_jobs_of_unknown_length_count_as_the_others_do(project):
    for _ in range(10):
        transcribed(project, 10, 100)
    make_job(project=project, duration=600.0)
    make_job(project=project, duration=None)

    assert lanes(worker(concurrency=6))[Priority.NORMAL].left.least == pytest.approx(20, rel=0.2)


def test_nobody_can_tell_when_it_is_gone_without_workers_or_without_any_speed(project):
    make_job(project=project, duration=60.0)
    assert lanes(worker())[Priority.NORMAL].left is None

    transcribed(project, 1, 10)

    assert lanes()[Priority.NORMAL].left is None
    assert lanes()[Priority.NORMAL].is_unserved


def test_a_queue_is_full_when_all_places_of_its_workers_are_taken(project):
    make_job(Status.RUNNING, project=project, priority=Priority.HIGH)
    make_job(project=project)

    assert lanes(worker(concurrency=1))[Priority.NORMAL].is_full
    assert not lanes(worker(concurrency=2))[Priority.NORMAL].is_full


def test_the_oldest_waits_since_it_was_made_whatever_its_deadline(project):
    for seconds in (40, 30):
        make_job(project=project, created_at=ago(seconds), deadline_at=timezone.now() + timedelta(seconds=60))

    assert 40 <= lanes()[Priority.NORMAL].oldest < 100


def test_reasons_to_wait_are_told_with_when_the_first_is_tried_again(project):
    soon = timezone.now() + timedelta(seconds=5)
    for run_at in (soon + timedelta(hours=1), soon):
        make_job(Status.WAITING, project=project, error_code="provider_error", run_at=run_at)

    [wait] = lanes()[Priority.NORMAL].waits

    assert (wait.error_code, wait.count, wait.next) == ("provider_error", 2, soon)
