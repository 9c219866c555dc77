"""Who may read metrics, what is asked of rows, and what is written of both."""

import re
import subprocess
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from jobs.models import Priority, Project, TranscriptionJob, WorkerProcess
from jobs.models.usage import DailyUsage
from jobs.refusal import Refusal
from routing import limits
from routing.breaker import breaker_of
from routing.regions import region_named
from tests.environment import ROOT
from tests.jobs.rows import QUEUE, ago, build_job, make_job, make_project
from tests.services import binaries
from transcribe_project.metrics.access import check_reader, is_near
from transcribe_project.metrics.catalogue import catalogue
from transcribe_project.metrics.fleet import GAUGES, Fleet


def values(metrics):
    """The series of `metrics`, as {name: {(label value, …): value}}; labels in the order of their names."""
    return {
        metric.name: {tuple(sample.labels.values()): sample.value for sample in metric.samples}
        for metric in metrics
    }


# Who may read


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("172.16.0.9", True),
        ("192.168.1.1", True),
        ("::ffff:10.0.0.1", True),
        ("fd00::1", True),
        ("8.8.8.8", False),
        ("172.32.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("2a00::1", False),
        ("", False),
        ("unix:", False),
    ],
)
def test_near_is_what_is_private(address, near):
    assert is_near(address) is near


def refusal_of(address, settings, token="", **headers):
    settings.METRICS_TOKEN = token
    try:
        check_reader(address, {name.replace("_", "-"): value for name, value in headers.items()})
    except Refusal as refusal:
        return refusal.status
    return None


def test_without_a_token_who_is_near_and_asks_directly_may_read(settings):
    assert refusal_of("10.0.0.7", settings) is None
    assert refusal_of("8.8.8.8", settings) == 403
    for header in ("x_forwarded_for", "forwarded", "x_real_ip", "via"):
        assert refusal_of("10.0.0.7", settings, **{header: "10.0.0.8"}) == 403


def test_with_a_token_who_has_it_may_read_from_anywhere(settings):
    assert refusal_of("8.8.8.8", settings, "secret", authorization="Bearer secret", via="a") is None
    for said in ("Bearer wrong", "Token secret", "secret", "Bearer sécret", ""):
        assert refusal_of("127.0.0.1", settings, "secret", authorization=said) == 401


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/metrics", "/metrics/fleet"])
def test_metrics_are_told_to_who_may_read_them(path, settings):
    settings.METRICS_TOKEN = ""
    told = Client().get(path)
    refused = Client().get(path, headers={"x-forwarded-for": "10.0.0.1"})

    assert told.status_code == 200
    assert told["Content-Type"].startswith("text/plain; version=")
    assert "transcribe_database_up 1.0" in told.text
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")


@pytest.mark.django_db
def test_a_client_cannot_make_labels_of_methods():
    Client().generic("BREW", "/api/v1/jobs/")

    told = Client().get("/metrics").text
    assert "BREW" not in told
    assert 'method="<invalid method>"' in told


# What is asked of rows


@pytest.mark.django_db
def test_the_backlog_is_told_by_lane_with_its_age(settings):
    project = make_project()
    deadline = timedelta(seconds=settings.JOB_DEADLINE_SECONDS)
    soon = timezone.now() + timedelta(seconds=60)
    make_job(project=project, created_at=ago(300), deadline_at=soon)
    make_job(project=project, created_at=ago(20), deadline_at=soon)
    # Requeued, when it was an hour old.
    make_job(
        project=project, priority=Priority.LOW, run=2, created_at=ago(3600), deadline_at=ago(5) + deadline
    )
    make_job("waiting", project=project, run_at=ago(1))
    make_job("waiting", project=project, run_at=timezone.now() + timedelta(hours=1))
    make_job("running", project=project)
    make_job("completed", project=project)
    make_job("failed", project=project)

    told = values(Fleet().collect())

    lane = ("default", QUEUE)
    assert told["transcribe_backlog_jobs"] == {
        (*lane, "high"): 0,
        (*lane, "normal"): 3,
        (*lane, "low"): 1,
    }
    ages = told["transcribe_backlog_oldest_seconds"]
    assert 299 < ages[*lane, "normal"] < 360
    assert 4 < ages[*lane, "low"] < 65
    assert ages[*lane, "high"] == 0
    by_status = {status: count for (status,), count in told["transcribe_jobs"].items()}
    assert by_status == {
        "queued": 3,
        "waiting": 2,
        "running": 1,
        "completed": 1,
        "failed": 1,
        "cancelled": 0,
        "dead": 0,
    }


