"""What probes, heartbeats and breakers make known of a region."""

import threading

import pytest

from routing import coordination, health, limits, probes
from routing.breaker import Breaker, breaker_of
from routing.choice import LEAST_SHARE, RAMP_SECONDS, Broker, Capability, Provider, Work
from routing.coordination import Memory, Notes
from routing.health import FULL, YOUNG_SECONDS, choose_region, reports
from routing.limits import Kind
from routing.probes import PROBE_EVERY_SECONDS, SAME_OBSTACLE_SECONDS, Watch, probe
from routing.trust import COUNTED_SECONDS, RETURNED_SECONDS, SLOW_CALLS, STEADY_SECONDS, Pace
from tests.routing.peer import Peer, answering
from tests.services import RedisServer

ASYNC, LIVE = Capability.ASYNC, Capability.LIVE
pytestmark = pytest.mark.django_db


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def store(monkeypatch, clock):
    """One for the test, by its clock; what is told of it is never old."""
    kept = Memory(clock)
    for module in (coordination, health, limits, probes):
        monkeypatch.setattr(module, "store", lambda: kept)
    monkeypatch.setattr("routing.breaker.store", lambda: kept)
    monkeypatch.setattr(reports, "_seconds", 0.0)
    breaker_of.cache_clear()
    yield kept
    breaker_of.cache_clear()
    reports.cache_clear()
    limits.forget()


def provider(status=200, seconds=0.0):
    return Peer(answering(status, b'{"stt": [], "tts": []}'))


def eu():
    return reports()["eu"].health


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (200, Provider.OK),
        (404, Provider.OK),
        (403, Provider.OK),
        (429, Provider.OK),
        (401, Provider.REFUSING),
        (500, Provider.ERRING),
        (503, Provider.ERRING),
    ],
)
def test_what_the_second_probe_finds_is_believed(regions, status, state):
    with provider(status) as peer:
        region = regions({"name": "eu", "base_url": peer.url, "api_key": "k"})["eu"]

        probe(region)
        first = eu().recordings
        probe(region)

    assert first in (state, Provider.UNKNOWN)
    assert eu().recordings == eu().live == state


def test_one_probe_that_fails_changes_nothing_and_says_why(regions):
    with provider() as peer:
        region = regions({"name": "eu", "base_url": peer.url})["eu"]
        probe(region)
    probe(region)

    assert eu().recordings == Provider.OK
    assert (reports()["eu"].probed.failed, reports()["eu"].probed.error) == (1, "provider_unreachable")


def test_a_provider_that_takes_its_time_is_slow(regions, monkeypatch):
    monkeypatch.setattr(probes, "SLOW_SECONDS", 0.0)
    with provider() as peer:
        probe(regions({"name": "eu", "base_url": peer.url})["eu"])

    assert eu().recordings == Provider.SLOW
    assert not eu().obstacle(Capability.SYNC)


def test_one_that_comes_back_is_given_little_at_first(regions, clock):
    with provider(500) as failing:
        for _ in range(2):
            probe(regions({"name": "eu", "base_url": failing.url})["eu"])
    with provider() as peer:
        probe(regions({"name": "eu", "base_url": peer.url})["eu"])

    assert (eu().recordings, eu().share) == (Provider.OK, LEAST_SHARE)
    clock.now += 15
    assert eu().share == pytest.approx(0.5)
    clock.now += 16
    assert eu().share == 1


@pytest.mark.parametrize("kind", Kind)
def test_one_whose_calls_take_too_long_is_slow_for_a_while_and_then_given_little(regions, store, clock, kind):
    regions({"name": "eu"}, {"name": "us", "weight": 0})
    asked = {Kind.RECORDINGS: Work(ASYNC), Kind.LIVE: Work(LIVE)}[kind]
    breaker = Breaker("eu", store, clock, live=kind is Kind.LIVE)
    for seconds in (1, 3, 1, 3, 3, 3, 3):
        assert choose_region(asked)[0].name == "eu"
        clock.now += seconds
        breaker.succeeded(clock.now - seconds, at_most=2)

    assert choose_region(asked)[0].name == "us"
    assert {kind: eu().recordings, Kind.LIVE: eu().live}[kind] == Provider.SLOW
    clock.now += STEADY_SECONDS + 0.1
    assert (eu().live, eu().recordings, eu().share) == (Provider.UNKNOWN, Provider.UNKNOWN, LEAST_SHARE)
    clock.now += 15
    assert eu().share == pytest.approx(0.5, abs=0.01)


