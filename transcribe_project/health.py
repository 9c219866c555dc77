"""Whether this process is alive, and whether it can do its work."""

from __future__ import annotations

import os
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
    needed = {**_database(), "storage": _storage()}
    ready = all(state == OK for state in needed.values())
    broker = _broker()
    status = "unavailable" if not ready else OK if broker == OK else "degraded"
    return ready, {"status": status, **needed, "broker": broker}


def _database() -> dict[str, str]:
    try:
        executor = MigrationExecutor(connection)
    except DatabaseError as error:
        return {"database": _unavailable(error), "migrations": "unknown"}
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    todo = f"{len(missing)} migrations are missing: run manage.py migrate" if missing else OK
    return {"database": OK, "migrations": todo}


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
