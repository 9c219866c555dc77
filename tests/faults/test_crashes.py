"""Processes that are brought down by their own work."""

import re
from dataclasses import dataclass

import pytest

from jobs.models import AttemptOutcome, Status, TranscriptionJob
from jobs.running.worker import STUCK_EXIT_CODE
from tests.faults.harness import open_jobs, outcomes, promises_kept, queue_jobs
from tests.faults.sabotage import POISONS, SABOTAGED
from tests.jobs.rows import make_project

FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
POISONED = SABOTAGED | {
    "SABOTAGE": "poison",
    "PROVIDER_DEADLINE_SECONDS": "2",
    # A neighbour of a thread that lets nobody else run may be late more than twice.
    "MAX_ATTEMPTS": "20",
    "SHUTDOWN_GRACE_SECONDS": "5",
}

EPITAPHS = {
    "segfault": "SIGSEGV",
    "killed": "SIGKILL",
    "exit": "exit code 3",
    "loop": "SIGXCPU|took too long",
    "memory": "exit code 1",
}


@dataclass(frozen=True)
class Crashes:
    jobs: int
    workers: int


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Crashes(4, 2), id="small", marks=pytest.mark.postgresql),
        pytest.param(Crashes(100, 4), id="full", marks=FULL),
    ],
)
def test_f7_a_crash_between_answer_and_commit_is_not_asked_again(stack, provider, tell, load):
    # One thread each, so that a crash takes no neighbour's call along.
    settings = SABOTAGED | {"SABOTAGE": "dies_before_commit"}
    with stack.workers(load.workers, concurrency=1, **settings) as supervisor:
        queue_jobs(load.jobs)
        supervisor.wait_until(lambda: not open_jobs(), 60 + 10 * load.jobs)

        crashes = sum(code == -9 for worker in supervisor.workers for code in worker.exit_codes)
    calls = provider.requests()["total"]
    tell("F7", jobs=load.jobs, crashes=crashes, **promises_kept(load.jobs), calls=calls)
    assert crashes == outcomes()["lost"] == load.jobs
    assert calls <= load.jobs


@pytest.mark.parametrize(
    "jobs",
    [pytest.param(20, id="small", marks=pytest.mark.postgresql), pytest.param(200, id="full", marks=FULL)],
)
def test_f10_poison_ends_its_own_job_and_no_neighbour(stack, provider, tell, jobs):
    provider.set_faults("latency=0.2")
    project, pills = make_project(), {}
    for poison in POISONS:
        # Among the others, not before them.
        queue_jobs(jobs // len(POISONS) - 1, project)
        (pills[poison],) = queue_jobs(1, project, metadata={"poison": poison})

    with stack.workers(2, **POISONED) as supervisor:
        supervisor.wait_until(lambda: not open_jobs(), 110)

    crashes = sum(len(worker.exit_codes) for worker in supervisor.workers)
    neighbours = TranscriptionJob.objects.exclude(pk__in=[pill.pk for pill in pills.values()])
    tell("F10", jobs=jobs, pills=len(pills), **promises_kept(jobs), crashes=crashes)
    for poison, pill in pills.items():
        pill.refresh_from_db()
        assert (poison, pill.status) == (poison, Status.DEAD)
        assert re.search(EPITAPHS[poison], pill.error_message)
        assert pill.history.exclude(outcome=AttemptOutcome.RELEASED).count() <= 3
    failed = neighbours.exclude(status=Status.COMPLETED)
    assert list(failed.values_list("status", "error_code", "error_message")) == []


@pytest.mark.postgresql
def test_f10_a_worker_with_a_thread_that_never_ends_leaves_and_is_replaced(stack, provider, tell):
    project = make_project()
    (pill,) = queue_jobs(1, project, metadata={"poison": "loop"})
    queue_jobs(20, project)

    with stack.workers(1, **POISONED) as supervisor:
        supervisor.wait_until(lambda: not open_jobs(), 110)

    exits = supervisor.workers[0].exit_codes
    tell("F10 loop", jobs=21, **promises_kept(21), exits=exits)
    pill.refresh_from_db()
    assert (pill.status, pill.crashes) == (Status.DEAD, 2)
    assert TranscriptionJob.objects.filter(status=Status.COMPLETED, crashes=0).count() == 20
    assert exits == [STUCK_EXIT_CODE] * 2
