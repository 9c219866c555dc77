"""Which region is chosen: a table of cases."""

from collections import Counter
from itertools import cycle

import pytest

from routing.choice import Broker, Candidate, Capability, Health, Provider, Work, choose

SYNC, ASYNC, LIVE = Capability.SYNC, Capability.ASYNC, Capability.LIVE

OFF = {"enabled": False}
STANDBY = {"weight": 0}
FULL = {"room": 0.0}


def health(**known):
    return {"health": Health(**known)}


ERRING = health(recordings=Provider.ERRING, live=Provider.ERRING)
REFUSING = health(recordings=Provider.REFUSING, live=Provider.REFUSING)
LEFT_ALONE = health(recordings=Provider.LEFT_ALONE)
LIVE_LEFT_ALONE = health(live=Provider.LEFT_ALONE)
SLOW = health(recordings=Provider.SLOW, live=Provider.SLOW)
FLAPPING = health(recordings=Provider.FLAPPING, live=Provider.FLAPPING)
NO_WORKERS = health(slots=0)
WORKERS_UNKNOWN = health(slots=None)
NO_BROKER = health(broker=Broker.UNREACHABLE, slots=10)


def regions(**described):
    return [Candidate(name, **fields) for name, fields in described.items()]


def where(candidates, work):
    """Each region that may be chosen, by drawing from end to end; "-" before one where it has to wait."""
    drawn = [choose(candidates, work, random=lambda n=n: n / 20) for n in range(20)]
    return sorted({each and f"{'' if each.able else '-'}{each.region}" for each in drawn}, key=str)


@pytest.mark.parametrize(
    ("candidates", "work", "chosen"),
    [
        # Pin and residency bind
        (regions(a={}, b={}), Work(ASYNC, pinned="b"), ["b"]),
        (regions(a={}, b=NO_WORKERS), Work(ASYNC, pinned="b"), ["-b"]),
        (regions(a={}, b=OFF), Work(SYNC, pinned="b"), ["-b"]),
        (regions(a={}, b={}), Work(ASYNC, residency=["b"]), ["b"]),
        (regions(a={}, b=ERRING), Work(SYNC, residency=["b"]), ["-b"]),
        (regions(a={}, b={"residency": frozenset(["eu"])}), Work(LIVE, residency=["eu"]), ["b"]),
        (regions(a={}, b={}), Work(ASYNC, residency=["moon"]), [None]),
        (regions(a={}, b={}), Work(ASYNC, pinned="b", residency=["a"]), [None]),
        # What each needs
        (regions(a=ERRING, b={}), Work(SYNC), ["b"]),
        (regions(a=ERRING, b={}), Work(ASYNC), ["b"]),
        (regions(a=ERRING, b={}), Work(LIVE), ["b"]),
        (regions(a=REFUSING, b={}), Work(ASYNC), ["b"]),
        (regions(a=NO_WORKERS, b={}), Work(ASYNC), ["b"]),
        (regions(a=NO_WORKERS, b={}), Work(SYNC), ["a", "b"]),
        (regions(a=NO_WORKERS, b={}), Work(LIVE), ["a", "b"]),
        (regions(a=LEFT_ALONE, b={}), Work(SYNC), ["b"]),
        (regions(a=LEFT_ALONE, b={}), Work(LIVE), ["a", "b"]),
        (regions(a=LIVE_LEFT_ALONE, b={}), Work(LIVE), ["b"]),
        (regions(a=LIVE_LEFT_ALONE, b={}), Work(ASYNC), ["a", "b"]),
        (regions(a=OFF, b={}), Work(ASYNC), ["b"]),
        # Unknown is not dead
        (regions(a=WORKERS_UNKNOWN, b={}), Work(ASYNC), ["a", "b"]),
        # Drawbacks
        (regions(a=NO_BROKER, b={}), Work(ASYNC), ["b"]),
        (regions(a=NO_BROKER, b={}), Work(SYNC), ["a", "b"]),
        (regions(a=NO_BROKER, b=NO_WORKERS), Work(ASYNC), ["a"]),
        (regions(a=SLOW, b={}), Work(LIVE), ["b"]),
        (regions(a=SLOW, b=ERRING), Work(LIVE), ["a"]),
        (regions(a=FLAPPING, b={}), Work(SYNC), ["b"]),
        (regions(a=FLAPPING, b=NO_WORKERS), Work(ASYNC), ["a"]),
        (regions(a=FLAPPING, b=SLOW), Work(LIVE), ["a", "b"]),
        # Room
        (regions(a=FULL, b={}), Work(SYNC), ["b"]),
        (regions(a=FULL, b={}), Work(LIVE), ["b"]),
        (regions(a=FULL, b=STANDBY), Work(LIVE), ["b"]),
        (regions(a=FULL, b=SLOW), Work(SYNC), ["b"]),
        (regions(a=FULL, b={}), Work(LIVE, avoid="b"), ["b"]),
        (regions(a=FULL, b=ERRING), Work(SYNC), ["a"]),
        (regions(a=FULL, b=FULL), Work(SYNC), ["a", "b"]),
        (regions(a=FULL, b={}), Work(SYNC, pinned="a"), ["a"]),
        (regions(a=FULL, b={}), Work(LIVE, residency=["a"]), ["a"]),
        # Where it failed before
        (regions(a={}, b={}), Work(ASYNC, avoid="a"), ["b"]),
        (regions(a={}, b=ERRING), Work(ASYNC, avoid="a"), ["a"]),
        (regions(a={}, b=STANDBY), Work(ASYNC, avoid="a"), ["b"]),
        # Standbys
        (regions(a={}, b=STANDBY), Work(ASYNC), ["a"]),
        (regions(a=NO_WORKERS, b=STANDBY), Work(ASYNC), ["b"]),
        (regions(a=STANDBY, b=STANDBY), Work(ASYNC), ["a", "b"]),
        # None can: it waits where it would be preferred
        (regions(a=ERRING, b={**NO_WORKERS, "weight": 2}), Work(ASYNC), ["-b"]),
        (regions(a=ERRING, b={**OFF, "weight": 2}), Work(ASYNC), ["-a"]),
        ([], Work(ASYNC), [None]),
    ],
)
def test_where_work_goes(candidates, work, chosen):
    assert where(candidates, work) == chosen