@pytest.mark.django_db
def test_workers_are_told_by_what_they_serve():
    alive = {"seen_at": timezone.now(), "concurrency": 10}
    WorkerProcess.objects.create(name="a", queues=[QUEUE, "webhooks"], **alive)
    WorkerProcess.objects.create(name="b", queues=[QUEUE], **alive)
    WorkerProcess.objects.create(name="gone", queues=[QUEUE], seen_at=ago(60), concurrency=10)

    told = values(Fleet().collect())

    unserved = {("isolation",): 0, ("batches",): 0}
    assert told["transcribe_workers_alive"] == {(QUEUE,): 2, ("webhooks",): 1} | unserved
    assert told["transcribe_worker_slots"] == {(QUEUE,): 20, ("webhooks",): 10} | unserved


@pytest.mark.django_db
def test_what_the_provider_takes_is_told_where_there_is_a_limit(regions):
    regions({"name": "eu", "max_recordings": 4}, {"name": "us"})
    eu = region_named("eu")
    slots = [limits.take(eu, limits.Use.SYNC) for _ in range(3)]

    told = values(Fleet().collect())
    for slot in slots:
        slot.give_back()

    assert told["transcribe_provider_slots"] == {("eu", "recordings"): 4}
    assert told["transcribe_provider_slots_in_use"] == {("eu", "recordings"): 3}


@pytest.mark.django_db
def test_breakers_are_told_and_whether_regions_can_do_their_work(regions):
    regions({"name": "eu"}, {"name": "us", "enabled": False})
    breaker_of("eu", live=True).open(60)

    told = values(Fleet().collect())

    state = told["transcribe_breaker_state"]
    assert (state["eu", "live", "open"], state["eu", "live", "closed"]) == (1, 0)
    assert (state["eu", "recordings", "open"], state["eu", "recordings", "closed"]) == (0, 1)
    able = told["transcribe_region_able"]
    assert (able["eu", "live"], able["eu", "sync"]) == (0, 1)
    assert {region for region, _ in able} == {"eu"}


@pytest.mark.django_db
def test_projects_that_have_nearly_used_their_quota_are_counted():
    for minutes, used in ((10, 500.0), (10, 100.0), (None, 1e6)):
        project = Project.objects.create(name=f"{minutes} {used}", daily_minutes=minutes)
        DailyUsage.objects.add(project.pk, used)

    assert values(Fleet().collect())["transcribe_projects_near_quota"] == {(): 1}


@pytest.mark.django_db
def test_who_asks_often_costs_no_more(django_assert_num_queries):
    fleet = Fleet()
    make_job()
    first = values(fleet.collect())

    make_job()
    with django_assert_num_queries(0):
        again = values(fleet.collect())

    assert first["transcribe_jobs"]["queued",] == again["transcribe_jobs"]["queued",] == 1


@pytest.mark.postgresql
@pytest.mark.django_db
def test_open_jobs_are_counted_without_reading_those_that_have_ended():
    project = make_project()
    done = [build_job("completed", project=project) for _ in range(3000)]
    TranscriptionJob.objects.bulk_create(done)
    make_job(project=project)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_transcriptionjob")

    plan = TranscriptionJob.objects.lanes().explain()

    assert "Seq Scan" not in plan, plan


# What is written


def test_the_document_is_what_the_code_says(capsys):
    call_command("describe_metrics")

    assert capsys.readouterr().out == (ROOT / "docs" / "metrics.md").read_text(), (
        "manage.py describe_metrics > docs/metrics.md"
    )


def test_every_metric_of_ours_is_documented():
    own = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("transcribe_")}
    documented = set(re.findall(r"^\| `(\w+?)(?:_total)?` \|", catalogue(), re.MULTILINE))

    assert own | set(GAUGES) == documented


@pytest.mark.timeout(400)  # a package of Debian's may have to be installed first
@pytest.mark.django_db
def test_prometheus_finds_nothing_wrong_with_names_and_units():
    Client().get("/api/v1/jobs/")
    exposed = generate_latest(REGISTRY) + Client().get("/metrics/fleet").content
    assert len(list(text_string_to_metric_families(exposed.decode()))) > len(GAUGES)

    promtool = binaries.find("promtool", "prometheus")
    checked = subprocess.run([promtool, "check", "metrics"], input=exposed, capture_output=True, timeout=60)

    assert (checked.returncode, checked.stderr.decode() + checked.stdout.decode()) == (0, "")
