"""`manage.py simulate_routing`: the last jobs, routed once more."""

import io

import pytest
from django.core.management import call_command

from jobs.ids import uuid7
from routing.modes import Conditions, Thresholds, choose_mode, receipt
from tests.jobs.api.conftest import add_job
from tests.jobs.rows import make_project

pytestmark = pytest.mark.django_db


def simulated(*arguments: str) -> list[str]:
    out = io.StringIO()
    call_command("simulate_routing", *arguments, stdout=out)
    return out.getvalue().splitlines()


@pytest.fixture
def jobs() -> None:
    """Three minutes of audio twice, ten minutes once, and a URL; nobody knows how fast any would be."""
    project = make_project()
    # Ids of one millisecond come in any order.
    ids = sorted(uuid7() for _ in range(4))
    for pk, duration in zip(ids, (180.0, 180.0, 600.0, None), strict=True):
        given = Conditions("auto", duration, estimate=None, patience=55.0, slot_free=True)
        chosen = choose_mode(given, Thresholds())
        told = receipt(given, chosen, "default", "It is the first.")
        add_job(project, pk=pk, mode=chosen.mode, receipt=told)


def test_it_tells_what_would_change(jobs):
    told = simulated("--sync-max", "200", "--async-min", "400")

    assert told == [
        "The last 4 jobs, SYNC_MAX_SECONDS 60 -> 200, ASYNC_MIN_SECONDS 300 -> 400:",
        "  sync        0 ->      2",
        "  async       4 ->      2",
        "2 would be of another mode.",
        "       2  async (no_estimate) -> sync (short)",
    ]


def test_with_the_thresholds_that_there_are_nothing_changes(jobs):
    assert simulated()[3:] == ["0 would be of another mode."]


def test_it_looks_at_as_many_as_it_is_told(jobs):
    # The URL, and the ten minutes.
    assert simulated("--jobs", "2", "--async-min", "900", "--sync-max", "800") == [
        "The last 2 jobs, SYNC_MAX_SECONDS 60 -> 800, ASYNC_MIN_SECONDS 300 -> 900:",
        "  sync        0 ->      1",
        "  async       2 ->      1",
        "1 would be of another mode.",
        "       1  async (long) -> sync (short)",
    ]


def test_without_any_jobs_it_says_so():
    assert simulated()[0].startswith("The last 0 jobs")
