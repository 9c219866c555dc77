from threading import Event
from time import monotonic

import pytest
from celery import current_app

from jobs.queues import WEBHOOK_QUEUE
from jobs.running import wakeups
from tests.conditions import wait_until
from tests.jobs.rows import QUEUE


@pytest.fixture
def sent(monkeypatch):
    """The (task, queue) of each message that went out."""
    messages = []
    monkeypatch.setattr(
        current_app, "send_task", lambda task, *, queue, **_: messages.append((task, queue)), raising=False
    )
    return messages


@pytest.fixture
def waker():
    waker = wakeups._Waker()
    waker.start()
    return waker


def test_a_call_goes_out_at_once_and_says_where_to_look(waker, sent):
    waker.ask(QUEUE)
    waker.ask(WEBHOOK_QUEUE)

    # A thread of another test's may send too.
    wait_until(lambda: {("jobs.work", QUEUE), ("jobs.deliver", WEBHOOK_QUEUE)} <= set(sent))


def test_many_calls_go_out_as_few_messages_the_first_of_them_close_together(waker, sent):
    begun, pause = monotonic(), Event()
    while monotonic() - begun < 1.5:
        waker.ask(QUEUE)
        pause.wait(0.005)

    assert 1.5 / wakeups.SPACING_SECONDS < len(sent) < 20


def test_what_is_asked_for_last_is_not_forgotten(waker, sent):
    for _ in range(100):
        waker.ask(QUEUE)
    wait_until(lambda: sent)
    before = len(sent)
    waker.ask(QUEUE)

    wait_until(lambda: len(sent) > before)
