"""Whether this process is alive, and whether it can do its work."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import cache
from tempfile import TemporaryFile

import redis
from django.conf import settings
from django.core.files.storage import FileSystemStorage, storages
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from jobs.running import worker

OK = "ok"
# Nothing that a worker waits for, a database that hangs included, lasts so long.
WORKER_SILENT_SECONDS = 180.0
BROKER_SECONDS = 2.0
# Of who asks whether a process is ready: docker/healthcheck.py gives up after 4 s, Kubernetes after 5 s.
ANSWER_SECONDS = 3.0
SILENT = f"unavailable: no answer within {ANSWER_SECONDS:g} s"


def aliveness() -> tuple[bool, dict[str, str]]:
    """Whether to leave this process alone; if not, start it anew. Who answers at all and is no worker is."""
    if worker.is_silent_for(WORKER_SILENT_SECONDS):
        return False, {"status": "stuck", "worker": f"silent for {WORKER_SILENT_SECONDS:g} s"}
    return True, {"status": OK}


def readiness() -> tuple[bool, dict[str, str]]:
    """Whether all is there that work needs, and what was found of each.

    Without the broker nothing is lost but a second (workers look by themselves): that is told, as `degraded`,
    but no reason to send requests elsewhere.
    """
    found = _found_of(_database, _migrations, _storage, _broker)
    broker = found["broker"]
    ready = all(state == OK for name, state in found.items() if name != "broker")
    status = "unavailable" if not ready else OK if broker == OK else "degraded"
    return ready, {"status": status, **found}


def database_answers() -> bool:
    return _found_of(_database)["database"] == OK


_asking = threading.Lock()
_asked: dict[Callable[[], str], Future[str]] = {}


def _found_of(*questions: Callable[[], str]) -> dict[str, str]:
    """What each comes to, by its name, or that it does not in ANSWER_SECONDS.

    Whatever is asked may hang, for as long as a pool, a socket or a mount has patience: so each is asked in a
    thread of its own, which nobody waits for in the end, and not again while that one waits.
    """
    asked = {question.__name__.strip("_"): _begun(question) for question in questions}
    wait(asked.values(), ANSWER_SECONDS)
    return {name: future.result() if future.done() else SILENT for name, future in asked.items()}


def _begun(question: Callable[[], str]) -> Future[str]:
    with _asking:
        future = _asked.get(question)
        if future is None or future.done():
            future = _asked[question] = Future()
            threading.Thread(target=_ask, args=(question, future), daemon=True).start()
        return future


def _ask(question: Callable[[], str], future: Future[str]) -> None:
    try:
        state = question()
    except Exception as error:  # noqa: BLE001 (raised to who asked)
        future.set_exception(error)
    else:
        future.set_result(state)
    finally:
        connection.close()


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return _unavailable(error)
    return OK


def _migrations() -> str:
    try:
        executor = MigrationExecutor(connection)
    except DatabaseError:
        return "unknown"
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(missing)} migrations are missing: run manage.py migrate" if missing else OK


def _storage() -> str:
    storage = storages["default"]
    try:
        if isinstance(storage, FileSystemStorage):
            # Which finds no fault with a directory that is gone, or that nothing can be written to.
            os.makedirs(storage.location, exist_ok=True)
            TemporaryFile(dir=storage.location).close()
        else:
            storage.exists("readyz")
    except OSError as error:
        return _unavailable(error)
    return OK


def _broker() -> str:
    if settings.EMBEDDED:
        return OK
    try:
        _redis().ping()
    except redis.RedisError as error:
        return _unavailable(error)
    return OK


def _unavailable(error: Exception) -> str:
    # Not what it says, which is where things are: anybody may ask.
    return f"unavailable: {type(error).__name__}"


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=BROKER_SECONDS, socket_connect_timeout=BROKER_SECONDS
    )
