"""What becomes of jobs that nobody looks after."""

import os
import subprocess
import sys

import pytest
from django.core.files.storage import storages
from django.utils import timezone

from jobs.forgetting.retention import purging
from jobs.models import (
    Attempt,
    Event,
    Recording,
    Removal,
    Status,
    TranscriptionJob,
    Upload,
    WorkerProcess,
)
from jobs.running import sweeper
from jobs.running.leases import process_name
from tests.jobs.rows import ago, build_job, fresh, make_job, make_project
from tests.jobs.test_claim import in_threads

pytestmark = pytest.mark.django_db


@pytest.fixture
def dead_process():
    """The name of a process of this host that has ended."""
    script = (
        "import django; django.setup(); from jobs.running.leases import process_name; print(process_name())"
    )
    child = subprocess.run(
        [sys.executable, "-c", script], env=os.environ, capture_output=True, text=True, timeout=60, check=True
    )
    return child.stdout.strip()


def test_a_lost_lease_is_queued_again_and_told():
    job = make_job(Status.RUNNING, lease_until=ago(1))

    sweeper.sweep()

    assert fresh(job).status == Status.QUEUED
    assert job.history.get().error_code == "lease_lost"


def test_a_lease_that_lasts_is_left():
    job = make_job(Status.RUNNING)

    sweeper.sweep()

    assert fresh(job).status == Status.RUNNING


@pytest.mark.parametrize("status", [Status.QUEUED, Status.WAITING])
def test_what_was_not_begun_by_its_deadline_fails(status):
    job = make_job(status, deadline_at=ago(1))

    sweeper.sweep()

    assert (fresh(job).status, fresh(job).error_code) == (Status.FAILED, "deadline_exceeded")
    assert Event.objects.get().type == "job.failed"


@pytest.mark.parametrize(
    ("status", "deadline_at"), [(Status.RUNNING, ago(1)), (Status.QUEUED, None), (Status.COMPLETED, ago(1))]
)
def test_what_runs_has_ended_or_has_no_deadline_goes_on(status, deadline_at):
    job = make_job(status, deadline_at=deadline_at)

    sweeper.sweep()

    assert fresh(job).status == status


@pytest.mark.django_db(transaction=True)
def test_storage_that_hangs_holds_no_sweep_up(monkeypatch):
    project = make_project()
    gone = make_job(Status.RUNNING, project=project, url="https://example.com/a.wav", lease_until=ago(1))
    late = make_job(Status.WAITING, project=project, started_at=ago(60), deadline_at=ago(1))
    Upload.objects.create(project=project, size=1, expires_at=ago(1))
    asked: list[str] = []
    monkeypatch.setattr(storages["default"], "delete", asked.append)

    sweeper.sweep()

    assert not asked
    assert (fresh(gone).status, fresh(late).status) == (Status.QUEUED, Status.FAILED)
    left = {Recording.stored_name(gone.lease_token), late.answer_name}
    assert set(Removal.objects.values_list("name", flat=True)) == left

    list(purging())

    assert not Removal.objects.exists()
    assert not Upload.objects.exists()


def test_workers_that_have_long_been_silent_are_forgotten():
    for name, seen in (("silent", ago(3600)), ("alive", timezone.now())):
        WorkerProcess.objects.create(name=name, concurrency=1, seen_at=seen)

    sweeper.sweep()

    assert [worker.name for worker in WorkerProcess.objects.all()] == ["alive"]


def test_a_restart_takes_back_what_this_hosts_dead_processes_held(dead_process):
    project = make_project()
    left = make_job(Status.RUNNING, project=project, worker=dead_process)
    held = make_job(Status.RUNNING, project=project, worker=process_name())
    elsewhere = make_job(Status.RUNNING, project=project, worker="elsewhere:1:1")

    sweeper.reclaim_from_the_dead()

    assert [fresh(job).status for job in (left, held, elsewhere)] == ["queued", "running", "running"]


@pytest.mark.django_db(transaction=True)
def test_sweepers_at_the_same_time_take_each_lease_once():
    project = make_project()
    jobs = [build_job(Status.RUNNING, project=project, lease_until=ago(1)) for _ in range(50)]
    TranscriptionJob.objects.bulk_create(jobs)

    in_threads(sweeper.sweep, count=5)

    assert set(TranscriptionJob.objects.values_list("status", "crashes")) == {("queued", 1)}
    assert Attempt.objects.count() == 50


@pytest.mark.parametrize("dead", [False, True])
def test_files_that_a_killed_process_was_receiving_are_removed(settings, tmp_path, dead):
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "tmp"
    receive = (
        "import django; django.setup(); from jobs.audio.received import ReceivedFile; file = ReceivedFile()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{receive}; print(flush=True); input()"],
        env=os.environ | {"DATA_DIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        [path] = settings.FILE_UPLOAD_TEMP_DIR.iterdir()
        os.utime(path, (0, 0))
        if dead:
            process.kill()
            process.wait()

        sweeper.sweep()

        assert path.exists() is not dead
        process.kill()
