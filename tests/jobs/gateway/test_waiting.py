"""Connections that are held for jobs in the queue: what they cost, and that all are answered."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
from django.db import InterfaceError, OperationalError, connection

from jobs.gateway import waiting
from jobs.models import TranscriptionJob
from tests.conditions import wait_until
from tests.jobs.api.conftest import wav
from tests.jobs.gateway.test_listen import LISTEN, WAV

HELD = 20


def request_threads() -> int:
    return sum(thread.name.startswith("request") for thread in threading.enumerate())


def test_who_waits_costs_no_thread(gateway, key, settings):
    settings.ASYNC_MIN_SECONDS = 0.5
    threads_before = request_threads()

    def ask() -> int:
        headers = {"Authorization": f"Token {key}", **WAV}
        url = gateway.http_url + LISTEN
        return httpx.post(url, content=wav(), headers=headers, timeout=60, trust_env=False).status_code

    with ThreadPoolExecutor(HELD) as clients:
        answers = []
        for already in range(HELD):
            # One after the other: each finds the thread of the one before, if that does not keep it.
            wait_until(lambda: TranscriptionJob.objects.count() == already)  # noqa: B023 (called at once)
            answers.append(clients.submit(ask))
        wait_until(lambda: TranscriptionJob.objects.count() == HELD)
        threads = request_threads() - threads_before
        TranscriptionJob.objects.all().end_all()
        connection.close()

        assert [answer.result() for answer in answers] == [499] * HELD
    # A thread may still be on its way back when the next request is there.
    assert threads <= 3


def test_whatever_goes_wrong_for_a_while_ends_no_wait(gateway, key, settings, worker, monkeypatch):
    settings.ASYNC_MIN_SECONDS = 0.5
    monkeypatch.setattr(waiting, "REST_SECONDS", 0.01)
    errors = [OperationalError("gone"), InterfaceError("closed"), RuntimeError("unforeseen")]
    looks = []
    look = waiting._open_among

    def failing(ids):
        looks.append(ids)
        if errors:
            raise errors.pop(0)
        return look(ids)

    monkeypatch.setattr(waiting, "_open_among", failing)

    response = httpx.post(
        gateway.http_url + LISTEN,
        content=wav(),
        headers={"Authorization": f"Token {key}", **WAV},
        timeout=60,
        trust_env=False,
    )

    assert response.status_code == 200
    assert len(looks) > 3
