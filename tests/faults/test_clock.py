"""A host whose clock is wrong, and one whose clock is set while it works (libfaketime)."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F
from django.utils import timezone

from jobs.models import Attempt, WorkerProcess
from tests.conditions import wait_until
from tests.faults.harness import ended_jobs, open_jobs, outcomes, promises_kept, queue_jobs
from tests.services import binaries

# SQLite has no clock of its own.
pytestmark = pytest.mark.postgresql
FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
# Longer than the lease, so that it has to be renewed.
JOB_SECONDS = 5
LIBRARY = "*/faketime/libfaketimeMT.so.1"


class Clock:
    """The clock of the processes that get its `environment`: right, but for what `show` adds, in seconds.

    Only the time of day: what waits goes by the monotonic clock, which nobody sets.
    """

    def __init__(self, file: Path) -> None:
        try:
            binaries.find("faketime", "faketime")
        except binaries.ProgramMissing:
            pytest.skip("libfaketime is missing. On Debian or Ubuntu: apt-get install faketime")
        (library, *_) = Path("/usr/lib").glob(LIBRARY)
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.show(0)

    def show(self, ahead: int) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(f"{ahead:+d}")
        written.replace(self._file)


@dataclass(frozen=True)
class Work:
    jobs: int
    """with each clock"""


@pytest.mark.parametrize(
    "load", [pytest.param(Work(20), id="small"), pytest.param(Work(70), id="full", marks=FULL)]
)
def test_f16_a_clock_that_is_wrong_or_set_ends_no_lease_early(stack, provider, tell, load, tmp_path):
    provider.set_faults(f"latency={JOB_SECONDS}")
    clock = Clock(tmp_path / "clock")
    begun = timezone.now()
    with stack.workers(1), stack.workers(1, **clock.environment) as there:
        (worker,) = there.workers
        for number, ahead in enumerate((600, -600), start=1):
            clock.show(ahead)
            queue_jobs(load.jobs)
            wait_until(lambda: told_ahead(worker) == ahead, 15)  # noqa: B023
            there.wait_until(lambda: ended_jobs() == number * load.jobs, 30 + load.jobs)  # noqa: B023
        clock.show(0)
        queue_jobs(load.jobs)
        wait_until(lambda: provider.requests()["active"], 10)
        clock.show(-5)
        there.wait_until(lambda: not open_jobs(), 30 + load.jobs)
        done_there = Attempt.objects.filter(worker__contains=f":{worker.pid}:").count()
        log = worker.output()

    jobs = 3 * load.jobs
    tell(
        "F16",
        jobs=jobs,
        done_there=done_there,
        **promises_kept(jobs),
        leases_lost=outcomes().get("lost", 0),
        calls=provider.requests()["total"],
    )
    assert done_there
    assert outcomes() == {"completed": jobs}
    assert provider.requests()["total"] == jobs
    # What is told of jobs goes by one clock, whoever ran them.
    assert not Attempt.objects.filter(started_at__lt=begun - timedelta(seconds=1)).exists()
    assert not Attempt.objects.filter(ended_at__lt=F("started_at")).exists()
    assert not Attempt.objects.filter(ended_at__gt=timezone.now() + timedelta(seconds=1)).exists()
    assert "600 s ahead of the database's" in log


def told_ahead(worker):
    """Seconds, in whole tens, as the worker's row has them; None before it reported."""
    told = WorkerProcess.objects.filter(name__contains=f":{worker.pid}:").first()
    return told and round((told.clock_ahead or timedelta()).total_seconds(), -1)
