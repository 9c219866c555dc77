"""What the dashboard says of queues, workers and failures."""

import html
import re
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from jobs import lifecycle
from jobs.admin.dashboard import dashboard
from jobs.lifecycle import CallReport
from jobs.models import (
    Batch,
    BatchArchive,
    Delivery,
    DeliveryStatus,
    Event,
    EventType,
    Priority,
    Status,
    TranscriptionJob,
    WorkerProcess,
)
from tests.jobs.rows import QUEUE, RESULT, ago, make_job, make_project

pytestmark = pytest.mark.django_db


def made():
    return dashboard(timezone.now())


def worker(queues, seen=0.0):
    return WorkerProcess.objects.create(
        name=f"w{seen}", queues=queues, concurrency=10, running=3, seen_at=ago(seen)
    )


def test_each_queue_and_priority_is_a_lane():
    project = make_project()
    for priority, status in [
        (Priority.HIGH, Status.QUEUED),
        (Priority.NORMAL, Status.QUEUED),
        (Priority.NORMAL, Status.QUEUED),
        (Priority.NORMAL, Status.RUNNING),
        (Priority.NORMAL, Status.WAITING),
        (Priority.NORMAL, Status.COMPLETED),
    ]:
        make_job(status, project=project, priority=priority)

    lanes = [(lane.queue, lane.priority, lane.queued, lane.running, lane.waiting) for lane in made()["lanes"]]

    assert lanes == [(QUEUE, "high", 1, 0, 0), (QUEUE, "normal", 2, 1, 1)]


def test_the_oldest_age_is_since_a_job_was_last_queued(settings):
    settings.JOB_DEADLINE_SECONDS = 3600
    deadline = timezone.now() + timedelta(seconds=3600 - 125)
    job = make_job(deadline_at=deadline)
    TranscriptionJob.objects.filter(pk=job.pk).update(created_at=ago(10**6))

    assert made()["lanes"][0].oldest == "2 min 5 s"


def test_waiting_jobs_are_counted_by_why_they_wait():
    for _ in range(2):
        job = make_job(Status.RUNNING)
        lifecycle.wait(job, 60, CallReport(error_code="provider_unreachable"), counted=True)

    reasons = made()["lanes"][0].reasons

    assert len(reasons) == 1
    assert reasons[0].startswith("2: The provider could not be reached (next in ")


def test_a_queue_with_a_backlog_and_no_worker_is_unserved():
    make_job()
    worker(["somewhere.else"])
    worker([QUEUE], seen=20)

    assert made()["unserved"] == [QUEUE]


def test_a_queue_with_a_living_worker_is_not_unserved():
    make_job()
    worker([QUEUE])

    found = made()

    assert found["unserved"] == []
    assert found["slots"] == 10


def test_what_is_busy_is_what_the_queues_show_running_not_what_workers_reported():
    alive, silent = worker([QUEUE]), worker([QUEUE], seen=20)
    assert made()["busy"] == 0

    make_job(Status.RUNNING, worker=alive.name)
    make_job(Status.RUNNING, worker=silent.name)
    make_job(Status.RUNNING, worker="a web process")

    assert made()["busy"] == 1


def test_a_figure_leads_to_the_jobs_that_it_counts(staff_client):
    recent = make_job(Status.COMPLETED, url="https://example.com/recent")
    make_job(Status.COMPLETED, url="https://example.com/old", created_at=ago(7200))
    text = staff_client.get(reverse("admin:index")).content.decode()
    [link] = re.findall(r'href="([^"]*status__exact=completed[^"]*)"', text)

    shown = staff_client.get(html.unescape(link)).content.decode()

    assert recent.url in shown
    assert "https://example.com/old" not in shown


def test_what_runs_already_needs_no_worker_to_be_begun():
    make_job(Status.RUNNING)

    assert made()["unserved"] == []


def test_webhooks_without_a_worker_are_unserved():
    job = make_job(Status.RUNNING, callback_url="https://hooks.example.com/")
    lifecycle.complete(job, RESULT)

    assert made()["unserved"] == ["webhooks"]


def test_archives_without_a_worker_to_open_them_are_unserved():
    worker([QUEUE])
    batch = Batch.objects.create(project=make_project())
    BatchArchive.objects.create(batch=batch, file="archives/x", size=1)

    assert made()["unserved"] == ["batches"]


def test_jobs_are_counted_by_status_over_the_last_hour_and_day():
    for age in (60, 7200, 100_000):
        # An id begins with the milliseconds of its making.
        make_job(Status.FAILED, id=UUID(int=int(ago(age).timestamp() * 1000) << 80))

    failed = next(row for row in made()["recent"] if row["status"] == "failed")

    assert (failed["hour"], failed["day"]) == (1, 2)


def test_failures_and_failing_deliveries_are_listed():
    job = make_job(Status.RUNNING, callback_url="https://hooks.example.com/")
    lifecycle.fail(job, CallReport(error_code="provider_rejected", error_message="no"))
    Delivery.objects.update(attempts=2)

    found = made()

    assert [(row["job"].pk, row["error"]) for row in found["failures"]] == [
        (job.pk, "The provider refused the request")
    ]
    assert [delivery.url for delivery in found["deliveries"]] == ["https://hooks.example.com/"]


def test_a_delivery_that_was_not_attempted_yet_is_not_failing():
    job = make_job(Status.RUNNING, callback_url="https://hooks.example.com/")
    lifecycle.complete(job, RESULT)

    assert made()["deliveries"] == []


def test_failing_deliveries_are_found_among_many_without_looking_at_all():
    event = Event.objects.create(project=make_project(), type=EventType.STREAM_ENDED, data={})
    Delivery.objects.bulk_create(
        Delivery(event=event, url=f"https://example.com/{number}", status=DeliveryStatus.DELIVERED)
        for number in range(2000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")

    with CaptureQueriesContext(connection) as captured:
        made()

    asked = next(
        query["sql"]
        for query in captured
        if 'FROM "jobs_delivery"' in query["sql"] and "LIMIT" in query["sql"]
    )
    with connection.cursor() as cursor:
        plan = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        cursor.execute(f"{plan} {asked}")
        assert "delivery_in_trouble" in str(cursor.fetchall())


def test_it_takes_eleven_queries(django_assert_num_queries):
    with django_assert_num_queries(11):
        assert list(made()["endpoints"]) == []


def test_it_takes_as_many_queries_for_many_jobs_as_for_one(staff_client):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            staff_client.get(reverse("admin:jobs_transcriptionjob_dashboard"))
        return len(captured)

    def add(count):
        for number in range(count):
            job = make_job(
                Status.RUNNING, project=make_project(f"{number}"), callback_url="https://example.com/"
            )
            lifecycle.fail(job, CallReport(error_code="provider_rejected"))
            make_job(Status.WAITING, queue=f"q{number}", error_code="provider_error")
        Delivery.objects.update(attempts=1)

    add(1)
    for_one = queries()
    add(10)

    assert queries() == for_one


def test_it_is_the_first_page_and_asks_for_its_own_news(staff_client):
    make_job()

    text = staff_client.get(reverse("admin:index")).content.decode()

    assert reverse("admin:jobs_transcriptionjob_dashboard") in text
    assert f"No worker is alive for {QUEUE}" in text


def test_it_is_for_staff_alone(client):
    assert client.get(reverse("admin:jobs_transcriptionjob_dashboard")).status_code == 302
