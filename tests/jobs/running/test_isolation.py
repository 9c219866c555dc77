"""Running a job in a process of its own, with real children."""

import os
import signal
import threading

import psutil
import pytest
from django.db import connection

from jobs import lifecycle
from jobs.models import Status, Transcript, TranscriptionJob
from jobs.queues import ISOLATION_QUEUE
from jobs.running import isolation
from jobs.running.leases import LeaseKeeper
from tests.conditions import wait_until
from tests.jobs.rows import fresh, make_job, make_project, make_recording
from tests.sandbox.sounds import wav

pytestmark = pytest.mark.django_db(transaction=True)

CHILD_SECONDS = 30


@pytest.fixture
def leases(settings):
    settings.HEARTBEAT_SECONDS = 0.2
    return LeaseKeeper()


@pytest.fixture
def claimed(provider, database_url, monkeypatch):
    """A job claimed in isolation, whose child finds the test's database and provider."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DEEPGRAM_BASE_URL", provider.url)
    project = make_project()
    recording = make_recording(project, wav(1.0))
    make_job(project=project, recording=recording, url="", queue=ISOLATION_QUEUE, crashes=2)
    return TranscriptionJob.objects.claim(ISOLATION_QUEUE, "here:1:1", 60)


@pytest.fixture
def apart(claimed, leases, provider):
    """The job's child, once it hangs in its call, and the thread that watches it."""
    provider.set_faults("hang")

    def run():
        isolation.run_apart(claimed, leases)
        connection.close()

    watching = threading.Thread(target=run)
    watching.start()
    wait_until(lambda: provider.requests()["active"], CHILD_SECONDS)
    (child,) = [child for child in psutil.Process().children() if "run_isolated" in child.cmdline()]
    yield child, watching
    if child.is_running():
        child.kill()
    watching.join(CHILD_SECONDS)


def test_a_job_that_does_no_harm_completes(claimed, leases):
    isolation.run_apart(claimed, leases)

    stored = fresh(claimed)
    assert (stored.status, stored.crashes, Transcript.objects.count()) == ("completed", 0, 1)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL, signal.SIGXCPU])
def test_a_job_whose_child_dies_of_it_is_dead(claimed, apart, how):
    child, watching = apart

    os.kill(child.pid, how)
    watching.join(90)

    stored = fresh(claimed)
    assert (stored.status, stored.error_code) == ("dead", "killed_its_worker")
    assert how.name in stored.error_message


def test_cancelling_ends_the_child(claimed, apart):
    child, watching = apart

    lifecycle.cancel(fresh(claimed))
    watching.join(90)

    assert not child.is_running()
    assert fresh(claimed).status == Status.CANCELLED


def test_a_child_that_could_not_begin_costs_the_job_a_while_and_no_attempt(claimed, leases, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/db.sqlite3")

    isolation.run_apart(claimed, leases)

    stored = fresh(claimed)
    assert (stored.status, stored.error_code) == (Status.WAITING, "isolation_failed")
    assert (stored.crashes, stored.attempts, stored.deferrals) == (2, 0, 1)


@pytest.mark.postgresql
def test_a_job_may_take_as_long_as_its_call_and_is_then_dead(
    claimed, leases, provider, settings, monkeypatch
):
    # Enough to begin in on a slow machine.
    monkeypatch.setattr(isolation, "CPU_SECONDS", 20)
    settings.PROVIDER_DEADLINE_SECONDS = 0.1
    provider.set_faults("hang")

    isolation.run_apart(claimed, leases)

    assert "took too long" in fresh(claimed).error_message
    assert fresh(claimed).status == Status.DEAD
