"""Whether this process is alive, and whether it can do its work."""

from django.core.files.storage import storages
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse


def alive(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when all that serving needs is there, else 503; either way with what was found of each."""
    found = {"database": _database(), "storage": _storage()}
    ok = all(state == "ok" for state in found.values())
    return JsonResponse({"status": "ok" if ok else "unavailable", **found}, status=200 if ok else 503)


def _database() -> str:
    try:
        executor = MigrationExecutor(connection)
    except DatabaseError as error:
        return f"unavailable: {type(error).__name__}"
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(missing)} migrations are missing: run manage.py migrate" if missing else "ok"


def _storage() -> str:
    try:
        storages["default"].exists("readyz")
    except OSError as error:
        return f"unavailable: {error}"
    return "ok"
