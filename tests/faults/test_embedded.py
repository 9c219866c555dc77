"""Everything in one process, as `make run` starts it: killed, interrupted, and started twice."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import psutil
import pytest

from tests.conditions import PATIENCE, wait_until
from tests.faults.embedded import GRACE_SECONDS, Runstack
from tests.services.process import free_port

FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
JOBS_AT_A_TIME = 10


@pytest.fixture
def runstack(provider, tmp_path) -> Iterator[Runstack]:
    with Runstack(provider.url, str(tmp_path), free_port()) as running:
        yield running


def submit(runstack: Runstack, key: str) -> None:
    for _ in range(JOBS_AT_A_TIME):
        runstack.submit(key).raise_for_status()


@dataclass(frozen=True)
class Ends:
    each: int


@pytest.mark.parametrize(
    "load", [pytest.param(Ends(1), id="small"), pytest.param(Ends(20), id="full", marks=FULL)]
)
def test_f17_every_end_of_the_embedded_service_loses_and_doubles_nothing(runstack, provider, tell, load):
    provider.set_faults("latency=1")
    key = runstack.make_key()
    stops, resumed = [], []
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) * load.each:
        submit(runstack, key)
        wait_until(lambda: provider.requests()["active"], 10)
        family = psutil.Process(runstack.pid).children(recursive=True)

        code, took = runstack.end(how)
        if how == signal.SIGKILL:
            calls = provider.requests()["total"]
            wait_until(partial(all_ended, family), 10)
        else:
            stops.append(took)
            assert code == 0
            wait_until(lambda: not provider.requests()["active"], 5)
        runstack.spawn()
        wait_until(runstack.answers, 30)
        if how == signal.SIGKILL:
            resumed.append(wait_until(lambda: provider.requests()["total"] > calls, 10))  # noqa: B023
    wait_until(lambda: runstack.ended() == runstack.accepted, 120)

    tell(
        "F17",
        database="embedded",
        jobs=runstack.accepted,
        kills=load.each,
        stops=2 * load.each,
        **runstack.promises_kept(),
        longest_stop=round(max(stops), 1),
        resumed_in=round(max(resumed), 1),
    )
    assert max(stops) <= (GRACE_SECONDS + 2) * PATIENCE
    assert max(resumed) <= 10 * PATIENCE


def all_ended(processes):
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_f17_a_call_that_outlasts_the_grace_does_not_hold_the_end(runstack, provider, tell):
    provider.set_faults("hang")
    key = runstack.make_key()
    submit(runstack, key)
    wait_until(lambda: provider.requests()["active"], 10)

    code, took = runstack.end(signal.SIGTERM)

    tell(
        "F17 in a call", database="embedded", jobs=runstack.accepted, grace=GRACE_SECONDS, stop=round(took, 1)
    )
    assert code == 0
    assert took <= (GRACE_SECONDS + 2) * PATIENCE
    held = "SELECT count(*) FROM jobs_transcriptionjob WHERE status <> 'queued' OR crashes > 0"
    assert runstack.count(held) == 0


def test_f17_a_second_instance_says_why_in_a_sentence_and_leaves_the_first_alone(
    runstack, provider, tmp_path, tmp_path_factory
):
    same_data = Runstack(provider.url, str(tmp_path), free_port())
    same_port = Runstack(provider.url, str(tmp_path_factory.mktemp("other")), runstack.port)

    for second, why in (
        (same_data, "in use by another runstack"),
        (same_port, f"Port {runstack.port} cannot be used"),
    ):
        refused = subprocess.run(second.command(), capture_output=True, text=True, timeout=120, check=False)

        assert refused.returncode != 0
        assert why in refused.stderr
        assert "Traceback" not in refused.stderr
    assert runstack.answers()
