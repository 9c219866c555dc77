"""The gateway, with a key, in front of a sandbox that can be asked directly as well."""

import threading
from collections.abc import Iterator

import httpx
import pytest
from django.db import connections

from jobs.models import ApiKey, Project
from jobs.running.worker import Worker
from tests.server_thread import ServerThread


@pytest.fixture
def project(transactional_db) -> Project:
    return Project.objects.create(name="Support calls")


@pytest.fixture
def key(project) -> str:
    return ApiKey.objects.issue(project, "an SDK")[1]


@pytest.fixture
def gateway(transactional_db, provider) -> Iterator[ServerThread]:
    server = ServerThread()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(gateway, key) -> Iterator[httpx.Client]:
    """Asks the gateway with the key."""
    with httpx.Client(
        base_url=gateway.http_url, headers={"Authorization": f"Token {key}"}, timeout=60, trust_env=False
    ) as client:
        yield client


@pytest.fixture
def worker(transactional_db) -> Iterator[None]:
    """Runs whatever is queued, as a worker would."""
    stop = threading.Event()

    def work() -> None:
        running = Worker(["transcription.default"], 1)
        while not stop.wait(0.05):
            running.run_available("transcription.default")
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()
