"""Workers that are killed, stopped and frozen."""

import signal
from dataclasses import dataclass
from itertools import cycle

import pytest
import redis

from jobs.models import Status, TranscriptionJob
from routing.models import RegionRow
from tests.conditions import PATIENCE, wait_until
from tests.faults.harness import (
    Stopwatch,
    ended_jobs,
    open_jobs,
    outcomes,
    promises_kept,
    queue_jobs,
)

CONCURRENCY = 10
FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
USUAL_LEASE = {"LEASE_SECONDS": "60", "HEARTBEAT_SECONDS": "15", "SWEEP_SECONDS": "5"}


def held_by(worker):
    """How many jobs the process has; 0 while it is not running."""
    if not worker.running:
        return 0
    held = TranscriptionJob.objects.filter(status=Status.RUNNING, worker__contains=f":{worker.pid}:")
    return held.count()


@pytest.mark.postgresql
def test_a_new_region_is_served_without_a_restart(stack, broker):
    with stack.workers(1), redis.Redis.from_url(broker.url) as messages:
        RegionRow.objects.create(name="eu", queue="transcription.eu")
        queue_jobs(1, region="eu", queue="transcription.eu")
        wait_until(lambda: not open_jobs(), 30)
        messages.lpush("transcription.eu", "nonsense, to be thrown away")

        # And its messages are taken, or they would pile up.
        wait_until(lambda: not messages.exists("transcription.eu"), 30)


@dataclass(frozen=True)
class Kills:
    jobs: int
    kills: int
    job_seconds: float
    """while workers are killed: long enough that work is left for the last of them"""
    recovered_within: float
    settings: dict


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Kills(60, 2, 5, 90, {}), id="small"),
        pytest.param(Kills(1000, 12, 1, 90, USUAL_LEASE), id="full", marks=FULL),
    ],
)
def test_f1_workers_killed_one_after_the_other_lose_and_double_nothing(stack, provider, tell, load):
    provider.set_faults(f"latency={load.job_seconds}")
    with stack.workers(2, **load.settings) as supervisor:
        queue_jobs(load.jobs)
        for worker, _ in zip(cycle(supervisor.workers), range(load.kills), strict=False):
            # Two seconds between kills, or as long as a new worker takes to have its hands full.
            since = Stopwatch()
            supervisor.wait_until(lambda: since.seconds > 2 and held_by(worker) == CONCURRENCY, 60)  # noqa: B023
            worker.kill()
        last_kill = Stopwatch()
        provider.set_faults("latency=0.2")
        supervisor.wait_until(lambda: not open_jobs(), load.recovered_within)

        re_executed = provider.requests()["total"] - load.jobs
    tell(
        "F1",
        jobs=load.jobs,
        kills=load.kills,
        **promises_kept(load.jobs),
        re_executed=re_executed,
        recovered_in=round(last_kill.seconds, 1),
    )
    assert 0 < re_executed <= CONCURRENCY * load.kills


@dataclass(frozen=True)
class Restarts:
    jobs: int
    restarts: int
    job_seconds: float


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Restarts(60, 3, 1.0), id="small", marks=pytest.mark.postgresql),
        pytest.param(Restarts(500, 20, 5.0), id="full", marks=FULL),
    ],
)
def test_f2_rolling_restarts_repeat_no_call(stack, provider, tell, load):
    provider.set_faults(f"latency={load.job_seconds}")
    exits = []
    with stack.workers(2) as supervisor:
        queue_jobs(load.jobs)
        for worker, _ in zip(cycle(supervisor.workers), range(load.restarts), strict=False):
            supervisor.wait_until(lambda: provider.requests()["active"] > CONCURRENCY or not open_jobs(), 30)
            watch = Stopwatch()
            worker.stop()
            exits.append(watch.seconds)
            worker.start()
        supervisor.wait_until(lambda: not open_jobs(), 600)

    calls = provider.requests()["total"]
    tell(
        "F2",
        jobs=load.jobs,
        restarts=load.restarts,
        **promises_kept(load.jobs),
        re_executed=calls - load.jobs,
        longest_exit=round(max(exits), 1),
    )
    assert calls == load.jobs
    assert max(exits) <= 25 + 5 * PATIENCE


