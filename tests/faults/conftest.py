"""What fault tests share, and the table of what they found."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import VENDOR
from tests.environment import ROOT
from tests.faults.harness import QUICK, Stack, Stopwatch
from tests.sandbox_process import SandboxProcess
from tests.services import RedisServer

FOUND = pytest.StashKey[list[dict[str, object]]]()
KEPT_IN = ROOT / "var" / "faults.jsonl"


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(FOUND, [])


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Tells what a test found: its fault, and figures by name."""
    watch = Stopwatch()
    found = request.config.stash.setdefault(FOUND, [])

    def tell(fault: str, *, database: str = VENDOR, **figures: object) -> None:
        found.append({"fault": fault, "database": database, **figures, "seconds": round(watch.seconds, 1)})

    return tell


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    found = config.stash.get(FOUND, [])
    if not found:
        return
    terminalreporter.section("faults")
    for row in sorted(found, key=lambda row: str(row["fault"])):
        figures = {name: value for name, value in row.items() if name not in ("fault", "database")}
        told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        terminalreporter.write_line(f"FAULT {row['fault']} {row['database']}: {told}")
    if "full_load" in config.option.markexpr:
        KEPT_IN.parent.mkdir(exist_ok=True)
        with KEPT_IN.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)


@pytest.fixture(scope="session")
def running_provider() -> Iterator[SandboxProcess]:
    with SandboxProcess() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: SandboxProcess) -> SandboxProcess:
    running_provider.reset()
    return running_provider


@pytest.fixture
def broker() -> Iterator[RedisServer]:
    """The test's own, to do harm to."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def stack(database_url: str, broker: RedisServer, provider: SandboxProcess) -> Stack:
    """With short leases."""
    return Stack(database_url, broker.url, provider, dict(QUICK))
