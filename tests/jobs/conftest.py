from collections.abc import Iterator

import pytest
from django.core.files.storage import storages

from jobs.running.leases import LeaseKeeper
from jobs.webhooks import wire
from tests import memory
from tests.clients import forget
from tests.routing.peer import Peer, answering
from tests.sandbox_process import SandboxProcess
from tests.services import S3Server
from transcribe_project.storage_url import storage_at


@pytest.fixture(scope="session")
def running_provider() -> Iterator[SandboxProcess]:
    with SandboxProcess() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: SandboxProcess, settings) -> Iterator[SandboxProcess]:
    """A sandbox in Deepgram's place, which knows nothing of other tests."""
    running_provider.reset()
    settings.DEEPGRAM_BASE_URL = running_provider.url
    memory.forget()
    yield running_provider
    memory.forget()


@pytest.fixture(scope="session")
def running_s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(running_s3, settings, monkeypatch, tmp_path) -> Iterator[S3Server]:
    """What the default storage is, empty."""
    for name, value in running_s3.environment.items():
        monkeypatch.setenv(name, value)
    for key in running_s3.objects():
        running_s3.client.delete_object(Bucket=running_s3.bucket, Key=key)
    settings.STORAGES = settings.STORAGES | {"default": storage_at(running_s3.storage_url, tmp_path)}
    yield running_s3
    storages["default"].client.close()


@pytest.fixture
def private_receivers(settings) -> Iterator[None]:
    """Webhooks may go to addresses of this machine, and leave no connection behind."""
    settings.WEBHOOK_ALLOW_PRIVATE = True
    forget(wire._client)
    yield
    wire._client().close()
    forget(wire._client)


@pytest.fixture
def receiver(private_receivers) -> Iterator[Peer]:
    """Of webhooks; it takes all of them."""
    with Peer(answering(204, b"")) as peer:
        yield peer


@pytest.fixture
def leases(settings) -> LeaseKeeper:
    settings.HEARTBEAT_SECONDS = 0.1
    return LeaseKeeper()
