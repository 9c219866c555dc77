"""How many may be called at once, as this process keeps to it."""

import pytest

from routing import coordination, limits
from routing.coordination import Memory
from routing.limits import BELIEVED_SECONDS, Held, Kind, Use, take
from routing.regions import Region
from tests.conditions import wait_until


class Asked(Memory):
    """Counts what it is asked."""

    times = 0

    def hold(self, *arguments, **named):
        self.times += 1
        return super().hold(*arguments, **named)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def store(monkeypatch):
    kept = Asked()
    monkeypatch.setattr(limits, "store", lambda: kept)
    return kept


def region(**fields):
    described = {"name": "eu", "base_url": "https://eu.example.com", "api_key": "k", "queue": "q"}
    described |= {"live_url": "", "broker_url": "", "enabled": True, "residency": frozenset()}
    numbers = {"weight": 1, "concurrency": 10, "max_attempts": 3}
    numbers |= {"max_recordings": 0, "max_live": 0, "max_calls": 0}
    return Region(**described | numbers | fields)


def taken(given, use, most=100):
    """What can be had until there is no more."""
    slots = []
    while len(slots) < most and (slot := take(given, use)) is not None:
        slots.append(slot)
    return slots


def elsewhere(store, given, kind, count):
    """Another process holds so many."""
    store.hold(limits._limit_of(given), kind, "elsewhere", count, of_kind=1000, in_all=1000, seconds=60)


@pytest.mark.parametrize(
    ("fields", "use", "there_are"),
    [
        ({"max_recordings": 20}, Use.SYNC, 20),
        ({"max_recordings": 20}, Use.QUEUED, 18),
        ({"max_recordings": 1}, Use.QUEUED, 1),
        ({"max_live": 7}, Use.LIVE, 7),
        ({"max_calls": 5}, Use.LIVE, 5),
        ({"max_recordings": 20, "max_calls": 5}, Use.SYNC, 5),
        ({}, Use.SYNC, 100),
        ({"max_live": 7}, Use.SYNC, 100),
    ],
)
def test_there_are_as_many_as_the_region_says_for_each_use(store, fields, use, there_are):
    assert len(taken(region(**fields), use)) == there_are


def test_a_slot_is_given_back_once(store):
    given = region(max_recordings=2)
    first, _ = taken(given, Use.SYNC)

    first.give_back()
    first.give_back()

    assert len(taken(given, Use.SYNC)) == 1


def test_what_is_queued_leaves_room_for_callers_who_wait(store):
    given = region(max_recordings=10)

    assert (len(taken(given, Use.QUEUED)), len(taken(given, Use.SYNC))) == (9, 1)


def test_recordings_leave_room_for_live_audio(store):
    given = region(max_recordings=6, max_live=10, max_calls=10)

    assert (len(taken(given, Use.SYNC)), len(taken(given, Use.LIVE))) == (6, 4)


def test_live_audio_may_have_what_no_recording_needs(store):
    given = region(max_recordings=6, max_live=10, max_calls=10)

    assert (len(taken(given, Use.LIVE)), len(taken(given, Use.SYNC))) == (10, 0)


def test_regions_of_one_key_and_address_share_what_it_allows(store):
    assert len(taken(region(max_recordings=4, name="one"), Use.SYNC)) == 4
    assert take(region(max_recordings=4, name="two"), Use.SYNC) is None
    assert take(region(max_recordings=4, api_key="another"), Use.SYNC) is not None


def test_other_processes_count(store):
    given = region(max_recordings=4)
    elsewhere(store, given, Kind.RECORDINGS, 3)

    assert len(taken(given, Use.SYNC)) == 1
    assert limits.in_use(given) == {Kind.RECORDINGS: 4, Kind.LIVE: 0}


