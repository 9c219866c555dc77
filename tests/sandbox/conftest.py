import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from deepgram.environment import DeepgramClientEnvironment

from tests.sandbox.receiver import Receiver
from tests.sandbox_process import ROOT, SandboxProcess


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[SandboxProcess]:
    arguments = ("--callback-retry-seconds", "0.05", "--max-bytes", "1000000")
    with SandboxProcess(*arguments) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: SandboxProcess) -> SandboxProcess:
    """A scripted one that knows nothing of other tests."""
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[httpx.Client]:
    headers = {"authorization": "Token a-key"}
    with httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with Deepgram's specification and real speech, which is not part of the project."""
    folder = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture
def environment(sandbox: SandboxProcess) -> DeepgramClientEnvironment:
    return DeepgramClientEnvironment(
        base=sandbox.url,
        production=sandbox.websocket_url,
        agent=sandbox.websocket_url,
        agent_rest=sandbox.url,
    )


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """Closed in the end, which the SDK does not do with a client of its own."""
    with httpx.Client(trust_env=False) as client:
        yield client


@pytest.fixture
async def async_http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client
