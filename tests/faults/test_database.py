"""PostgreSQL that crashes, stays away, or has no connection left."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import httpx
import psycopg
import pytest
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from jobs.models import TranscriptionJob
from tests.conditions import wait_until
from tests.environment import ROOT
from tests.faults.harness import (
    Stopwatch,
    Submitter,
    Web,
    ended_jobs,
    open_jobs,
    promises_kept,
    queue_jobs,
)
from tests.services import PostgresServer

pytestmark = pytest.mark.postgresql
FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
CONNECTIONS = 60
RECOVERED_SECONDS = 10

Found = TypeVar("Found")


@pytest.fixture
def postgres(transactional_db) -> Iterator[PostgresServer]:
    """The test's own, to do harm to. What this process asks the database, it asks this one."""
    with PostgresServer(max_connections=CONNECTIONS) as server:
        migrate = [sys.executable, str(ROOT / "manage.py"), "migrate", "-v0"]
        subprocess.run(migrate, env=os.environ | {"DATABASE_URL": server.url}, timeout=60, check=True)
        usual = {name: connection.settings_dict[name] for name in ("NAME", "PORT")}
        try:
            lead_to(NAME="postgres", PORT=server.port)
            yield server
        finally:
            lead_to(**usual)


def lead_to(**address: object) -> None:
    connection.close()
    connection.close_pool()
    connection.settings_dict.update(address)


def answered(question: Callable[[], Found]) -> Found | None:
    """None when the database cannot be asked."""
    try:
        return question()
    except (OperationalError, InterfaceError):
        connection.close()
        return None


@dataclass(frozen=True)
class Trouble:
    jobs: int
    restarts: int
    outage: float
    capped: float
    rate: float


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Trouble(jobs=60, restarts=2, outage=5, capped=2, rate=5), id="small"),
        pytest.param(Trouble(jobs=400, restarts=10, outage=60, capped=30, rate=10), id="full", marks=FULL),
    ],
)
def test_f6_a_database_in_trouble_loses_nothing_and_is_never_an_internal_error(
    stack, provider, postgres, tell, load
):
    provider.set_faults("latency=0.5")
    stack = replace(stack, database_url=postgres.url)
    recovered = []
    with stack.web() as web, stack.workers(2) as supervisor:
        queue_jobs(load.jobs)
        with Submitter(web.url, load.rate) as submitter:
            for restart in range(load.restarts):
                done = load.jobs * restart / (2 * load.restarts)
                supervisor.wait_until(lambda: ended_jobs() >= done, 60)  # noqa: B023
                with no_database(postgres, 0):
                    pass
                recovered.append(works_again(submitter))
            with no_database(postgres, load.outage):
                ready, fleet = said_by(web)
            recovered.append(works_again(submitter))
            with no_connection_left(postgres):
                held = Stopwatch()
                wait_until(lambda: held.seconds > load.capped, load.capped + 5)
            recovered.append(works_again(submitter))
            done_meanwhile = ended_jobs()
        supervisor.wait_until(lambda: not open_jobs(), 60 + load.jobs / 5)
        codes = [code for worker in supervisor.workers for code in worker.exit_codes]

    # A refused one may have been committed all the same, with nobody left to tell.
    rows = TranscriptionJob.objects.count()
    known = {str(pk) for pk in TranscriptionJob.objects.values_list("pk", flat=True)}
    statuses = {(refusal.status, bool(refusal.retry_after)) for refusal in submitter.refused}
    tell(
        "F6",
        jobs=rows,
        restarts=load.restarts,
        down=load.outage,
        capped=load.capped,
        **promises_kept(rows),
        refused=len(submitter.refused),
        done_meanwhile=done_meanwhile,
        recovered_in=round(max(recovered), 1),
    )
    assert set(submitter.accepted) <= known
    assert rows >= load.jobs + len(submitter.accepted)
    assert submitter.refused
    assert statuses == {(503, True)}, submitter.refused
    assert max(recovered) <= RECOVERED_SECONDS
    assert not codes, "a worker ended of it"
    assert ready["status"] == "unavailable"
    assert ready["database"].startswith("unavailable")
    assert (ready["storage"], ready["broker"]) == ("ok", "ok")
    assert "transcribe_database_up 0.0" in fleet
    assert "transcribe_jobs{" not in fleet


def said_by(web: Web) -> tuple[dict[str, str], str]:
    """What it says of itself, and of all: before those lose patience who ask."""
    with httpx.Client(base_url=web.url, trust_env=False, timeout=8) as client:
        return client.get("/readyz").json(), client.get("/metrics/fleet").text


@contextmanager
def no_database(postgres: PostgresServer, seconds: float) -> Iterator[None]:
    """A crash: nobody is told, and nothing is finished first."""
    postgres.stop("immediate")
    watch = Stopwatch()
    yield
    wait_until(lambda: watch.seconds >= seconds, seconds + 5)
    postgres.start()


@contextmanager
def no_connection_left(postgres: PostgresServer) -> Iterator[None]:
    """All that there are, those of the service too, are somebody else's."""
    with ExitStack() as held:
        while True:
            try:
                hog = held.enter_context(psycopg.connect(postgres.url, autocommit=True, connect_timeout=5))
            except psycopg.OperationalError:
                break
            hog.execute("SELECT 1")
        yield


def works_again(submitter: Submitter) -> float:
    """Seconds until one more submission is accepted and one more job is done."""
    back = Stopwatch()
    wait_until(lambda: answered(ended_jobs) is not None, RECOVERED_SECONDS)
    accepted, ended = len(submitter.accepted), ended_jobs()
    wait_until(lambda: len(submitter.accepted) > accepted and ended_jobs() > ended, RECOVERED_SECONDS)
    return back.seconds


def test_a_server_that_may_not_be_written_to_counts_as_gone():
    options = dict(settings.DATABASES["default"]["OPTIONS"])
    del options["pool"]

    with (
        PostgresServer(default_transaction_read_only="on") as server,
        pytest.raises(psycopg.OperationalError, match="read-only"),
    ):
        psycopg.connect(server.url, **options)