@pytest.mark.parametrize(
    ("fields", "free"),
    [
        ({"max_recordings": 4}, 0.25),
        ({"max_recordings": 3}, 0),
        ({"max_recordings": 2}, 0),
        ({"max_recordings": 8, "max_calls": 5}, 0.2),
        ({}, 1),
    ],
)
def test_what_part_is_free_is_told_for_all_processes(store, fields, free):
    elsewhere(store, region(), Kind.RECORDINGS, 3)
    elsewhere(store, region(), Kind.LIVE, 1)

    assert limits.free(region(**fields), Kind.RECORDINGS) == free


def test_no_limit_costs_nothing(store):
    taken(region(), Use.QUEUED)

    assert store.times == 0


def test_what_is_passed_on_is_had_without_asking(store):
    given = region(max_recordings=10)
    slot = take(given, Use.QUEUED)

    for _ in range(100):
        slot.pass_on()
        slot = take(given, Use.QUEUED)

    assert store.times == 1


def test_what_is_known_of_others_is_believed_for_a_moment_only(store):
    clock = Clock()
    held = Held("limit", Kind.RECORDINGS, store, "here", clock)
    assert held.take(4, 100)
    held.pass_on()
    store.hold("limit", Kind.RECORDINGS, "elsewhere", 4, of_kind=10, in_all=10, seconds=60)

    assert held.take(4, 100)
    held.pass_on()
    clock.now += BELIEVED_SECONDS

    assert not held.take(4, 100)


def test_renewing_leaves_what_was_passed_on_to_nobody(store):
    given = region(max_recordings=4)
    kept, spare = take(given, Use.SYNC), take(given, Use.SYNC)
    spare.pass_on()

    limits.renew()

    assert limits.in_use(given)[Kind.RECORDINGS] == 1
    kept.give_back()
    assert limits.in_use(given)[Kind.RECORDINGS] == 0


def test_renewing_makes_good_what_the_store_forgot(store):
    given = region(max_recordings=4)
    slots = taken(given, Use.SYNC)
    store._held.clear()

    limits.renew()

    assert len(slots) == limits.in_use(given)[Kind.RECORDINGS] == 4


def test_what_is_held_is_renewed_while_the_process_lives(store, monkeypatch):
    monkeypatch.setattr(limits, "_renewing", None)
    monkeypatch.setattr(limits, "RENEWED_SECONDS", 0.05)
    given = region(max_recordings=4)
    slots = taken(given, Use.SYNC)
    store._held.clear()

    wait_until(lambda: limits.in_use(given)[Kind.RECORDINGS] == len(slots))


@pytest.mark.parametrize(("held_elsewhere", "is_idle"), [(0, True), (4, True), (5, False)])
def test_capacity_is_idle_while_half_of_it_stays_free(store, held_elsewhere, is_idle):
    given = region(max_recordings=10)
    elsewhere(store, given, Kind.RECORDINGS, held_elsewhere)

    assert take(given, Use.QUEUED).is_idle_capacity is is_idle


def test_one_slot_alone_may_be_idle_capacity(store):
    assert take(region(max_recordings=1), Use.QUEUED).is_idle_capacity


def test_a_region_has_the_limits_of_the_settings_or_its_own(settings, regions):
    settings.PROVIDER_MAX_RECORDINGS, settings.PROVIDER_MAX_LIVE, settings.PROVIDER_MAX_CALLS = 50, 150, 180
    found = regions({"name": "us"}, {"name": "eu", "max_recordings": 5, "max_live": 6, "max_calls": 7})

    assert {name: (r.max_recordings, r.max_live, r.max_calls) for name, r in found.items()} == {
        "us": (50, 150, 180),
        "eu": (5, 6, 7),
    }


def test_the_store_is_the_one_that_breakers_are_in():
    given = region(max_recordings=1)

    taken(given, Use.SYNC)

    other = coordination.store().hold(
        limits._limit_of(given), "recordings", "elsewhere", 1, of_kind=1, in_all=1, seconds=1
    )
    assert not other.granted
