"""Which job is claimed next, and that it is claimed once."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from jobs.models import Priority, Status, TranscriptionJob
from tests.jobs.rows import LEASE_SECONDS, QUEUE, ago, build_job, fresh, make_job, make_project

THREADS = 20


def claim(queue=QUEUE, worker="here:1:1"):
    return TranscriptionJob.objects.claim(queue, worker, LEASE_SECONDS)


def claimed_in_order():
    jobs = []
    while job := claim():
        jobs.append(job)
    return jobs


def submit(project, priority=Priority.NORMAL):
    """A job as jobs.intake queues it."""
    start_tag = TranscriptionJob.objects.next_start_tag(project, QUEUE, priority)
    return make_job(project=project, priority=priority, start_tag=start_tag)


def in_threads(function, count=THREADS):
    """What `function` returns in each of `count` threads that start together."""
    together = threading.Barrier(count)

    def run(_):
        together.wait(90)
        try:
            return function()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.django_db
def test_a_claim_leases_the_job_to_the_worker():
    job = make_job()

    claimed = claim(worker="here:1:1")

    assert claimed.pk == job.pk
    stored = fresh(job)
    assert (stored.status, stored.worker, stored.lease_token) == ("running", "here:1:1", claimed.lease_token)
    assert LEASE_SECONDS - 5 < (stored.lease_until - timezone.now()).total_seconds() <= LEASE_SECONDS
    assert claimed.lease_until == stored.lease_until
    assert stored.claimed_at == stored.started_at


@pytest.mark.django_db
def test_a_later_claim_of_the_same_run_keeps_when_it_started():
    started_at = ago(100)
    make_job(Status.WAITING, run_at=ago(1), started_at=started_at)

    claimed = claim()

    assert (claimed.started_at, claimed.run_at) == (started_at, None)
    assert claimed.claimed_at > started_at


@pytest.mark.django_db
@pytest.mark.parametrize("status", [status for status in Status if status != Status.QUEUED])
def test_what_is_not_queued_and_not_due_is_left(status):
    make_job(status)

    assert claim() is None


@pytest.mark.django_db
def test_other_queues_are_left():
    make_job(queue="transcription.eu")

    assert claim() is None


@pytest.mark.django_db
def test_priority_decides_first():
    project = make_project()
    low, normal, high = (submit(project, priority) for priority in reversed(Priority))

    assert claimed_in_order() == [high, normal, low]


@pytest.mark.django_db
@pytest.mark.parametrize("lowest", Priority)
def test_what_is_below_the_lowest_priority_is_left(lowest):
    project = make_project()
    for priority in Priority:
        submit(project, priority)
        make_job(Status.WAITING, project=project, run_at=ago(1), priority=priority)

    claimed = [TranscriptionJob.objects.claim(QUEUE, "here:1:1", 60, lowest=lowest) for _ in range(7)]

    served = [job.priority for job in claimed if job is not None]
    assert served == [priority for priority in Priority if priority <= lowest for _ in range(2)]


@pytest.mark.django_db
def test_a_due_retry_goes_before_fresh_jobs_of_its_priority_and_after_those_above():
    project = make_project()
    low_retry = make_job(Status.WAITING, project=project, run_at=ago(50), priority=Priority.LOW)
    fresh_normal = submit(project)
    fresh_high = submit(project, Priority.HIGH)
    later_retry = make_job(Status.WAITING, project=project, run_at=ago(1))
    retry = make_job(Status.WAITING, project=project, run_at=ago(2))

    assert claimed_in_order() == [fresh_high, retry, later_retry, fresh_normal, low_retry]


@pytest.mark.django_db
def test_ten_thousand_jobs_of_a_project_keep_no_other_waiting():
    many, single = make_project("many"), make_project("single")
    TranscriptionJob.objects.bulk_create(
        [build_job(project=many, start_tag=tag) for tag in range(10_000)], batch_size=500
    )
    # The line has moved on since.
    served = [claim() for _ in range(3)]

    job = submit(single)

    assert {claimed.project_id for claimed in served} == {many.pk}
    assert job in [claim(), claim()]


@pytest.mark.django_db
def test_projects_take_turns():
    first, second = make_project("first"), make_project("second")
    for _ in range(5):
        submit(first)
    for _ in range(3):
        submit(second)

    turns = [job.project for job in claimed_in_order()]

    assert turns == [first, second] * 3 + [first] * 2


@pytest.mark.django_db
def test_who_was_idle_gets_no_credit():
    busy, idle = make_project("busy"), make_project("idle")
    for _ in range(6):
        submit(busy)
    for _ in range(4):
        claim()
    for _ in range(4):
        submit(idle)

    turns = [job.project for job in claimed_in_order()]

    assert turns[:4].count(busy) == 2


@pytest.mark.django_db(transaction=True)
def test_twenty_threads_claim_each_job_once():
    project = make_project()
    jobs = TranscriptionJob.objects.bulk_create([build_job(project=project) for _ in range(200)])

    claims = in_threads(lambda: [job.pk for job in claimed_in_order()])

    assert Counter(pk for claimed in claims for pk in claimed) == Counter(job.pk for job in jobs)


@pytest.mark.django_db(transaction=True)
def test_twenty_threads_get_one_job_once():
    make_job()

    claims = in_threads(claim)

    assert sum(job is not None for job in claims) == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_job_that_another_is_claiming_is_skipped_without_waiting():
    project = make_project()
    first, second = submit(project), submit(project)

    with transaction.atomic():
        TranscriptionJob.objects.select_for_update().get(pk=first.pk)
        with ThreadPoolExecutor(1) as pool:
            claimed = pool.submit(lambda: (claim(), connection.close())[0]).result(timeout=30)

    assert claimed == second


@pytest.mark.django_db
def test_renewing_tells_which_leases_are_lost():
    project = make_project()
    held, lost = make_job(Status.RUNNING, project=project), make_job(Status.RUNNING, project=project)
    token, lost_token = held.lease_token, lost.lease_token
    TranscriptionJob.objects.get(pk=lost.pk).cancel()

    assert TranscriptionJob.objects.renew([token, lost_token], 600) == {lost_token}
    assert (fresh(held).lease_until - timezone.now()).total_seconds() > 500
    assert fresh(lost).lease_until is None


@pytest.mark.postgresql
@pytest.mark.django_db
def test_a_clock_of_a_host_that_is_wrong_is_in_no_row(monkeypatch):
    job = make_job()
    right = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: right + timedelta(hours=1))

    assert TranscriptionJob.objects.claim_one(job, "here:1:1", 60)

    stored = fresh(job)
    assert stored.claimed_at == stored.started_at < right + timedelta(minutes=30)
