"""A long queue, and many who submit to it meanwhile."""

from bisect import bisect_left, bisect_right
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle

import pytest

from jobs.models import Priority, TranscriptionJob
from tests.faults.harness import Stopwatch, Submitter, open_jobs, percentile, promises_kept, queue_jobs
from tests.faults.sabotage import SABOTAGED
from tests.jobs.rows import fresh, make_project

FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
CONCURRENCY = 10
SUBMITTED = ["high", *["normal"] * 6, *["low"] * 3]
GROWTH_BYTES = 100 * 1000**2
# Between a job's making and its commit, and between two claims under way at the same time.
AT_ONCE = timedelta(seconds=1)


@dataclass(frozen=True)
class Backlog:
    """What `share` of the claims and submissions keep to: nearly all only on a machine left alone."""

    queued: int
    rate: float
    seconds: float
    share: float
    claim_seconds: float
    submit_seconds: float


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(
            Backlog(400, 10, 5, share=0.5, claim_seconds=5.0, submit_seconds=5.0),
            id="small",
            marks=pytest.mark.postgresql,
        ),
        pytest.param(
            Backlog(10_000, 50, 60, share=0.99, claim_seconds=0.05, submit_seconds=0.3), id="full", marks=FULL
        ),
    ],
)
def test_f14_a_backlog_slows_neither_claims_nor_submissions_and_priority_is_strict(
    stack, provider, tell, load, tmp_path
):
    provider.set_faults("latency=0.2")
    project = make_project()
    for priority in (Priority.LOW, Priority.NORMAL):
        queue_jobs(load.queued // 2, project, priority=priority)
    queries = cycle(f"mode=async&priority={priority}" for priority in SUBMITTED)
    timed = SABOTAGED | {"SABOTAGE": "times_claims", "CLAIMS": str(tmp_path / "claims")}
    with stack.web() as web, stack.workers(1, concurrency=CONCURRENCY, **timed) as supervisor:
        (worker,) = supervisor.workers
        before = {program: program.memory_bytes for program in (web, worker)}
        submitting = Stopwatch()
        with Submitter(web.url, load.rate, queries) as submitter:
            supervisor.wait_until(lambda: submitting.seconds > load.seconds, load.seconds + 10)
        left = open_jobs()
        claims = [float(line) for line in (tmp_path / "claims").read_text().split()]
        provider.set_faults()
        supervisor.wait_until(lambda: not open_jobs(), 60 + load.queued / 20)
        growth = {program.prefix: program.memory_bytes - had for program, had in before.items()}

    jobs = load.queued + len(submitter.accepted)
    found = inversions()
    tell(
        "F14",
        jobs=jobs,
        **promises_kept(jobs),
        refused=len(submitter.refused),
        left_when_all_were_submitted=left,
        claim_p99_ms=round(1000 * percentile(claims, 0.99), 1),
        submit_p99_ms=round(1000 * submitter.p99),
        inversions=found,
        grown_mb={name: round(grown / 1e6) for name, grown in growth.items()},
    )
    assert not submitter.refused
    assert len(submitter.accepted) > 0.5 * load.rate * load.seconds
    assert percentile(claims, load.share) < load.claim_seconds
    assert percentile(submitter.seconds, load.share) < load.submit_seconds
    assert found == 0
    assert max(growth.values()) < GROWTH_BYTES


@pytest.mark.parametrize(
    ("queued", "singles"), [pytest.param(300, 3, id="small"), pytest.param(10_000, 50, id="full", marks=FULL)]
)
def test_f19_the_files_of_one_project_keep_no_other_s_waiting(stack, provider, tell, queued, singles):
    provider.set_faults("latency=0.2")
    many = make_project("many")
    jobs = queue_jobs(queued, many)
    for place, job in enumerate(jobs):
        job.start_tag = place
    TranscriptionJob.objects.bulk_update(jobs, ["start_tag"], batch_size=500)
    theirs, overtaken = TranscriptionJob.objects.filter(project=many), []
    with (
        stack.web() as web,
        stack.workers(1, concurrency=CONCURRENCY) as supervisor,
        closing(Submitter(web.url, rate=1)) as submitter,
    ):
        for _ in range(singles):
            submitter.submit()
            single = TranscriptionJob.objects.get(pk=submitter.accepted[-1])
            supervisor.wait_until(lambda single=single: fresh(single).is_ended, 60)
            single = fresh(single)
            since = theirs.filter(claimed_at__gt=single.created_at, claimed_at__lt=single.claimed_at)
            overtaken.append(since.count())
        left = theirs.open().count()

    tell("F19", queued=queued, left=left, singles=singles, of_the_other_before_it=max(overtaken))
    assert left
    # Its turn is the next but one; as many more may be claimed while it is being written.
    assert max(overtaken) <= 1 + CONCURRENCY


def inversions():
    """How often a job was claimed while one that goes before it had been queued."""
    jobs = TranscriptionJob.objects.order_by("claimed_at")
    waited = jobs.values_list("priority", "created_at", "claimed_at")
    claimed = {level: [at for priority, _, at in waited if priority == level] for level in Priority}
    return sum(
        max(0, bisect_left(later, until - AT_ONCE) - bisect_right(later, since + AT_ONCE))
        for priority, since, until in waited
        for later in (claimed[other] for other in Priority if other > priority)
    )
