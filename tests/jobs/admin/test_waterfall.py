"""When each entry of a timeline was, as bars."""

from datetime import UTC, datetime, timedelta

from pytest import approx

from jobs.admin.waterfall import NARROWEST, bars
from jobs.timeline import Entry

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def entry(kind, begins, ends=None, run=1, **details):
    at = NOON + timedelta(seconds=begins)
    return Entry(
        kind=kind,
        run=run,
        at=at,
        ended_at=None if ends is None else NOON + timedelta(seconds=ends),
        details=details,
    )


def test_an_attempt_is_as_wide_as_it_took_behind_what_it_waited():
    _, attempt = bars([entry("created", 0), entry("attempt", 4, 10)], NOON)

    assert (attempt.start, attempt.waited) == (0, attempt.x)
    assert attempt.width / attempt.x == approx(6 / 4, rel=0.01)
    assert attempt.x + attempt.width < 100


def test_a_second_attempt_waited_since_the_first_ended():
    _, _, second = bars([entry("created", 0), entry("attempt", 0, 2), entry("attempt", 6, 10)], NOON)

    assert second.waited == approx(second.width, rel=0.01)


def test_what_goes_on_lasts_until_now():
    _, running = bars([entry("created", 0), entry("running", 5)], NOON + timedelta(seconds=10))

    assert running.width == approx(running.x, rel=0.01)


def test_an_instant_can_be_seen_and_what_receivers_are_told_days_later_is_at_the_edge():
    created, _, late = bars(
        [entry("created", 0), entry("attempt", 0, 2), entry("delivery", 200_000, seconds=0.1)], NOON
    )

    assert created.width == NARROWEST
    assert late.x + late.width == 100


def test_each_run_has_a_scale_of_its_own():
    _, first, second = bars(
        [entry("created", 0), entry("attempt", 0, 2), entry("attempt", 90_000, 90_001, run=2)], NOON
    )

    assert (first.x, second.x) == (0, 0)
    assert first.width == second.width
