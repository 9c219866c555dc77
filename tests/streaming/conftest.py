from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage

from jobs.models import ApiKey, Project
from routing.regions import all_regions
from tests.sandbox_process import SandboxProcess
from tests.server_thread import ServerThread
from tests.streaming.loopback import Loopback


@pytest.fixture
def live(transactional_db) -> Iterator[ServerThread]:
    server = ServerThread()
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


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox, settings) -> Iterator[SandboxProcess]:
    """Scripted, in Deepgram's place, and without a memory of other tests."""
    running_sandbox.reset()
    settings.DEEPGRAM_BASE_URL = running_sandbox.url
    all_regions.cache_clear()
    yield running_sandbox
    all_regions.cache_clear()


@pytest.fixture
def late(monkeypatch) -> Callable[[Callable[[], object]], None]:
    """Has something happen while a file is on its way into storage."""

    def while_storing(happens: Callable[[], object]) -> None:
        save = FileSystemStorage.save

        def saved(*arguments: Any, **named: Any) -> str:
            happens()
            return save(*arguments, **named)

        monkeypatch.setattr(FileSystemStorage, "save", saved)

    return while_storing


@pytest.fixture
def project(db) -> Project:
    return Project.objects.create(name="Calls")


@pytest.fixture
def key(project) -> str:
    """The text of a key."""
    _, text = ApiKey.objects.issue(project, "phone")
    return text
