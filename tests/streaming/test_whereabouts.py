"""Which region a live session is connected to next."""

from dataclasses import replace

import pytest

from routing import health
from routing.breaker import breaker_of
from routing.choice import Health, Provider
from routing.health import Report
from routing.regions import all_regions
from streaming.whereabouts import SLOW_SECONDS, NoPlace, Whereabouts

pytestmark = pytest.mark.django_db

DEAD = Health(live=Provider.ERRING)


@pytest.fixture
def are(monkeypatch, regions):
    """Makes the regions a, which is preferred, and b, a standby, with this health."""
    regions({"name": "a"}, {"name": "b", "weight": 0})

    def make(**healths):
        told = {name: Report(healths.get(name, Health())) for name in all_regions()}
        monkeypatch.setattr(health, "reports", lambda: told)

    make()
    return make


@pytest.fixture
def session():
    return Whereabouts([])


def connected(session, failures=0):
    region = session.next(failures)
    session.connected(region)
    return region


def test_the_first_connection_is_where_it_is_best(are, session):
    assert session.next(0).region.name == "a"


def test_one_that_breaks_is_made_again_where_it_was(are, session):
    session.lost(connected(session), 1006)

    assert session.next(1).region.name == "a"


def test_one_that_breaks_twice_in_a_row_is_made_elsewhere(are, session):
    session.lost(connected(session), 1006)
    session.lost(connected(session, 1), 1006)

    assert session.next(2).region.name == "b"


@pytest.mark.parametrize("status", [None, 500, 503, 429])
def test_a_handshake_that_fails_is_tried_elsewhere(are, session, status):
    session.refused(session.next(0), status, None)

    assert session.next(1).region.name == "b"


def test_one_that_is_full_is_not_called_and_another_is(are, session, regions, settings):
    """Whoever has no room there does not take the one call of a half-open breaker from those who have."""
    regions({"name": "a", "max_live": 1}, {"name": "b", "weight": 0, "base_url": "http://b"})
    first = Whereabouts([]).next(0)
    breaker_of("a", live=True).open(0)

    assert session.next(0).region.name == "b"
    first.is_proven = True
    first.give_back()
    assert breaker_of("a", live=True).admits()


def test_no_room_anywhere_is_told_from_no_region(are, regions):
    regions({"name": "a", "max_live": 1})
    held = Whereabouts([]).next(0)

    with pytest.raises(NoPlace) as refused:
        Whereabouts([]).next(0)

    assert refused.value.status == 429
    held.give_back()
    Whereabouts([]).next(0)


def test_who_leaves_before_it_is_known_what_comes_of_it_leaves_the_probe_to_the_next(are, session):
    breaker_of("a", live=True).open(0)
    session.next(0).give_back()

    assert breaker_of("a", live=True).admits()


def test_connecting_is_as_expected_unless_it_took_long_or_calls_have_failed_of_late(are, session):
    place = session.next(0)
    late = replace(place, began_at=place.began_at - SLOW_SECONDS)

    assert session.is_as_expected(place)
    assert not session.is_as_expected(late)
    session.lost(place, 1006)
    assert not session.is_as_expected(place)


def test_a_region_that_others_found_dead_is_left_at_once(are, session):
    session.lost(connected(session), 1006)
    are(a=DEAD)

    assert session.next(1).region.name == "b"


def test_connections_that_break_open_the_breaker_of_live_audio_alone(are):
    sessions = [Whereabouts([]) for _ in range(5)]
    regions = [connected(session) for session in sessions]

    for session, region in zip(sessions, regions, strict=True):
        session.lost(region, 1006)

    assert not breaker_of("a", live=True).admits()
    assert breaker_of("a").admits()
    assert sessions[0].next(1).region.name == "b"


def test_a_close_that_is_no_fault_of_the_region_s_is_not_held_against_it(are):
    for _ in range(5):
        session = Whereabouts([])
        session.lost(connected(session), 1008)

    assert breaker_of("a", live=True).admits()


def test_residency_binds(are):
    session = Whereabouts(["a"])
    are(a=DEAD)
    session.refused(session.next(0), 503, None)

    assert session.next(1).region.name == "a"


def test_nothing_is_tried_where_all_that_is_allowed_is_left_alone(are):
    breaker_of("a", live=True).open(30)

    with pytest.raises(NoPlace) as refused:
        Whereabouts(["a"]).next(0)

    assert refused.value.status == 503


def test_a_region_that_is_switched_off_is_not_connected_to(regions, session):
    regions({"name": "a", "enabled": False})

    with pytest.raises(NoPlace):
        session.next(0)