def test_slow_calls_of_long_ago_and_few_among_many_are_no_reason(regions, store, clock):
    regions({"name": "eu"})
    pace = Pace("eu", Kind.RECORDINGS, store, clock)
    for _ in range(2 * SLOW_CALLS):
        pace.took(3, at_most=2)
        clock.now += COUNTED_SECONDS / (SLOW_CALLS - 1)
    clock.now += COUNTED_SECONDS
    for _ in range(2 * SLOW_CALLS):
        for seconds in (3, 1, 1, 1, 1, 1):
            pace.took(seconds, at_most=2)

    assert eu().recordings == Provider.UNKNOWN


def up_and_down(store, clock, seconds, times):
    """Its provider fails all, and works again, so many times: each half for so long."""
    breaker, states = Breaker("eu", store, clock), []
    for _ in range(times):
        for works in (False, True):
            until = clock.now + seconds
            while clock.now < until:
                if breaker.admits():
                    (breaker.succeeded if works else breaker.failed)(clock.now)
                clock.now += 0.25
                states.append((eu().recordings, eu().share))
    return states


def test_one_that_comes_and_goes_is_left_until_it_stays_and_never_given_much_meanwhile(regions, store, clock):
    regions({"name": "eu"}, {"name": "us", "weight": 0})
    assert eu().share == 1

    states = up_and_down(store, clock, 4, times=6)

    after_the_first = states[states.index((Provider.LEFT_ALONE, 1.0)) :]
    assert max(share for state, share in after_the_first if state != Provider.LEFT_ALONE) < 0.5
    assert eu().recordings == Provider.FLAPPING
    assert choose_region(Work(ASYNC))[0].name == "us"
    clock.now += STEADY_SECONDS
    assert (eu().recordings, eu().share) == (Provider.UNKNOWN, pytest.approx(LEAST_SHARE, abs=0.2))
    clock.now += RAMP_SECONDS
    assert eu().share == 1


def test_one_that_fails_once_in_a_while_does_not_come_and_go(regions, store, clock):
    regions({"name": "eu"})

    up_and_down(store, clock, RETURNED_SECONDS, times=4)

    assert eu().recordings == Provider.UNKNOWN


def test_what_nobody_probes_any_more_is_unknown(regions, clock):
    with provider() as peer:
        probe(regions({"name": "eu", "base_url": peer.url})["eu"])
    clock.now += probes.PROBED_SECONDS + 1

    assert eu().recordings == Provider.UNKNOWN


def test_a_broker_is_told_apart_from_the_provider(regions):
    with provider() as peer, RedisServer() as broker:
        region = regions({"name": "eu", "base_url": peer.url, "broker_url": broker.url})["eu"]
        probe(region)
        assert eu().broker == Broker.OK
        broker.stop()
        for _ in range(2):
            probe(region)

    assert (eu().broker, eu().recordings) == (Broker.UNREACHABLE, Provider.OK)


def test_workers_are_there_while_they_say_so(regions, clock):
    regions({"name": "eu", "queue": "q"})
    one, two = Watch("one", ["q"], lambda: 10), Watch("two", ["q"], lambda: 20)
    for watch in (one, two):
        watch._say_alive(health.WORKER_SECONDS)
    assert (eu().slots, reports()["eu"].workers) == (30, 2)

    one.stop()
    assert eu().slots == 20
    clock.now += YOUNG_SECONDS

    assert eu().slots == 0
    assert eu().obstacle(Capability.ASYNC)
    assert not eu().obstacle(Capability.SYNC)


