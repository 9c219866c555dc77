"""The rows of bench.claims: `claims_rows fill JOBS`, then `claims_rows claims`, `claims_rows dashboard`."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from time import perf_counter

import django

django.setup()

from django.db import connection, models, reset_queries, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from jobs import lifecycle  # noqa: E402
from jobs.models import ApiKey, Project, Recording, TranscriptionJob  # noqa: E402
from jobs.transcripts.results import Result  # noqa: E402
from routing.regions import all_regions  # noqa: E402
from transcribe_project.dashboard import dashboard  # noqa: E402

THREADS = 10
SECONDS = 30.0
CALL_SECONDS = 0.1
SUBMITTED_EVERY = 0.02
RESULT = Result("Hello.", 0.9, "en", 1.0, [], [], [], "request", [])

# One made every tenth of a second, up to now; the last 48 bits tell them apart.
ID = (
    "(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - (%(count)s - i) * 100), 12, '0')"
    " || '70008000' || lpad(to_hex(i), 12, '0'))::uuid"
)
MADE = "now() - (%(count)s - i) * interval '0.1 second'"
COMPLETED = "i %% 100 = 0"


def fill(count: int) -> str:
    """The key that sees all of them."""
    project = Project.objects.create(name="bench")
    queue = next(iter(all_regions().values())).queue
    recording = Recording.objects.create(project=project, file="recordings/bench", size=1, media_type="a/wav")
    job = TranscriptionJob.objects.create(
        project=project, recording=recording, region="default", queue=queue, deadline_at=timezone.now()
    )
    filename = "CASE i WHEN %(count)s / 2 THEN 'Rare.wav' ELSE 'call-' || i || '.wav' END"
    tags = """CASE WHEN i = %(count)s / 2 THEN '["rare"]' WHEN i %% 2 = 0 THEN '["even"]' ELSE '[]' END"""
    changes = {
        "recording_id": ID,
        "deadline_at": f"{MADE} + interval '1 day'",
        "start_tag": "i",
        "status": f"CASE WHEN {COMPLETED} THEN 'completed' ELSE 'queued' END",
        "finished_at": f"CASE WHEN {COMPLETED} THEN {MADE} END",
        "tags": f"({tags})::jsonb",
    }
    # One now() for both.
    with transaction.atomic():
        copy(recording, count, {"id": ID, "created_at": MADE, "filename": filename})
        copy(job, count, {"id": ID, "created_at": MADE} | changes)
        job.delete()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return ApiKey.objects.issue(project, "bench")[1]


def copy(row: models.Model, count: int, changes: dict[str, str]) -> None:
    """That many copies of a row, each with these columns of its own: SQL in which `i` counts them from 1."""
    table = row._meta.db_table
    columns = [field.column for field in row._meta.concrete_fields]
    values = ", ".join(changes.get(column, f"source.{column}") for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} "  # noqa: S608 (names of ours)
            f"FROM {table} AS source, generate_series(1, %(count)s) AS i WHERE source.id = %(id)s",
            {"count": count, "id": row.pk},
        )


def claims() -> dict[str, object]:
    """As a worker claims, between calls of the provider; as fast as can be; with nothing else going on."""
    queue = next(iter(all_regions().values())).queue
    return {
        "between_calls": claims_of_ten(queue, CALL_SECONDS),
        "without_calls": claims_of_ten(queue, 0),
        "alone_ms": alone(queue),
    }


def claims_of_ten(queue: str, call_seconds: float) -> dict[str, object]:
    """Ten threads claim and complete while one submits, for half a minute."""
    until = perf_counter() + SECONDS
    claimed: list[float] = []
    submitted: list[float] = []
    project = Project.objects.get(name="bench")

    def work() -> None:
        begun = perf_counter()
        job = TranscriptionJob.objects.claim(queue, "bench", 60)
        claimed.append(perf_counter() - begun)
        assert job is not None
        threading.Event().wait(call_seconds)
        lifecycle.complete(job, RESULT)

    def submit() -> None:
        begun = perf_counter()
        tag = TranscriptionJob.objects.next_start_tag(project, queue, 1)
        TranscriptionJob.objects.create(
            project=project, url="https://example.com/a", region="default", queue=queue, start_tag=tag
        )
        submitted.append(perf_counter() - begun)
        threading.Event().wait(SUBMITTED_EVERY)

    def repeat(what: Callable[[], None]) -> None:
        while perf_counter() < until:
            what()
        connection.close()

    threads = [threading.Thread(target=repeat, args=(what,)) for what in [work] * THREADS + [submit]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "claims": len(claimed),
        "per_second": round(len(claimed) / SECONDS),
        "claim_ms": spread(claimed),
        "submitted": len(submitted),
        "submit_ms": spread(submitted),
    }


def alone(queue: str) -> dict[str, float]:
    """Claims one after the other, with nothing else going on: the statement's own time."""
    took = []
    for _ in range(500):
        begun = perf_counter()
        TranscriptionJob.objects.claim(queue, "bench", 60)
        took.append(perf_counter() - begun)
    return spread(took)


def show_dashboard() -> dict[str, object]:
    """The longest of its queries, after a first time that fills caches."""
    dashboard(timezone.now())
    connection.force_debug_cursor = True
    reset_queries()
    begun = perf_counter()
    dashboard(timezone.now())
    took = perf_counter() - begun
    slowest = max(connection.queries, key=lambda query: float(query["time"]))
    return {
        "dashboard_ms": round(1000 * took, 1),
        "slowest_query_ms": round(1000 * float(slowest["time"]), 1),
        "slowest_query": slowest["sql"][:300],
    }


def spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(1000 * ordered[int(share * (len(ordered) - 1))], 2) for name, share in at.items()}


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        print(fill(int(sys.argv[2])))
    else:
        print(json.dumps({"claims": claims, "dashboard": show_dashboard}[sys.argv[1]]()))
