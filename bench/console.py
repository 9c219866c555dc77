"""How long each page of the console and each list of the API takes at a million jobs in PostgreSQL.

    python -m bench console [JOBS [PART]]

The jobs are those of seed_demo, ten thousand of them moved into one batch. Each page whose address has
PART in it is asked for over HTTP, signed in, ten times after a first. Seeding takes ten minutes or more:
BENCH_DATABASE_URL names a database that was seeded before, of a server that preloads pg_stat_statements.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from urllib.parse import urlencode

import httpx
import psycopg

from bench.processes import PYTHON, Process, answers, manage, until
from tests.services import PostgresServer, RedisServer
from tests.services.process import free_port

RESULTS = Path(__file__).parent / "results"
TIMES = 10
IN_BATCH = 10_000
PASSWORD = "measured-by-the-bench"  # noqa: S105 (of a database that goes away)
PROJECT = "Demo Sales"
JOBS = "/admin/jobs/transcriptionjob/"
STATUSES = ("queued", "running", "waiting", "completed", "failed", "cancelled", "dead")


@dataclass(slots=True)
class Page:
    """Milliseconds of a whole page, of all its statements, and of the slowest of these."""

    median_ms: float
    longest_ms: float
    status: int
    statements: float
    sql_ms: float
    slowest_ms: float
    slowest: str


def main() -> None:
    given = sys.argv[2:] if sys.argv[1:2] == ["console"] else []
    jobs, part = [*given, *("1000000", "")[len(given) :]]
    with ExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        redis = stack.enter_context(RedisServer())
        database, port = os.environ.get("BENCH_DATABASE_URL"), free_port()
        if is_new := not database:
            postgres = PostgresServer(
                shared_buffers="1GB", max_wal_size="4GB", shared_preload_libraries="pg_stat_statements"
            )
            database = stack.enter_context(postgres).url
        environment = {
            "DATABASE_URL": database,
            "REDIS_URL": redis.url,
            "DEEPGRAM_API_KEY": "k",
            "DATA_DIR": data,
            "PORT": str(port),
            "LOG_LEVEL": "WARNING",
            "LOG_REQUESTS": "off",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }
        manage(environment, "migrate", "-v0")
        if is_new:
            manage(environment, "seed_demo", "--jobs", jobs)
        name = f"bench-{datetime.now(UTC):%Y%m%d%H%M%S}"
        manage(
            environment,
            "createsuperuser",
            "--noinput",
            "--username",
            name,
            "--email",
            f"{name}@example.invalid",
        )
        key = manage(environment, "create_api_key", "demo-ada", "--project", PROJECT, "--name", name)
        sql = stack.enter_context(psycopg.connect(database, autocommit=True))
        sql.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        base = f"http://127.0.0.1:{port}"
        stack.enter_context(Process([PYTHON, "-m", "transcribe_project.server"], environment=environment))
        until(lambda: answers(f"{base}/readyz"))
        staff = stack.enter_context(httpx.Client(base_url=base, timeout=120, trust_env=False))
        sign_in(staff, name)
        user = stack.enter_context(httpx.Client(base_url=base, timeout=120, trust_env=False))
        user.headers["authorization"] = f"Token {key}"
        project = one(sql, "SELECT id FROM jobs_project WHERE name = %s", PROJECT)
        asked = {
            path: partial((user if "/api/" in path else staff).get, path) for path in paths(sql, project)
        }
        took: dict[str, Page] = {}
        for called, ask in (asked | previews(staff, project)).items():
            if part in called:
                took[called] = measured(sql, ask)
                tell(called, took[called])
    RESULTS.mkdir(exist_ok=True)
    kept = {path: asdict(page) for path, page in took.items()}
    (RESULTS / "console.json").write_text(json.dumps(kept, indent=1))


def tell(path: str, page: Page) -> None:
    print(
        f"{page.median_ms:6.0f} {page.longest_ms:6.0f} ms  {page.status}  {page.statements:4.1f} statements "
        f"{page.sql_ms:6.1f} ms, slowest {page.slowest_ms:6.1f}  {path}",
        flush=True,
    )


def sign_in(client: httpx.Client, name: str) -> None:
    client.get("/admin/login/").raise_for_status()
    client.headers["x-csrftoken"] = client.cookies["csrftoken"]
    client.post("/admin/login/?next=/healthz", data={"username": name, "password": PASSWORD})
    client.headers["x-csrftoken"] = client.cookies["csrftoken"]


def paths(sql: psycopg.Connection, project: str) -> list[str]:
    """What is asked for: of staff all that is not the API's."""
    now = datetime.now(UTC)
    job = one(sql, "SELECT id FROM jobs_transcriptionjob WHERE status = 'completed' ORDER BY id DESC")
    batch = large_batch(sql)
    delivery = one(sql, "SELECT id FROM jobs_delivery ORDER BY id DESC")
    stream = one(sql, "SELECT id FROM streaming_livesession ORDER BY id DESC")
    day = {
        "created_at__gte": f"{now - timedelta(days=1):%Y-%m-%d} 00:00:00+00:00",
        "created_at__lt": f"{now + timedelta(days=1):%Y-%m-%d} 00:00:00+00:00",
    }
    old = {"created_at__lt": f"{now - timedelta(days=29):%Y-%m-%d} 00:00:00+00:00"}
    lists: list[dict[str, str]] = [
        {},
        {"p": "40"},
        *({"status__exact": status} for status in STATUSES),
        {"mode__exact": "sync"},
        {"region": "default"},
        {"priority__exact": "0"},
        {"priority__exact": "2"},
        {"project__id__exact": project},
        {"batch": batch},
        day,
        old,
        {"status__exact": "completed", "region": "default"},
        {"status__exact": "completed", "region": "default", **day},
        {"status__exact": "failed", "region": "default", **day},
        {"status__exact": "failed", "region": "default", "mode__exact": "sync", "priority__exact": "0"},
        {"status__exact": "failed", "project__id__exact": project, **old},
        {"status__exact": "running", "region": "default", **day},
        {"mode__exact": "sync", "project__id__exact": project},
        {"mode__exact": "sync", "region": "nowhere"},
        {"o": "1"},
        {"o": "1", "status__exact": "completed"},
        {"q": "courier"},
        {"q": "walrus"},
        {"q": "courier friday"},
        {"q": "call 00012"},
        {"q": "courier", "status__exact": "failed"},
        {"q": "courier", "status__exact": "failed", "region": "default", **day},
        {"q": "demo-nobody-said-this"},
        {"q": "provider_timeout"},
        {"q": job},
    ]
    others = (
        "jobs/batch",
        "jobs/delivery",
        "jobs/auditentry",
        "jobs/recording",
        "jobs/project",
        "jobs/apikey",
        "jobs/webhookendpoint",
        "streaming/livesession",
    )
    yesterday, ago = (f"{now - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (1, 25))
    api: list[dict[str, str]] = [
        {},
        {"status": "queued"},
        {"status": "completed"},
        {"status": "failed", "created_after": yesterday},
        {"status": "running"},
        {"mode": "sync", "region": "default"},
        {"priority": "high", "created_before": ago},
        {"tag": "demo"},
        {"tag": "none"},
        {"created_before": ago},
        {"search": "meeting"},
        {"search": "nothing"},
        {"batch": batch},
    ]
    return [
        "/admin/",
        "/admin/dashboard/",
        *(f"{JOBS}?{urlencode(query)}" for query in lists),
        f"{JOBS}{job}/change/",
        f"/admin/jobs/batch/{batch}/change/",
        f"/admin/jobs/batch/{batch}/state/",
        *(f"/admin/{other}/" for other in others),
        "/admin/jobs/delivery/?status__exact=failed",
        "/admin/jobs/delivery/?status__exact=pending",
        f"/admin/jobs/delivery/{delivery}/change/",
        "/admin/jobs/auditentry/?action=job.cancelled",
        "/admin/jobs/auditentry/?q=nobody",
        "/admin/jobs/usageline/",
        f"/admin/streaming/livesession/{stream}/change/",
        *(f"/api/v1/jobs/?{urlencode(query)}" for query in api),
    ]


def large_batch(sql: psycopg.Connection) -> str:
    """One that has the newest ten thousand of a project that have ended."""
    batch = one(
        sql,
        "SELECT batch.id FROM jobs_batch AS batch JOIN jobs_project AS project ON project.id = project_id "
        "WHERE project.name = %s ORDER BY batch.id DESC",
        PROJECT,
    )
    sql.execute(
        "UPDATE jobs_transcriptionjob SET batch_id = %s WHERE id IN (SELECT job.id "
        "FROM jobs_transcriptionjob AS job JOIN jobs_project AS project ON project.id = project_id "
        "WHERE project.name = %s AND finished_at IS NOT NULL ORDER BY job.id DESC LIMIT %s)",
        (batch, PROJECT, IN_BATCH),
    )
    return batch


def one(sql: psycopg.Connection, statement: str, *values: object) -> str:
    row = sql.execute(f"{statement} LIMIT 1", values).fetchone()
    assert row is not None
    return str(row[0])


def previews(staff: httpx.Client, project: str) -> dict[str, Callable[[], httpx.Response]]:
    """What is shown before something is done to all that match."""
    asked = (
        ("requeue_selected", ""),
        ("cancel_selected", ""),
        ("prioritise_high", ""),
        ("export_selected", ""),
        ("requeue_selected", "status__exact=failed"),
        ("cancel_selected", "status__exact=queued"),
        ("requeue_selected", "region=default&priority__exact=0"),
        ("requeue_selected", f"project__id__exact={project}&mode__exact=sync"),
        ("requeue_selected", f"project__id__exact={project}&status__exact=completed"),
        ("cancel_selected", "region=default&mode__exact=async"),
        ("export_selected", f"project__id__exact={project}"),
        ("requeue_selected", "q=courier"),
        ("export_selected", "q=courier&region=default"),
    )
    return {f"{name} of all at ?{query}": partial(preview, staff, name, query) for name, query in asked}


def preview(staff: httpx.Client, name: str, query: str) -> httpx.Response:
    data = {"action": name, "select_across": "1", "_selected_action": "0" * 32}
    return staff.post(f"{JOBS}?{query}", data=data)


def measured(sql: psycopg.Connection, ask: Callable[[], httpx.Response]) -> Page:
    """Ten times, after a first that fills what is remembered."""
    ask()
    sql.execute("SELECT pg_stat_statements_reset()")
    took = []
    for _ in range(TIMES):
        begun = perf_counter()
        answer = ask()
        took.append(1000 * (perf_counter() - begun))
    statements = sql.execute(
        "SELECT calls, total_exec_time, mean_exec_time, query FROM pg_stat_statements "
        "WHERE query NOT LIKE '%%pg_stat_statements%%' ORDER BY mean_exec_time DESC"
    ).fetchall()
    took.sort()
    slowest = statements[0] if statements else (0, 0.0, 0.0, "")
    return Page(
        round(took[len(took) // 2], 1),
        round(took[-1], 1),
        answer.status_code,
        round(sum(calls for calls, *_ in statements) / TIMES, 1),
        round(sum(total for _, total, *_ in statements) / TIMES, 1),
        round(slowest[2], 1),
        re.sub(r"\s+", " ", slowest[3])[:500],
    )


if __name__ == "__main__":
    main()
