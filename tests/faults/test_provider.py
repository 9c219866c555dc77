"""A provider that fails in every way it can, under real workers."""

from dataclasses import dataclass, replace
from itertools import count

import httpx
import pytest
from django.db.models import F

from jobs.models import Attempt, AttemptOutcome, Status, TranscriptionJob
from tests.certificates import make_certificate
from tests.conditions import PATIENCE
from tests.faults.harness import Stopwatch, ended_jobs, open_jobs, outcomes, promises_kept, queue_jobs
from tests.routing.peer import Peer
from tests.sandbox.sounds import wav

FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
DEADLINE_SECONDS = 3
CONCURRENCY = 10
FAULTS = {
    "status=500": "provider_error",
    "status=503": "provider_error",
    "hang": "provider_timeout",
    "drip=0.5": "provider_timeout",
    "drip=0.5;part=head": "provider_timeout",
    "reset=upload": "provider_unreachable",
    "reset=request": "provider_unreachable",
    "reset=answer": "provider_unreachable",
    "truncated": "provider_malformed_answer",
    "not_json": "provider_malformed_answer",
    "empty": "provider_malformed_answer",
}


@dataclass(frozen=True)
class Failing:
    jobs: int
    """for each fault"""


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Failing(12), id="small", marks=pytest.mark.postgresql),
        pytest.param(Failing(500), id="full", marks=FULL),
    ],
)
def test_f12_a_failing_provider_holds_no_thread_and_every_job_ends_with_the_right_code(
    stack, provider, tell, load
):
    jobs = load.jobs * len(FAULTS)
    share = 0.3 / len(FAULTS)
    # The first rule that applies decides, so each gets its share of what is left.
    rules = [
        {"fault": fault, "share": share / (1 - number * share), "seed": number}
        for number, fault in enumerate(FAULTS)
    ]
    provider.set_faults(*rules)
    settings = {"PROVIDER_DEADLINE_SECONDS": str(DEADLINE_SECONDS), "MAX_ATTEMPTS": "2"}
    with stack.workers(2, **settings) as supervisor:
        queue_jobs(jobs)
        supervisor.wait_until(lambda: not open_jobs(), 60 + jobs / 5)
        applied = {rule["fault"]: rule["applied"] for rule in provider.faults()}

        # All at once, so that every thread is needed.
        provider.set_faults("latency=0.5")
        queue_jobs(20)
        free_again = Stopwatch()
        supervisor.wait_until(lambda: provider.requests()["active"] == 20 or not open_jobs(), 10)
        freed_in = free_again.seconds
        supervisor.wait_until(lambda: not open_jobs(), 30)

    failed, slowest = failed_jobs(), slowest_attempt()
    tell(
        "F12",
        jobs=jobs,
        faults=sum(applied.values()),
        **promises_kept(jobs + 20),
        failed=failed.count(),
        slowest_call=round(slowest, 1),
        threads_free_in=round(freed_in, 1),
    )
    assert sum(applied.values()) > jobs / 10
    assert set(failed.values_list("error_code", flat=True)) <= set(FAULTS.values())
    assert set(failed.values_list("attempts", flat=True)) <= {2}
    assert slowest <= DEADLINE_SECONDS + 8 * PATIENCE
    assert freed_in <= 10 * PATIENCE


def failed_jobs():
    return TranscriptionJob.objects.filter(status=Status.FAILED)


def slowest_attempt():
    took = Attempt.objects.values_list(F("ended_at") - F("started_at"), flat=True)
    return max(seconds.total_seconds() for seconds in took)


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Failing(12), id="small", marks=pytest.mark.postgresql),
        pytest.param(Failing(500), id="full", marks=FULL),
    ],
)
def test_f12_an_answer_that_tls_cuts_short_is_not_taken_for_the_whole(stack, provider, tell, load, tmp_path):
    """Ended without TLS's own farewell (close_notify), as whoever cuts the line can do at any byte."""
    jobs = load.jobs * len(FRAMINGS)
    cutting = CuttingProvider(a_proper_answer(provider))
    certificate = make_certificate(tmp_path, "127.0.0.1")
    with Peer(cutting, tls=certificate.of_server()) as peer:
        secured = replace(stack, provider=peer)
        with secured.workers(2, SSL_CERT_FILE=str(certificate.path), MAX_ATTEMPTS="2") as supervisor:
            queue_jobs(jobs)
            supervisor.wait_until(lambda: not open_jobs(), 60 + jobs / 5)

    failed, slowest = failed_jobs(), slowest_attempt()
    tell(
        "F12 TLS",
        jobs=jobs,
        cut=cutting.cuts,
        **promises_kept(jobs),
        failed=failed.count(),
        slowest_call=round(slowest, 1),
    )
    assert cutting.cuts > jobs / 10
    # Each cut was noticed: nothing of it was stored, and each was an attempt that might be billed.
    cut_short = Attempt.objects.exclude(outcome=AttemptOutcome.COMPLETED)
    assert cut_short.count() == cutting.cuts
    assert set(cut_short.values_list("error_code", "counted")) <= {(code, True) for code in CUT_SHORT}
    assert set(failed.values_list("attempts", flat=True)) <= {2}
    assert slowest <= DEADLINE_SECONDS + 8 * PATIENCE


