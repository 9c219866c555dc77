"""The tests' ground: real servers of their own, and an environment of their own.

The database is PostgreSQL, or SQLite with TEST_DATABASE=sqlite. PostgreSQL's address is chosen here, before
the settings are read; the server starts with the first test that asks for the database. Under pytest-xdist
it starts with the run, and the workers share it, each with a database of its own.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import httpx
import pytest
import redis
from django.conf import settings
from websockets.sync.client import connect

from tests import emptying, environment, logged
from tests.conditions import PATIENCE
from tests.services import PostgresServer, RedisServer
from tests.services.process import free_port

if TYPE_CHECKING:  # it needs Django to be set up
    from routing.regions import Region

VENDOR = os.environ.get("TEST_DATABASE", "postgresql")
OTHER_VENDOR = {"postgresql": "sqlite", "sqlite": "postgresql"}
DATABASE_FIXTURES = {"db", "transactional_db"}
# What happens in a page is the same on both, and takes long.
BROWSER_FIXTURES = {"browser", "launch", "page"}

# A worker of pytest-xdist finds all this in the environment it is started with.
if "PYTEST_XDIST_WORKER" not in os.environ:
    if settings.configured:
        raise pytest.UsageError("The tests set DJANGO_SETTINGS_MODULE themselves: unset it, leave out --ds")
    if VENDOR not in OTHER_VENDOR:
        raise pytest.UsageError(f"TEST_DATABASE is postgresql or sqlite, not {VENDOR}")
    data_dir = tempfile.mkdtemp(prefix="transcribe-tests-")
    postgres = PostgresServer(port=free_port(), max_connections=300)
    urls = {"postgresql": postgres.database_url("transcribe"), "sqlite": f"sqlite:///{data_dir}/db.sqlite3"}
    environment.prepare(urls[VENDOR], data_dir)
# Here, since conftests below import models.
django.setup()
emptying.do_so_after_transactional_tests()
# Clients wait for 5 s (HTTP) or 10 s (WebSockets) by themselves; an answer of a slow machine may take longer.
for _until in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _until, 20 * PATIENCE)
connect.__kwdefaults__["open_timeout"] = 20 * PATIENCE
# A hash that takes as long as in earnest is Django's to test.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    distributes = session.config.getoption("numprocesses", None)
    if distributes and VENDOR == "postgresql":
        postgres.start()


@pytest.fixture(autouse=True)
def logs_tell_no_secrets() -> Iterator[None]:
    """What is logged, here and in processes that tests start, has neither secrets nor transcripts in it."""
    logged.watch()
    yield
    logged.check()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        postgres.close()
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("django_db") or DATABASE_FIXTURES.intersection(item.fixturenames):
            item.add_marker(pytest.mark.database)
        if BROWSER_FIXTURES.intersection(item.fixturenames):
            item.add_marker(pytest.mark.postgresql)
    left_out = {OTHER_VENDOR[VENDOR]}
    # Not by `-m "not full_load"` among the options, which any other -m would replace.
    if "full_load" not in config.option.markexpr:
        left_out.add("full_load")
    deselected = [item for item in items if left_out.intersection(mark.name for mark in item.iter_markers())]
    items[:] = [item for item in items if item not in deselected]
    config.hook.pytest_deselected(items=deselected)


@pytest.fixture(autouse=True)
def _nothing_of_other_tests() -> None:
    from django.core.cache import cache

    from tests import memory

    cache.clear()
    memory.forget()


@pytest.fixture
def regions(db: None) -> "Iterator[Callable[..., dict[str, Region]]]":
    """Makes the regions those of the test, each described as in REGIONS."""
    from routing.models import RegionRow
    from routing.regions import all_regions, seed

    def make(*described: dict[str, Any]) -> "dict[str, Region]":
        RegionRow.objects.all().delete()
        RegionRow.objects.bulk_create(map(seed, described))
        all_regions.cache_clear()
        return all_regions()

    yield make
    all_regions.cache_clear()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest) -> None:
    if VENDOR == "sqlite":
        # In a file, as in earnest: threads and other processes see what one in memory would keep from them.
        settings.DATABASES["default"]["TEST"]["NAME"] = os.path.join(os.environ["DATA_DIR"], "test.sqlite3")
    elif not hasattr(request.config, "workerinput"):
        postgres.start()
    request.getfixturevalue("django_db_modify_db_settings_parallel_suffix")


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """It goes with its server: whoever is still connected to it at the end fails no test."""
    return True


@pytest.fixture
def database_url(transactional_db: None, database_address: str) -> str:
    """The address of the test's database, for processes that the test starts."""
    return database_address


@pytest.fixture(scope="session")
def database_address(django_db_setup: None) -> str:
    """The same, for what outlives a test; a test that uses it asks for `database_url` as well."""
    database = settings.DATABASES["default"]
    if VENDOR == "sqlite":
        return f"sqlite:///{database['NAME']}"
    return f"postgres://{database['USER']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One for the whole run. Tests that stop or freeze a server start one of their own."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of an empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which programs for Node.js find the reference library of Standard Webhooks."""
    return with_package("standardwebhooks@1.1.1", tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, in which they find Deepgram's SDK."""
    return with_package("@deepgram/sdk@5.13.0", tmp_path_factory.mktemp("deepgram-javascript"))


def with_package(package: str, directory: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is missing: nothing is checked with {package}")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", package]
    installed = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=100)
    if installed.returncode:
        pytest.skip(f"npm cannot install {package}: {installed.stderr[-200:]}")
    return directory
