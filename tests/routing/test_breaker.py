import pytest

from routing.breaker import PROBE_HOLD_SECONDS, Breaker
from routing.choice import RAMP_SECONDS
from routing.coordination import Memory
from routing.trust import RECOVERED


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


def test_half_open_it_admits_one_call_at_a_time(breaker, clock):
    breaker.open(5)
    clock.now += 5.1

    assert [breaker.admits(), breaker.admits()] == [True, False]
    clock.now += PROBE_HOLD_SECONDS + 0.1
    assert [breaker.admits(), breaker.admits()] == [True, False]
    breaker.returned()
    assert [breaker.admits(), breaker.admits()] == [True, False]


def test_whoever_was_let_through_before_it_opened_and_made_no_call_does_not_end_it(breaker, clock):
    assert breaker.admits()
    breaker.open(5)

    breaker.returned()

    clock.now += 1
    assert not breaker.admits()


def test_calls_that_fail_open_it(breaker, clock):
    for _ in range(5):
        assert breaker.admits()
        breaker.failed(began_at=clock.now)

    assert not breaker.admits()


def test_while_none_fails_the_store_is_not_told_of_those_that_succeed(clock):
    kept = Memory(clock)
    breaker = Breaker("one", kept, clock)
    kept.succeeded = None

    assert breaker.admits()
    breaker.succeeded(began_at=clock.now)


def test_one_that_closes_again_is_noted_for_as_long_as_it_is_spared(clock):
    kept = Memory(clock)
    breaker = Breaker("one", kept, clock)
    breaker.open(5)
    clock.now += 6
    breaker.admits()

    breaker.succeeded(began_at=clock.now)

    assert kept.notes("one").remaining[RECOVERED] == RAMP_SECONDS


def test_recordings_and_live_audio_have_one_each(clock):
    kept = Memory(clock)
    live, recordings = Breaker("one", kept, clock, live=True), Breaker("one", kept, clock)

    live.open(5)

    assert (live.admits(), recordings.admits()) == (False, True)


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
