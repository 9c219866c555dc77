"""What the dashboard says of queues, workers and failures."""

import html
import math
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from jobs import lifecycle
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
    WorkerProcess,
)
from routing import limits
from routing.breaker import breaker_of
from routing.limits import Use
from routing.regions import region_named
from streaming.models import LiveSession, State
from tests import memory
from tests.jobs.rows import QUEUE, RESULT, ago, make_job, make_project
from transcribe_project.dashboard import dashboard

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_remembered(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}


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

    rows = made()["lanes"]

    assert [row.priority for row in rows] == ["high", "normal"]
    assert [(row.lane.queued, row.lane.running, row.lane.waiting) for row in rows] == [(1, 0, 0), (2, 1, 1)]


def test_the_oldest_age_is_since_a_job_was_last_queued(settings):
    settings.JOB_DEADLINE_SECONDS = 3600
    deadline = timezone.now() + timedelta(seconds=3600 - 125)
    make_job(run=2, created_at=ago(10**6), deadline_at=deadline)

    assert made()["lanes"][0].oldest == "2 min 5 s"


def test_waiting_jobs_are_counted_by_why_they_wait():
    for _ in range(2):
        job = make_job(Status.RUNNING)
        lifecycle.wait(job, 60, CallReport(error_code="provider_unreachable"), counted=True)

    worker([QUEUE])

    [block] = made()["lanes"][0].blocks

    assert block.startswith("2 put off: The provider could not be reached (next in ")


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
    of_hour, *_ = re.findall(r'href="([^"]*status__exact=completed[^"]*)"', text)

    shown = staff_client.get(html.unescape(of_hour)).content.decode()

    assert recent.url in shown
    assert "https://example.com/old" not in shown


def test_a_worker_that_went_without_a_word_is_a_banner(staff_client):
    worker([QUEUE], seen=20)

    text = staff_client.get(reverse("dashboard")).content.decode()

    assert "Worker w20 is silent since" in text


def test_what_runs_is_shown_with_how_long_it_should_take():
    project = make_project()
    for _ in range(3):
        done = make_job(Status.RUNNING, project=project, duration=100.0, claimed_at=ago(10))
        lifecycle.complete(done, RESULT)
    running = make_job(Status.RUNNING, project=project, duration=100.0, claimed_at=ago(5))

    [row] = made()["running"]

    assert row.job == running
    assert row.elapsed.endswith(" s") and row.expected
    assert 0 < row.share <= 100


def test_live_sessions_are_shown_with_how_late_their_results_are(staff_client):
    LiveSession.objects.create(
        project=make_project("Newsroom"),
        state=State.LIVE,
        relay="r",
        lease_until=timezone.now(),
        latency={"p95_ms": 312.4},
    )

    text = staff_client.get(reverse("dashboard")).content.decode()

    assert "Newsroom" in text
    assert "p95 latency 312 ms" in text


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


def test_it_takes_twenty_queries(regions, django_assert_num_queries):
    regions({"name": "default"})
    with django_assert_num_queries(20):
        assert list(made()["endpoints"]) == []


def test_it_takes_as_many_queries_for_many_jobs_as_for_one(staff_client, regions, monkeypatch):
    regions({"name": "default"})
    # All is asked each time, however long it takes.
    monkeypatch.setattr("jobs.remembered.QUICK_SECONDS", math.inf)

    def queries():
        memory.forget()
        with CaptureQueriesContext(connection) as captured:
            staff_client.get(reverse("dashboard"))
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

    assert reverse("dashboard") in text
    assert f"No worker is alive for {QUEUE}" in text


def test_it_is_for_staff_alone(client):
    assert client.get(reverse("dashboard")).status_code == 302


def test_a_region_is_shown_with_its_breakers_and_what_its_provider_has_to_do(regions, staff_client):
    regions({"name": "eu", "max_recordings": 2}, {"name": "us", "enabled": False})
    make_job(queue="transcription.eu")
    breaker_of("eu").open(60)
    held = [limits.take(region_named("eu"), Use.SYNC) for _ in range(2)]

    found = made()
    text = staff_client.get(reverse("dashboard")).content.decode()
    for slot in held:
        slot.give_back()

    eu, us = found["regions"]
    assert (eu.can, eu.in_use) == ("some", ["recordings 2 of 2", "live: no limit"])
    assert eu.breakers == ["Breaker of recordings open: nothing is called for a while"]
    assert us.can == "nothing"
    assert found["lanes"][0].blocks == [
        "No worker is alive.",
        "Its region does nothing now: calls failed, and it is left alone for a while.",
        "Its provider's limit is reached.",
    ]
    assert "switched off" in text and eu.breakers[0] in text
