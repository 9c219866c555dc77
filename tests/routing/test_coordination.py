"""One suite for memory, Redis and a Redis Cluster."""

import threading
from contextlib import ExitStack
from uuid import uuid4

import pytest

from routing import coordination
from routing.breaker import Breaker
from routing.coordination import Admission, Holding, InRedis, Memory, StoreDown, Tolerant
from tests.conditions import wait_until
from tests.services import RedisServer
from tests.services.redis_cluster import RedisCluster

PROBE_EVERY = 30.0
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
    assert [store.admits(name, PROBE_EVERY) for _ in range(3)] == [CLOSED] * 3


def test_an_open_one_admits_nobody_and_says_for_how_long(store, name):
    store.open(name, 20)

    told = store.admits(name, PROBE_EVERY)

    assert not told.admitted
    assert 10 < told.retry_in <= 20


def test_what_is_open_for_longer_stays_so(store, name):
    store.open(name, 60)
    store.open(name, 1)

    assert store.admits(name, PROBE_EVERY).retry_in > 10


def test_half_open_it_admits_one_of_many_who_ask_at_once(store, name):
    store.open(name, 0)
    told, barrier = [], threading.Barrier(8)

    def ask():
        barrier.wait()
        told.append(store.admits(name, PROBE_EVERY))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [each for each in told if each.admitted] == [PROBE]


def test_a_call_that_began_since_and_succeeded_closes_it(store, name):
    store.open(name, 0)
    wait_until(lambda: store.succeeded(name, 0.0) or store.admits(name, PROBE_EVERY) == CLOSED)


def test_a_call_from_before_proves_nothing(store, name):
    store.open(name, 20)

    store.succeeded(name, seconds_ago=5)

    assert not store.admits(name, PROBE_EVERY).admitted


def test_one_breaker_does_not_concern_another(store, name):
    store.open(name, 20)

    assert store.admits(name + "2", PROBE_EVERY) == CLOSED


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


@pytest.mark.parametrize("kind", [RedisServer, RedisCluster])
def test_a_store_that_is_gone_stops_nobody_and_each_process_goes_by_what_it_knows(name, settings, kind):
    settings.REDIS_CLUSTER_URL, settings.REDIS_URL = [], ""
    with kind() as server:
        if kind is RedisCluster:
            settings.REDIS_CLUSTER_URL = server.urls
        else:
            settings.REDIS_URL = server.url
        store = coordination.store.__wrapped__()
        store.open(name, 60)
    other = uuid4().hex

    assert not store.admits(name, PROBE_EVERY).admitted
    assert store.admits(other, PROBE_EVERY) == CLOSED
    store.open(other, 60)
    assert not store.admits(other, PROBE_EVERY).admitted
    assert [hold(store, name, "this", count).granted for count in (3, 4)] == [True, False]


def test_a_store_that_did_not_answer_is_left_alone_for_a_while(name):
    asked, now = [], [100.0]

    class Down(Memory):
        def admits(self, breaker, probe_every):
            asked.append(now[0])
            raise StoreDown

    store = Tolerant(Down(), clock=lambda: now[0])
    for now[0] in (100.0, 101.0, 100.1 + coordination.REST_SECONDS):
        assert store.admits(name, PROBE_EVERY) == CLOSED

    assert asked == [100.0, 100.1 + coordination.REST_SECONDS]


def test_a_cluster_whose_primary_is_killed_goes_on(name, settings):
    with RedisCluster() as cluster:
        settings.REDIS_CLUSTER_URL = cluster.urls
        store = coordination.InRedis(coordination._Cluster(cluster.urls))
        assert store.admits(name, PROBE_EVERY) == CLOSED

        cluster.primary_of(f"breaker:{{{name}}}").kill()

        def opens():
            try:
                store.open(name, 60)
            except StoreDown:
                return False
            return True

        wait_until(opens, 60)
        assert not store.admits(name, PROBE_EVERY).admitted


def test_a_process_learns_within_a_moment_what_another_has_opened(servers, name):
    url = servers(RedisServer).url
    mine, others = (
        Breaker(name, InRedis(coordination.Redis.from_url(url, **coordination._OPTIONS))) for _ in range(2)
    )
    assert mine.admits()

    others.open(60)

    wait_until(lambda: not mine.admits(), 5)
