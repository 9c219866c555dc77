"""A provider that fails in every way it can, under real workers."""

from dataclasses import dataclass

import pytest
from django.db.models import F

from jobs.models import Attempt, Status, TranscriptionJob
from tests.faults.harness import Stopwatch, open_jobs, promises_kept, queue_jobs

FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
DEADLINE_SECONDS = 3
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

    failed = TranscriptionJob.objects.filter(status=Status.FAILED)
    slowest = max(
        seconds.total_seconds()
        for seconds in Attempt.objects.values_list(F("ended_at") - F("started_at"), flat=True)
    )
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
    assert slowest <= DEADLINE_SECONDS + 2
    assert freed_in <= 5