def test_a_worker_that_stops_while_it_says_that_it_is_there_is_gone(regions, monkeypatch):
    monkeypatch.setattr(probes, "_guarded", lambda region: None)
    regions({"name": "eu", "queue": "q"})
    asked, stop = threading.Event(), threading.Event()

    def slots() -> int:
        if not asked.is_set():
            asked.set()
            stop.wait(1)
        return 10

    watch = Watch("one", ["q"], slots)
    looking, stopping = threading.Thread(target=watch.look), threading.Thread(target=watch.stop)
    looking.start()
    asked.wait()
    stopping.start()
    # It may have to wait for the look, and must not be told before.
    stopping.join(0.2)
    stop.set()
    for thread in (looking, stopping):
        thread.join()

    assert reports()["eu"].workers == 0


def test_a_board_that_has_just_been_made_knows_of_no_workers_that_are_gone(regions, store):
    regions({"name": "eu"})
    assert eu().slots is None

    store.note("eu", "anything", "", 30)

    assert eu().slots is None


def test_embedded_there_is_no_broker_to_be_lost(regions):
    regions({"name": "eu"})

    assert eu().broker == Broker.IN_PROCESS
    assert not eu().drawbacks(ASYNC)


def test_a_store_that_cannot_be_read_knows_nothing(regions, store, monkeypatch, settings):
    settings.EMBEDDED = False
    regions({"name": "eu"})
    monkeypatch.setattr(store, "notes", lambda board: Notes())

    assert (eu().slots, eu().recordings, eu().broker) == (None, Provider.UNKNOWN, Broker.UNKNOWN)


def test_an_open_breaker_leaves_a_region_alone_and_half_open_it_is_given_little(regions, clock):
    regions({"name": "eu"})
    breaker_of("eu").open(5)
    assert (eu().recordings, eu().live) == (Provider.LEFT_ALONE, Provider.UNKNOWN)

    clock.now += 6

    assert (eu().recordings, eu().share) == (Provider.UNKNOWN, LEAST_SHARE)


@pytest.mark.parametrize("live", [False, True])
def test_a_breaker_that_nobody_tries_keeps_back_no_work_but_its_own(regions, clock, live):
    regions({"name": "eu"})
    breaker_of("eu", live=live).open(5)

    clock.now += 3600

    assert (eu().share, eu().live_share) == ((1.0, LEAST_SHARE) if live else (LEAST_SHARE, 1.0))


def test_a_region_whose_places_are_taken_is_chosen_only_where_it_is_asked_for(regions):
    full = regions({"name": "eu", "api_key": "eu", "max_live": 1}, {"name": "us", "weight": 0})["eu"]
    assert choose_region(Work(Capability.LIVE))[0].name == "eu"

    assert limits.take(full, limits.Use.LIVE)

    assert choose_region(Work(Capability.LIVE))[0].name == "us"
    assert choose_region(Work(Capability.LIVE, residency=["eu"]))[0].name == "eu"
    assert choose_region(Work(Capability.SYNC))[0].name == "eu"


def test_it_is_known_since_when_a_region_cannot_do_what(regions, store, clock, monkeypatch):
    monkeypatch.setattr(probes, "_guarded", lambda region: None)
    full = regions({"name": "eu", "api_key": "eu", "max_recordings": 1})["eu"]
    breaker_of("eu").open(60)
    assert limits.take(full, limits.Use.SYNC)

    Watch("one").look()
    first = dict(reports()["eu"].since)
    clock.now += PROBE_EVERY_SECONDS + 1
    breaker_of("eu", live=True).open(60)
    # Another goes on with what the first has seen.
    Watch("two").look()
    then = dict(reports()["eu"].since)
    clock.now += 2 * SAME_OBSTACLE_SECONDS

    assert set(first) == {Capability.SYNC, Capability.ASYNC, FULL}
    assert set(then) == {*first, Capability.LIVE}
    assert {what: then[what] for what in first} == first
    assert reports()["eu"].since == {}


def test_of_many_processes_one_probes(regions, monkeypatch):
    probed = []
    monkeypatch.setattr(probes, "_guarded", lambda region: probed.append(region.name))
    regions({"name": "eu"}, {"name": "us"})
    watches = [Watch(str(number)) for number in range(3)]

    for watch in watches:
        watch.look()
        watch._probing.shutdown()

    assert sorted(probed) == ["eu", "us"]
