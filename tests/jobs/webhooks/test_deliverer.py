"""Who is served when: runs, receivers in trouble or at rest, and what is claimed and not attempted."""

import threading

import pytest

from jobs.events import emit
from jobs.models import Delivery, DeliveryAttempt, EventType
from jobs.webhooks import deliverer, wire
from jobs.webhooks.deliverer import MOST_REST_SECONDS, REST_SECONDS, Receivers
from tests.conditions import wait_until
from tests.jobs.rows import make_project
from tests.jobs.webhooks.test_wire import delivering
from tests.routing.peer import Peer, answering, silent

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("private_receivers")]


def tell(url, times=1):
    project = make_project()
    for _ in range(times):
        emit(project.pk, EventType.STREAM_ENDED, {"id": "1"}, callback_url=f"{url}/hook")


def outcome(status, receiver="http://a:80", *, duration=0.1, retry_after=None):
    log = DeliveryAttempt(status_code=status, duration=duration)
    return wire.Outcome(Delivery(receiver=receiver), log, retry_after)


def test_runs_are_of_one_receiver_each_and_every_one_is_served_before_any_twice():
    tell("http://127.0.0.1:9", 8)
    tell("http://127.0.0.1:8", 3)

    runs = Delivery.objects.claim(3, 60, length=4)

    assert sorted(map(len, runs)) == [3, 4, 4]
    assert all(len({delivery.receiver for delivery in run}) == 1 for run in runs)
    assert len({delivery.lease_token for run in runs for delivery in run}) == 3


def test_a_backlog_of_one_receiver_does_not_hide_the_others():
    tell("http://127.0.0.1:9", 30)
    tell("http://127.0.0.1:8")

    runs = Delivery.objects.claim(3, 60, length=2)

    assert {run[0].receiver for run in runs} == {"http://127.0.0.1:9", "http://127.0.0.1:8"}


def test_who_is_in_trouble_gets_one_delivery_and_who_rests_none():
    tell("http://127.0.0.1:9", 5)
    tell("http://127.0.0.1:8", 5)

    runs = Delivery.objects.claim(
        9, 60, length=4, singly={"http://127.0.0.1:9"}, leave={"http://127.0.0.1:8"}
    )

    assert [[delivery.receiver for delivery in run] for run in runs] == [["http://127.0.0.1:9"]]


@pytest.mark.parametrize(
    ("answered", "is_well"),
    [
        (outcome(204), True),
        (outcome(500), False),
        (outcome(None), False),
        (outcome(204, duration=6), False),
        (outcome(204, duration=2), True),
    ],
)
def test_a_receiver_is_in_trouble_that_fails_or_takes_long(answered, is_well):
    receivers = Receivers()

    assert receivers.note(answered) is is_well
    assert receivers.troubled == (set() if is_well else {"http://a:80"})

    receivers.note(outcome(200))
    assert receivers.troubled == set()


@pytest.mark.parametrize(
    ("status", "retry_after", "rests"),
    [
        (429, None, REST_SECONDS),
        (502, None, REST_SECONDS),
        (504, 20.0, 20.0),
        (429, 3600.0, MOST_REST_SECONDS),
        (500, 20.0, 0),
        (503, 20.0, 0),
    ],
)
def test_an_overloaded_receiver_is_left_alone(monkeypatch, status, retry_after, rests):
    now = 1000.0
    monkeypatch.setattr(deliverer, "monotonic", lambda: now)
    receivers = Receivers()

    receivers.note(outcome(status, retry_after=retry_after))

    assert receivers.resting == ({"http://a:80"} if rests else set())
    now += rests - 0.1
    assert bool(receivers.resting) is bool(rests)
    now += 0.2
    assert receivers.resting == set()


def test_a_run_ends_with_the_first_failure_and_gives_the_rest_back(receiver):
    receiver.behave = answering(500)
    tell(receiver.url, 10)
    (run,) = Delivery.objects.claim(1, 60, length=10)
    driven = deliverer._Run(run, Receivers(), threading.Event(), threading.Event())

    driven.drive()
    deliverer.settle(driven.take_outcomes(), driven.take_untried())

    assert len(receiver.requests) == 1
    assert Delivery.objects.filter(attempts=0, lease_token=None, status="pending").count() == 9


def test_a_run_that_ends_is_followed_by_the_next_at_once(receiver, monkeypatch):
    monkeypatch.setattr(deliverer, "LOOK_SECONDS", 60)
    monkeypatch.setattr(deliverer, "RUN_LENGTH", 1)
    tell(receiver.url, 60)

    with delivering():
        wait_until(lambda: not Delivery.objects.exclude(status="delivered").exists(), 30)


def test_more_receivers_that_hang_than_there_are_slots_hold_up_nobody_for_long(receiver, settings):
    settings.WEBHOOK_CONCURRENCY = 2
    hanging = [Peer(silent) for _ in range(6)]
    for peer in hanging:
        tell(peer.__enter__().url, 2)
    tell(receiver.url)
    try:
        with delivering():
            # Six that hang take two slots for a second each, two at a time.
            wait_until(lambda: receiver.requests, 8)
            for peer in hanging:
                peer.stopped.set()
    finally:
        for peer in hanging:
            peer.__exit__()


def test_who_is_told_to_stop_writes_down_what_is_under_way_and_gives_back_the_rest():
    stop, busy = threading.Event(), threading.Event()

    def behave(connection):
        while connection.read_request():
            busy.set()
            stop.wait()
            connection.answer(204, b"")

    with Peer(behave) as peer:
        tell(peer.url, 10)
        with delivering(stop=stop):
            assert busy.wait(90)
            stop.set()

    assert Delivery.objects.filter(lease_token__isnull=False).count() == 0
    assert 1 <= Delivery.objects.filter(status="delivered").count() <= 2
    assert Delivery.objects.filter(status="pending", attempts=0).count() >= 8