def a_proper_answer(provider):
    headers = {"authorization": "Token any"}
    answer = httpx.post(f"{provider.url}/v1/listen", content=wav(1.0), headers=headers, trust_env=False)
    return answer.raise_for_status().content


FRAMINGS = (
    b"content-length: %(length)d\r\n\r\n%(half)b",
    b"transfer-encoding: chunked\r\n\r\n%(chunk)x\r\n%(half)b",
    # Only the end of the connection tells the end of the body.
    b"connection: close\r\n\r\n%(half)b",
)
# Where the length was told the connection broke; where not, half a document came.
CUT_SHORT = ("provider_unreachable", "provider_malformed_answer")


class CuttingProvider:
    """Answers as the provider did, but cuts every third answer in its middle, in each framing in turn."""

    def __init__(self, answer):
        self._answer = answer
        self._asked = count(1)
        self._cut = []

    @property
    def cuts(self):
        return len(self._cut)

    def __call__(self, connection):
        while connection.read_request():
            number = next(self._asked)
            if number % 3:
                connection.answer(200, self._answer)
                continue
            half = self._answer[: len(self._answer) // 2]
            shape = FRAMINGS[number // 3 % len(FRAMINGS)]
            self._cut.append(number)
            connection.send(
                b"HTTP/1.1 200 OK\r\n"
                + shape % {b"length": len(self._answer), b"chunk": len(self._answer), b"half": half}
            )
            return


@dataclass(frozen=True)
class RateLimit:
    jobs: int
    seconds: float
    retry_after: float


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(RateLimit(60, 5, 0.5), id="small", marks=pytest.mark.postgresql),
        pytest.param(RateLimit(500, 300, 1), id="full", marks=FULL),
    ],
)
def test_f11_a_rate_limit_costs_no_attempt_and_is_not_answered_with_more_calls(stack, provider, tell, load):
    limit = 2 * CONCURRENCY
    refusing = {"fault": f"status=429;retry_after={load.retry_after}", "share": 0.5, "seed": 11}
    provider.set_faults(refusing, "latency=0.2")
    queued = 2 * limit
    queue_jobs(queued)
    with stack.workers(2, concurrency=CONCURRENCY) as supervisor:
        supervisor.wait_until(lambda: provider.requests()["total"] > limit, 60)
        watch = Stopwatch()
        while watch.seconds < load.seconds:
            # Always something to do, and all of it accepted when the limit is lifted.
            due = min(load.jobs, 2 * limit + int(load.jobs * watch.seconds / load.seconds))
            if due > queued:
                queue_jobs(due - queued)
                queued = due
            since = watch.seconds
            supervisor.wait_until(lambda: watch.seconds > min(load.seconds, since + 1), 5)  # noqa: B023
        refused = provider.faults()[0]["applied"]
        done_meanwhile = ended_jobs()
        queue_jobs(load.jobs - queued)
        provider.set_faults("latency=0.2")
        supervisor.wait_until(lambda: not open_jobs(), 60 + load.jobs / 5)

    asked = provider.requests()
    tell(
        "F11",
        jobs=load.jobs,
        refused=refused,
        **promises_kept(load.jobs),
        done_meanwhile=done_meanwhile,
        attempts_burnt=asked["total"] - refused - load.jobs,
        most_at_once=asked["peak"],
    )
    jobs = TranscriptionJob.objects.all()
    assert refused
    assert set(jobs.values_list("status", "attempts")) == {(Status.COMPLETED, 1)}
    assert outcomes() == {"completed": load.jobs, "deferred": refused}
    assert asked["total"] == load.jobs + refused
    assert asked["peak"] <= limit
