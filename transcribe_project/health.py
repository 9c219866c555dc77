"""Whether this process is alive, and whether it can do its work."""

from collections.abc import Callable

from django.core.files.storage import storages
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase


class HealthMiddleware:
    """Answers the two questions before anything else is asked.

    Load balancers ask by address and without TLS, which hosts and redirects would refuse.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        match request.path:
            case "/healthz":
                return alive(request)
            case "/readyz":
                return ready(request)
        return self.get_response(request)


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
        # Not what it says, which is where our files are: anybody may ask.
        return f"unavailable: {type(error).__name__}"
    return "ok"