@pytest.mark.postgresql
def test_f2_a_worker_told_to_stop_under_load_leaves_within_its_grace_and_gives_back_what_runs(
    stack, provider, tell
):
    provider.set_faults("hang")
    with stack.workers(1, SHUTDOWN_GRACE_SECONDS="1") as supervisor:
        (worker,) = supervisor.workers
        queue_jobs(CONCURRENCY)
        wait_until(lambda: provider.requests()["active"] == CONCURRENCY, 30)

        watch = Stopwatch()
        worker.stop()

        took = watch.seconds
        assert set(TranscriptionJob.objects.values_list("status", "crashes")) == {("queued", 0)}
        provider.set_faults()
        worker.start()
        wait_until(lambda: not open_jobs(), 30)
    tell("F2 in a call", jobs=CONCURRENCY, **promises_kept(CONCURRENCY), grace=1, exit=round(took, 1))
    assert took <= 1 + 15


@dataclass(frozen=True)
class Freeze:
    jobs: int
    seconds: float
    settings: dict


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Freeze(20, 7, {}), id="small", marks=pytest.mark.postgresql),
        pytest.param(Freeze(100, 120, USUAL_LEASE), id="full", marks=FULL),
    ],
)
def test_f8_a_worker_that_was_frozen_can_write_nothing_of_what_others_have_done(stack, provider, tell, load):
    provider.set_faults("latency=1")
    with stack.workers(2, **load.settings) as supervisor:
        zombie, _ = supervisor.workers
        queue_jobs(load.jobs)
        wait_until(lambda: provider.requests()["active"] > CONCURRENCY, 30)

        zombie.pause()
        frozen = Stopwatch()
        # What it had sent, the database still does.
        wait_until(lambda: frozen.seconds > 1)
        held = held_by(zombie)
        supervisor.wait_until(lambda: frozen.seconds > load.seconds and not open_jobs(), load.seconds + 90)
        ended = dict(TranscriptionJob.objects.values_list("pk", "finished_at"))
        zombie.resume()
        # It has noticed once it works again.
        late = queue_jobs(2 * CONCURRENCY)
        supervisor.wait_until(lambda: ended_jobs() == load.jobs + len(late), 60)

    tell(
        "F8",
        jobs=load.jobs,
        **promises_kept(load.jobs + len(late)),
        frozen_with=held,
        frozen_for=load.seconds,
    )
    assert held > 0
    assert outcomes()["lost"] == held
    assert dict(TranscriptionJob.objects.filter(pk__in=ended).values_list("pk", "finished_at")) == ended


@pytest.mark.postgresql
def test_a_worker_that_was_told_to_stop_ends_without_an_error(stack):
    with stack.workers(1) as supervisor:
        (worker,) = supervisor.workers
        worker._process.send_signal(signal.SIGTERM)
        wait_until(lambda: not worker.running, 20)
        supervisor.look()

        assert worker.exit_codes == [0]


@pytest.mark.postgresql
def test_f20_processes_together_keep_below_what_the_provider_takes_at_once(stack, provider, tell):
    jobs, at_most = 90, 9  # of ten, one is left to callers who wait
    provider.set_faults("latency=0.3")
    with stack.workers(2, PROVIDER_MAX_RECORDINGS="10") as supervisor:
        queue_jobs(jobs)

        def busy():
            return [worker for worker in supervisor.workers if held_by(worker)]

        supervisor.wait_until(busy, 60)
        (busy() or supervisor.workers)[0].kill()
        supervisor.wait_until(lambda: not open_jobs(), 90)

    peak = provider.requests()["peak"]
    tell("F20", jobs=jobs, kills=1, **promises_kept(jobs), at_once=peak)
    assert outcomes().get("deferred", 0) == 0
    assert 1 < peak <= at_most
