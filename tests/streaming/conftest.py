import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connections

from jobs.models import ApiKey, Project
from routing.regions import all_regions
from tests.conditions import wait_until
from tests.streaming.loopback import Loopback
from transcribe_project.server import Server, listen


class LiveServer:
    """Our server, in a thread of this process."""

    def __init__(self) -> None:
        self._listening = listen("127.0.0.1", 0)
        self.port = self._listening.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        self._server = Server(lambda: None)
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listening]))
        connections.close_all()


@pytest.fixture
def live(transactional_db) -> Iterator[LiveServer]:
    server = LiveServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def upstream(settings) -> Iterator[Callable[..., Loopback]]:
    """Starts a loopback provider, which is then Deepgram for our server."""
    started: list[Loopback] = []

    def start(*arguments, **named) -> Loopback:
        provider = Loopback(*arguments, **named)
        started.append(provider.__enter__())
        settings.DEEPGRAM_BASE_URL = provider.url
        settings.DEEPGRAM_API_KEY = "the-providers-key"
        all_regions.cache_clear()
        return provider

    yield start
    for provider in started:
        provider.__exit__()
    all_regions.cache_clear()


@pytest.fixture
def project(db) -> Project:
    return Project.objects.create(name="Calls")


@pytest.fixture
def key(project) -> str:
    """The text of a key."""
    _, text = ApiKey.objects.issue(project, "phone")
    return text
