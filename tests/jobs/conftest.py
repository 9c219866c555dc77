from collections.abc import Iterator

import pytest

from routing.breaker import breaker_of
from routing.regions import all_regions
from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="session")
def running_provider() -> Iterator[SandboxProcess]:
    with SandboxProcess() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: SandboxProcess, settings) -> Iterator[SandboxProcess]:
    """A sandbox in Deepgram's place, which knows nothing of other tests."""
    if running_provider.requests()["active"]:
        # Of another test: a half-open connection stays for an hour.
        running_provider.stop()
        running_provider.start()
    running_provider.reset()
    settings.DEEPGRAM_BASE_URL = running_provider.url
    all_regions.cache_clear()
    breaker_of.cache_clear()
    yield running_provider
    all_regions.cache_clear()
    breaker_of.cache_clear()
