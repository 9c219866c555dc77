"""One suite for memory, Redis and a Redis Cluster."""

import threading
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic
from uuid import uuid4

import pytest
import redis

from routing import coordination, limits
from routing.breaker import Breaker, breaker_of
from routing.choice import Capability, Provider, Work
from routing.coordination import Admission, Holding, InRedis, Memory, State, StoreDown, Tolerant, Tripping
from routing.health import choose_region, reports
from tests.conditions import wait_until
from tests.services import RedisServer
from tests.services.redis_cluster import RedisCluster

HOLD = 30.0
TRIPPING = Tripping()
CLOSED = Admission(True)
PROBE = Admission(True, is_probe=True)


@pytest.fixture(scope="module")
def servers():
    """Started when first asked for."""
    with ExitStack() as started:
        running = {}

        def get(kind):
            if kind not in running:
                running[kind] = started.enter_context(kind())
            return running[kind]

        yield get


@pytest.fixture(params=["memory", "redis", "cluster"])
def store(request, servers, settings):
    settings.REDIS_CLUSTER_URL, settings.REDIS_URL = [], ""
    if request.param == "redis":
        settings.REDIS_URL = servers(RedisServer).url
    if request.param == "cluster":
        settings.REDIS_CLUSTER_URL = servers(RedisCluster).urls[:2]
    return coordination.store.__wrapped__()


@pytest.fixture
def name():
    return uuid4().hex


def test_a_breaker_that_nobody_opened_admits_everybody(store, name):
    assert [store.admits(name, HOLD) for _ in range(3)] == [CLOSED] * 3


def test_an_open_one_admits_nobody_and_says_for_how_long(store, name):
    store.open(name, 20)

    told = store.admits(name, HOLD)

    assert not told.admitted
    assert 10 < told.retry_in <= 20


def test_what_is_open_for_longer_stays_so(store, name):
    store.open(name, 60)
    store.open(name, 1)

    assert store.admits(name, HOLD).retry_in > 10


def test_half_open_it_admits_one_of_many_who_ask_at_once(store, name):
    store.open(name, 0)
    told, barrier = [], threading.Barrier(8)

    def ask():
        barrier.wait()
        told.append(store.admits(name, HOLD))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [each for each in told if each.admitted] == [PROBE]


def test_a_call_that_began_since_and_succeeded_closes_it(store, name):
    store.open(name, 0)
    wait_until(lambda: store.succeeded(name, 0.0) or store.admits(name, HOLD) == CLOSED)


def test_a_call_from_before_proves_nothing(store, name):
    store.open(name, 20)

    store.succeeded(name, seconds_ago=5)

    assert not store.admits(name, HOLD).admitted


def test_one_that_was_let_through_and_made_no_call_lets_the_next(store, name):
    store.open(name, 0)
    assert store.admits(name, HOLD) == PROBE

    store.returned(name)

    assert store.admits(name, HOLD) == PROBE


def fail(store, name, times=1, seconds_ago=0.0):
    for _ in range(times):
        store.failed(name, seconds_ago, TRIPPING)


def test_five_failures_of_the_last_ten_calls_open_it(store, name):
    fail(store, name, 4)
    assert store.admits(name, HOLD) == Admission(True, is_troubled=True)

    fail(store, name)

    assert store.state(name) == State.OPEN
    assert 0 < store.admits(name, HOLD).retry_in <= TRIPPING.seconds


def test_what_succeeds_in_between_pushes_failures_out_of_the_last_ten(store, name):
    fail(store, name, 4)
    for _ in range(7):
        assert not store.succeeded(name, 0.0)

    fail(store, name)

    assert store.state(name) == State.CLOSED


def test_failures_of_long_ago_do_not_count(store, name):
    brief = replace(TRIPPING, window=0.0)
    for _ in range(5):
        store.failed(name, 0.0, brief)

    assert store.state(name) == State.CLOSED


def test_while_none_fails_successes_are_not_kept(store, name):
    store.succeeded(name, 0.0)

    assert store.admits(name, HOLD) == CLOSED


def test_each_failure_of_who_is_let_through_doubles_its_time_up_to_a_bound(store, name):
    fail(store, name, TRIPPING.failures)
    for least, most in [(5, 10), (10, 20), (20, 30), (20, 30)]:
        store.returned(name)  # which ends the time for which it is open
        assert store.admits(name, HOLD) == PROBE

        fail(store, name)

        assert least < store.admits(name, HOLD).retry_in <= most


def test_calls_that_were_let_through_before_it_opened_and_begin_after_do_not_lengthen_it(store, name):
    fail(store, name, TRIPPING.failures + 10)

    assert store.admits(name, HOLD).retry_in <= TRIPPING.seconds


def test_a_failure_from_before_it_opened_changes_nothing(store, name):
    fail(store, name, 5)
    fail(store, name, 5, seconds_ago=5)

    assert store.admits(name, HOLD).retry_in <= TRIPPING.seconds


def test_a_note_stands_for_its_time(store, name):
    assert store.note(name, "a", "one", 30)
    assert store.note(name, "b", "two words", 60)
    store.note(name, "a", "", 0)

    told = store.notes(name)

    assert told.texts == {"b": "two words"}
    assert 30 < told.remaining["b"] <= 60
    assert 0 <= told.age < 30


def test_of_many_who_put_up_a_note_where_there_is_none_one_does(store, name):
    assert [store.note(name, "turn", who, 30, if_absent=True) for who in "abc"] == [True, False, False]
    assert store.notes(name).texts == {"turn": "a"}


def test_one_board_does_not_concern_another(store, name):
    store.note(name, "a", "one", 30)

    assert store.notes(name + "2").texts == {}