@pytest.mark.parametrize(
    ("candidates", "shares"),
    [
        (regions(a={}, b={}), {"a": 50, "b": 50}),
        (regions(a={"weight": 3}, b={}), {"a": 75, "b": 25}),
        (regions(a=FULL, b=FULL), {"a": 50, "b": 50}),
        (regions(a={"room": 0.25}, b={"room": 0.75}), {"a": 25, "b": 75}),
        (regions(a=health(share=0.25), b={}), {"a": 20, "b": 80}),
        (regions(a=health(share=0.1)), {"a": 100}),
    ],
)
def test_shares_follow_weight_room_and_how_long_a_region_is_back(candidates, shares):
    drawn = (number / 100 for number in cycle(range(100)))

    chosen = Counter(choose(candidates, Work(ASYNC), random=lambda: next(drawn)).region for _ in range(100))

    assert chosen == shares


def test_the_reason_names_what_each_region_lacks():
    told = choose(regions(a=ERRING, b=NO_WORKERS, c=OFF), Work(ASYNC)).reason

    assert told == (
        "None that may do it can just now: "
        "a: its provider fails; b: its workers are gone; c: it is switched off."
    )


@pytest.mark.parametrize(
    ("candidates", "work", "reason"),
    [
        (regions(a={}, b={}), Work(ASYNC, pinned="a"), "It was asked for."),
        (regions(a={}, b={}), Work(ASYNC, residency=["a"]), "It is the only one that may do it."),
        (regions(a={}, b={}), Work(ASYNC), "By weight and room, among a, b."),
        (regions(a=SLOW, b={}), Work(ASYNC), "It is preferred to the others."),
        (
            regions(a=NO_WORKERS, b={}),
            Work(ASYNC),
            "It is the best of those that can: a: its workers are gone.",
        ),
        (regions(a=FULL, b={}), Work(SYNC), "It is the best of those that can: a: all its places are taken."),
    ],
)
def test_the_reason_is_told_in_a_sentence(candidates, work, reason):
    assert choose(candidates, work, random=lambda: 0.0).reason == reason
