import pytest

from routing.breaker import Breaker
from routing.coordination import Memory


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker("one", Memory(clock), clock)


def test_closed_it_admits_everybody(breaker):
    assert [breaker.admits() for _ in range(3)] == [True] * 3


def test_open_it_admits_nobody_until_its_time_is_over(breaker, clock):
    breaker.open(5)
    clock.now += 4.9

    assert not breaker.admits()


def test_half_open_it_admits_one_call_a_second(breaker, clock):
    breaker.open(5)
    clock.now += 5.1

    assert [breaker.admits(), breaker.admits()] == [True, False]
    clock.now += 1.1
    assert [breaker.admits(), breaker.admits()] == [True, False]


def test_a_call_that_began_since_and_succeeded_closes_it(breaker, clock):
    breaker.open(5)
    clock.now += 6

    breaker.succeeded(began_at=clock.now)

    assert [breaker.admits(), breaker.admits()] == [True, True]


def test_a_call_from_before_proves_nothing(breaker, clock):
    began_at = clock.now - 1
    breaker.open(5)

    breaker.succeeded(began_at)

    assert not breaker.admits()


def test_a_shorter_opening_does_not_cut_a_longer_one_short(breaker, clock):
    breaker.open(60)
    breaker.open(1)
    clock.now += 10

    assert not breaker.admits()
