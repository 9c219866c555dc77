"""A broker that forgets, dies, or says everything five times."""

from dataclasses import dataclass

import pytest
import redis
from celery import Celery

from tests.conditions import PATIENCE
from tests.faults.harness import (
    Stopwatch,
    Submitter,
    ended_jobs,
    open_jobs,
    percentile,
    promises_kept,
    queue_jobs,
)
from tests.jobs.rows import QUEUE

FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
SMALL = pytest.mark.postgresql
# What a submission may take while the broker is away. On machines that do other things too half of the small
# loads' take ten times as long at most.
QUICK_SECONDS = 0.5


@dataclass(frozen=True)
class Flushes:
    jobs: int
    flushes: int


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Flushes(60, 3), id="small", marks=SMALL),
        pytest.param(Flushes(1000, 10), id="full", marks=FULL),
    ],
)
def test_f3_a_broker_that_forgets_everything_loses_nothing(stack, broker, provider, tell, load):
    provider.set_faults("latency=0.2")
    stalls = []
    with stack.workers(1, concurrency=4) as supervisor, redis.Redis.from_url(broker.url) as client:
        queue_jobs(load.jobs)
        for flush in range(load.flushes):
            supervisor.wait_until(lambda: ended_jobs() >= load.jobs * flush / load.flushes, 120)  # noqa: B023
            client.flushall()
            ended = ended_jobs()
            stalls.append(supervisor.wait_until(lambda: ended_jobs() > ended, 35))  # noqa: B023
        supervisor.wait_until(lambda: not open_jobs(), 300)
    tell(
        "F3",
        jobs=load.jobs,
        flushes=load.flushes,
        **promises_kept(load.jobs),
        longest_stall=round(max(stalls), 1),
    )


@dataclass(frozen=True)
class Outage:
    kills: int
    seconds: float
    rate: float
    share: float
    slack: float


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Outage(kills=2, seconds=6, rate=5, share=0.5, slack=10), id="small", marks=SMALL),
        pytest.param(Outage(kills=10, seconds=600, rate=20, share=0.99, slack=1), id="full", marks=FULL),
    ],
)
def test_f4_jobs_are_accepted_and_done_while_the_broker_is_down(stack, broker, tell, load):
    reconnected = []
    with stack.web() as web, stack.workers(1) as supervisor:
        with Submitter(web.url, load.rate) as submitter:
            for _ in range(load.kills):
                broker.kill()
                broker.start()
                reconnected.append(supervisor.wait_until(lambda: is_consumed(broker), 30))
            broker.kill()
            down, before = Stopwatch(), ended_jobs()
            submitter.submit("mode=sync")
            supervisor.wait_until(lambda: down.seconds > load.seconds, load.seconds + 30)
            done_meanwhile = ended_jobs() - before
            broker.start()
            reconnected.append(supervisor.wait_until(lambda: is_consumed(broker), 30))
        supervisor.wait_until(lambda: not open_jobs(), 60)

    accepted = len(submitter.seconds)
    tell(
        "F4",
        accepted=accepted,
        refused=len(submitter.refused),
        kills=load.kills + 1,
        **promises_kept(accepted),
        down=load.seconds,
        done_meanwhile=done_meanwhile,
        p99_ms=round(1000 * submitter.p99),
        consuming_again_after=round(max(reconnected), 1),
    )
    assert not submitter.refused
    assert percentile(submitter.seconds, load.share) < QUICK_SECONDS * load.slack
    assert done_meanwhile > 0
    assert max(reconnected) <= 20 * PATIENCE


@dataclass(frozen=True)
class Freeze:
    seconds: float
    rate: float
    share: float
    slack: float


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Freeze(seconds=5, rate=5, share=0.5, slack=10), id="small", marks=SMALL),
        pytest.param(Freeze(seconds=120, rate=5, share=0.99, slack=1), id="full", marks=FULL),
    ],
)
def test_f5_a_broker_that_is_frozen_holds_up_neither_a_request_nor_a_job(stack, broker, tell, load):
    with stack.web() as web, stack.workers(1) as supervisor:
        broker.pause()
        frozen, before = Stopwatch(), ended_jobs()
        with Submitter(web.url, load.rate) as submitter:
            supervisor.wait_until(lambda: frozen.seconds > load.seconds, load.seconds + 30)
        done_meanwhile = ended_jobs() - before
        broker.resume()
        reconnected = supervisor.wait_until(lambda: is_consumed(broker), 45)
        supervisor.wait_until(lambda: not open_jobs(), 60)

    accepted = len(submitter.seconds)
    tell(
        "F5",
        accepted=accepted,
        refused=len(submitter.refused),
        **promises_kept(accepted),
        frozen=load.seconds,
        done_meanwhile=done_meanwhile,
        p99_ms=round(1000 * submitter.p99),
        consuming_again_after=round(reconnected, 1),
    )
    assert not submitter.refused
    assert percentile(submitter.seconds, load.share) < QUICK_SECONDS * load.slack
    assert done_meanwhile > 0


def is_consumed(broker):
    """Whether somebody waits for messages there."""
    with redis.Redis.from_url(broker.url) as client:
        return any(connected["cmd"] == "brpop" for connected in client.client_list())


@dataclass(frozen=True)
class Copies:
    jobs: int
    copies: int


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Copies(100, 5), id="small", marks=SMALL),
        pytest.param(Copies(500, 5), id="full", marks=FULL),
    ],
)
def test_f9_messages_that_come_five_times_run_nothing_twice(stack, broker, provider, tell, load):
    queue_jobs(load.jobs)
    with Celery("publisher", broker=broker.url, set_as_current=False) as publisher:
        for _ in range(load.jobs * load.copies):
            publisher.send_task("jobs.work", args=(QUEUE,), queue=QUEUE, ignore_result=True)
    with stack.workers(2) as supervisor:
        supervisor.wait_until(lambda: not open_jobs() and is_drained(broker), 120)

    calls = provider.requests()["total"]
    tell("F9", jobs=load.jobs, copies=load.copies, **promises_kept(load.jobs), calls=calls)
    assert calls == load.jobs


def is_drained(broker):
    with redis.Redis.from_url(broker.url) as client:
        return client.llen(QUEUE) == 0
