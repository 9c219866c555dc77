"""Holding leases, keeping them, and noticing that one is lost."""

import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from time import monotonic
from uuid import uuid4

import pytest
from django.db import InterfaceError, transaction
from django.utils import timezone

from jobs import lifecycle
from jobs.models import Status, TranscriptionJob
from jobs.running import leases
from jobs.running.leases import LeaseKeeper, is_running_here, process_name
from routing.transport import Call
from tests.conditions import wait_until
from tests.jobs.rows import ago, fresh, make_job, make_project

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def keeper(settings):
    # It beats when the test says so.
    settings.HEARTBEAT_SECONDS = 3600
    return LeaseKeeper()


@pytest.fixture
def running():
    project = make_project()
    return lambda **fields: make_job(Status.RUNNING, project=project, **fields)


def remaining(job):
    return (fresh(job).lease_until - timezone.now()).total_seconds()


def test_a_heartbeat_renews_the_lease(keeper, running):
    job = running(lease_until=ago(-1))

    with keeper.hold(job, Call(60)):
        keeper.heartbeat()

    assert remaining(job) > 50


def test_leases_are_renewed_by_a_thread_while_the_block_runs(settings, running):
    settings.HEARTBEAT_SECONDS = 0.05
    job = running(lease_until=ago(-1))

    with LeaseKeeper().hold(job, Call(60)):
        wait_until(lambda: remaining(job) > 50)


def test_a_lost_lease_aborts_its_call_and_no_other(keeper, running):
    held, lost, calls = running(), running(), (Call(60), Call(60))
    TranscriptionJob.objects.filter(pk=lost.pk).update(lease_token=uuid4())

    with keeper.hold(held, calls[0]), keeper.hold(lost, calls[1]):
        keeper.heartbeat()

    assert [call.aborted for call in calls] == [False, True]


def test_a_cancellation_aborts_the_call(keeper, running):
    job, call = running(), Call(60)

    with keeper.hold(job, call):
        lifecycle.cancel(fresh(job))
        keeper.heartbeat()

    assert call.aborted


def test_a_lease_that_could_not_be_renewed_for_most_of_its_time_is_given_up(keeper, running, settings):
    settings.LEASE_SECONDS, call = 0.4, Call(60)

    with keeper.hold(running(), call):
        assert not call.aborted
        wait_until(lambda: call.aborted)

        assert keeper.is_cut_off


def test_a_database_that_hangs_counts_as_one_that_is_gone(running, settings):
    settings.HEARTBEAT_SECONDS, settings.LEASE_SECONDS = 0.05, 1.0
    job, call = running(), Call(60)

    with transaction.atomic():
        TranscriptionJob.objects.select_for_update().get(pk=job.pk)
        with LeaseKeeper().hold(job, call):
            wait_until(lambda: call.aborted)


def test_who_was_cut_off_may_claim_again_once_nothing_is_held_any_more(keeper, running, settings):
    settings.LEASE_SECONDS = 0
    with keeper.hold(running(), Call(60)):
        assert keeper.is_cut_off

    assert not keeper.is_cut_off


def test_who_reaches_the_database_again_is_not_cut_off(keeper, running, monkeypatch):
    monkeypatch.setattr(leases, "CUT_OFF_AFTER", 0.001)
    with keeper.hold(running(), Call(60)):
        wait_until(lambda: keeper.is_cut_off)

        keeper.heartbeat()

        assert not keeper.is_cut_off


def test_a_heartbeat_that_fails_is_followed_by_others(running, settings):
    settings.HEARTBEAT_SECONDS = 0.05
    job = running(lease_until=ago(-1))

    def fails_once(tokens, lease_seconds, renew=TranscriptionJob.objects.renew, failed=[]):  # noqa: B006
        if not failed:
            failed.append(True)
            raise InterfaceError("the connection is closed")
        return renew(tokens, lease_seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TranscriptionJob.objects, "renew", fails_once, raising=False)
        with LeaseKeeper().hold(job, Call(60)):
            wait_until(lambda: remaining(job) > 50)


def test_the_lease_of_a_thread_that_is_stuck_is_not_renewed(keeper, running, monkeypatch):
    monkeypatch.setattr(leases, "STUCK_AFTER_SECONDS", -60.0)
    stuck = running(lease_until=ago(-1))

    with keeper.hold(stuck, Call(60)):
        keeper.heartbeat()

        assert keeper.has_stuck_threads
    assert remaining(stuck) < 2


def test_draining_neither_waits_for_a_thread_that_is_stuck_nor_forgives_its_job(keeper, running, monkeypatch):
    monkeypatch.setattr(leases, "STUCK_AFTER_SECONDS", -60.0)
    stuck, begun = running(), monotonic()

    with keeper.hold(stuck, Call(60)):
        keeper.drain(5)

    assert monotonic() - begun < 4
    assert fresh(stuck).status == Status.RUNNING


def test_draining_waits_for_what_runs(keeper, running):
    job = running()
    with ExitStack() as held:
        held.enter_context(keeper.hold(job, Call(60)))
        drain = threading.Thread(target=keeper.drain, args=(30,))
        drain.start()
        drain.join(0.2)
        assert drain.is_alive()
    drain.join(90)

    assert not drain.is_alive()
    assert fresh(job).status == Status.RUNNING


def test_what_runs_longer_than_the_grace_is_given_back_without_a_strike(keeper, running):
    job = running()

    with keeper.hold(job, Call(60)):
        keeper.drain(0.1)

    assert (fresh(job).status, fresh(job).crashes) == (Status.QUEUED, 0)
    assert job.history.get().outcome == "released"


def test_a_process_is_told_from_a_later_one_of_the_same_id():
    host, pid, started = process_name().rsplit(":", 2)

    assert int(pid) == os.getpid()
    assert is_running_here(process_name()) is True
    assert is_running_here(f"{host}:{pid}:{int(started) + 1}") is False


def test_a_process_that_ended_is_known_to_be_gone():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host = process_name().rsplit(":", 2)[0]
    name = f"{host}:{child.pid}:{leases._started(child.pid)}"
    assert is_running_here(name) is True

    child.communicate(b"\n", timeout=30)

    assert is_running_here(name) is False


def test_of_another_hosts_process_nothing_is_known():
    assert is_running_here("elsewhere:1:1") is None
