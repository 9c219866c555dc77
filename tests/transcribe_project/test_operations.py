"""What processes say of themselves where they serve nobody else."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from jobs.models import TranscriptionJob, WorkerProcess
from jobs.running import worker
from tests.conditions import wait_until
from tests.environment import ROOT
from tests.faults.harness import Program
from tests.jobs.rows import ago, make_job
from tests.services import RedisServer
from tests.services.process import free_port
from transcribe_project import health, operations
from transcribe_project.storage_url import storage_at

WORKER = ("-m", "celery", "-A", "transcribe_project", "worker", "-l", "WARNING")
BEAT = (str(ROOT / "manage.py"), "beat")


class Operated(Program):
    """A program that answers on WORKER_PORT."""

    prefix = "operated"

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def running(*command: str, redis_url: str, database_url: str, **settings: str) -> Iterator[Operated]:
    port = free_port()
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "WORKER_PORT": str(port)} | settings
    program = Operated(sys.executable, *command, environment=environment, port=port)
    with program:
        yield program


def test_a_worker_tells_its_health_and_metrics_on_a_port_of_its_own(database_url):
    with (
        RedisServer() as broker,
        running(*WORKER, redis_url=broker.url, database_url=database_url) as celery,
        httpx.Client(base_url=celery.url, trust_env=False, timeout=30) as client,
    ):
        ready = client.get("/readyz")
        own = client.get("/metrics").text
        wait_until(lambda: WorkerProcess.objects.alive().exists())
        fleet = client.get("/metrics/fleet").text
        by_a_proxy = client.get("/metrics", headers={"via": "1.1 proxy"})
        elsewhere = client.get("/api/v1/jobs/")
        broker.stop()
        degraded = client.get("/readyz")

    assert ready.json() == {
        "status": "ok",
        "database": "ok",
        "migrations": "ok",
        "storage": "ok",
        "broker": "ok",
    }
    assert "transcribe_leases_held 0.0" in own
    assert "transcribe_backlog_jobs" in fleet
    assert "transcribe_backlog_jobs" not in own
    assert by_a_proxy.status_code == 403
    assert elsewhere.status_code == 404
    assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
    assert degraded.json()["broker"].startswith("unavailable")


def test_beat_looks_after_jobs_where_no_worker_lives_and_runs_none(database_url, redis_url):
    make_job(deadline_at=ago(1))
    make_job()
    queued = TranscriptionJob.objects.filter(status="queued")
    with running(*BEAT, redis_url=redis_url, database_url=database_url, SWEEP_SECONDS="0.2") as beat:
        wait_until(lambda: TranscriptionJob.objects.filter(error_code="deadline_exceeded").exists(), 30)
        wait_until(lambda: WorkerProcess.objects.filter(concurrency=0, queues=[]).exists())
        beat.stop()
        assert not beat.running

    assert queued.count() == 1
    assert not WorkerProcess.objects.exists()


def test_a_worker_whose_main_thread_is_stuck_is_not_alive(monkeypatch):
    stuck = worker.Worker([], 0)
    monkeypatch.setattr(worker, "_current", stuck)
    assert operations.tell("/healthz", "127.0.0.1", {}).status == 200

    stuck.looked_at -= health.WORKER_SILENT_SECONDS + 1

    assert operations.tell("/healthz", "127.0.0.1", {}).status == 503


def test_a_port_in_use_keeps_nobody_from_working(caplog):
    with RedisServer() as has_the_port:
        operations.serve(has_the_port.port)

    assert "no health, no metrics" in caplog.text


@pytest.mark.django_db
def test_health_costs_no_authentication_and_no_host(client):
    assert client.get("/healthz", headers={"host": "10.0.0.1:8000"}).json() == {"status": "ok"}
    assert client.get("/readyz", headers={"host": "10.0.0.1:8000"}).json()["status"] == "ok"


@pytest.mark.django_db
def test_a_storage_that_nothing_can_be_written_to_is_not_ready(client, settings, tmp_path):
    media = tmp_path / "media"
    settings.STORAGES = settings.STORAGES | {"default": storage_at("", media)}
    first = client.get("/readyz")
    media.rmdir()
    media.write_text("no directory")

    without = client.get("/readyz")

    assert first.json()["storage"] == "ok"
    assert (without.status_code, without.json()["storage"]) == (503, "unavailable: FileExistsError")


def test_what_hangs_is_named_in_time_and_not_asked_again_meanwhile(monkeypatch):
    asked, over = [], threading.Event()

    def _storage() -> str:
        asked.append(1)
        over.wait(30)
        return "ok"

    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.01)
    for _ in range(3):
        assert health._found_of(_storage) == {"storage": health.SILENT}
    assert len(asked) == 1

    over.set()
    wait_until(lambda: health._found_of(_storage) == {"storage": "ok"})