def test_one_breaker_does_not_concern_another(store, name):
    store.open(name, 20)

    assert store.admits(name + "2", HOLD) == CLOSED


def hold(store, name, holder, count=1, *, kind="recordings", of_kind=3, in_all=100, seconds=60.0):
    return store.hold(name, kind, holder, count, of_kind=of_kind, in_all=in_all, seconds=seconds)


def test_as_many_are_held_as_the_limit_says_and_others_are_told_of(store, name):
    assert hold(store, name, "one", 2) == Holding(True, 0, 0)
    assert hold(store, name, "two", 1) == Holding(True, 2, 2)
    assert hold(store, name, "two", 2) == Holding(False, 2, 2)
    # It has what it had.
    assert hold(store, name, "three", 1) == Holding(False, 3, 3)


def test_what_is_given_back_is_another_s(store, name):
    hold(store, name, "one", 3)
    hold(store, name, "one", 1)

    assert hold(store, name, "two", 2).granted

    hold(store, name, "one", 0)
    assert hold(store, name, "two", 3) == Holding(True, 0, 0)


def test_to_hold_the_same_again_renews_it(store, name):
    hold(store, name, "renewed", 2, seconds=0.2)
    hold(store, name, "forgotten", 1, seconds=0.2)
    hold(store, name, "renewed", 2)

    wait_until(lambda: hold(store, name, "-", 0).of_kind == 2)

    assert not hold(store, name, "two", 2).granted


def test_what_nobody_renews_is_free_again(store, name):
    hold(store, name, "killed", 3, seconds=0.1)

    wait_until(lambda: hold(store, name, "other", 3) == Holding(True, 0, 0))


def test_kinds_are_counted_apart_and_together(store, name):
    assert hold(store, name, "one", 3, in_all=5)
    assert hold(store, name, "one", 2, kind="live", in_all=5) == Holding(True, 0, 3)

    assert hold(store, name, "two", 1, kind="live", in_all=5) == Holding(False, 2, 5)


def test_limits_of_different_names_are_kept_apart(store, name):
    hold(store, name, "one", 3)

    assert hold(store, name + "2", "one", 3) == Holding(True, 0, 0)


def test_of_many_who_ask_at_once_as_many_are_granted_as_there_is_room_for(store, name):
    barrier, granted = threading.Barrier(8), []

    def ask(holder):
        barrier.wait()
        granted.append(hold(store, name, f"holder-{holder}").granted)

    threads = [threading.Thread(target=ask, args=(each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert granted.count(True) == 3


def goes_by_what_it_knows(store, name):
    """With the store gone, which was told of `name` that it is open."""
    other = uuid4().hex
    assert store.notes(name).age is None
    assert not store.admits(name, HOLD).admitted
    assert store.admits(other, HOLD) == CLOSED
    store.open(other, 60)
    assert not store.admits(other, HOLD).admitted
    assert [hold(store, name, "this", count).granted for count in (3, 4)] == [True, False]


def test_a_store_that_is_gone_stops_nobody_and_each_process_goes_by_what_it_knows(name, settings):
    with RedisServer() as server:
        settings.REDIS_CLUSTER_URL, settings.REDIS_URL = [], server.url
        store = coordination.store.__wrapped__()
        store.open(name, 60)

    goes_by_what_it_knows(store, name)


def test_a_store_that_did_not_answer_is_left_alone_for_a_while(name):
    asked, now = [], [100.0]

    class Down(Memory):
        def admits(self, breaker, hold):
            asked.append(now[0])
            raise StoreDown

    store = Tolerant(Down(), clock=lambda: now[0])
    for now[0] in (100.0, 101.0, 100.1 + coordination.REST_SECONDS):
        assert store.admits(name, HOLD) == CLOSED

    assert asked == [100.0, 100.1 + coordination.REST_SECONDS]


@pytest.mark.django_db
def test_a_region_that_fails_while_a_cluster_loses_a_primary_is_left_all_the_same(
    name, settings, monkeypatch, regions
):
    """What all know is there again when a replica has taken over; until then each goes by what it knows."""
    monkeypatch.setattr(reports, "_seconds", 0.0)
    given = regions({"name": name, "max_live": 2}, {"name": "standby", "weight": 0})[name]
    with RedisCluster() as cluster:
        settings.REDIS_CLUSTER_URL = cluster.urls
        store, work = coordination.store(), Work(Capability.SYNC)
        assert limits.take(given, limits.Use.LIVE)
        store.note(name, "worker one", "10", 600)
        assert choose_region(work)[0] == given
        primary = cluster.primary_of(f"breaker:{{{name}}}")
        with redis.Redis(port=primary.port) as client:
            client.wait(1, 5000)  # for its replica

        primary.kill()
        for _ in range(TRIPPING.failures):
            assert choose_region(work)[0] == given
            breaker_of(name).failed(monotonic())

        assert not breaker_of(name).admits()
        wait_until(lambda: store.notes(name).texts == {"worker one": "10"}, 60)
        assert limits.in_use(given)[limits.Kind.LIVE] == 1
        store.open(name, 60)
        assert reports()[name].health.provider(Capability.SYNC) == Provider.LEFT_ALONE
        assert choose_region(work)[0].name == "standby"
    goes_by_what_it_knows(store, name)


def test_a_process_learns_within_a_moment_what_another_has_opened(servers, name):
    url = servers(RedisServer).url
    mine, others = (
        Breaker(name, InRedis(coordination.Redis.from_url(url, **coordination._OPTIONS))) for _ in range(2)
    )
    assert mine.admits()

    others.open(60)

    wait_until(lambda: not mine.admits(), 5)
