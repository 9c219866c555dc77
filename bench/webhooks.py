"""Deliveries per second of one webhook worker, and what each costs it: to one receiver, and to fifty.

    python -m bench webhooks [DELIVERIES]

Receivers answer at once. The rate is that from the first attempt to the last, by the rows; CPU is the
worker's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psycopg

from bench.batch import new_database
from bench.processes import PYTHON, ROOT, Process, answers, until
from tests.services import PostgresServer, RedisServer
from tests.services.process import free_port

RESULTS = Path(__file__).parent / "results"
RECEIVERS = (1, 50)
TAKEN = """
    SELECT count(*) / extract(epoch FROM max(delivered_at) - min(started_at))
    FROM jobs_delivery JOIN jobs_deliveryattempt ON delivery_id = jobs_delivery.id
    WHERE status = 'delivered'"""
ATTEMPT = "SELECT 1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) FROM jobs_deliveryattempt"
BUSY = """
    SELECT sum(duration) / extract(epoch FROM max(started_at) - min(started_at)) FROM jobs_deliveryattempt"""


def main() -> None:
    count = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[1] == "webhooks" else 5000
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(PostgresServer())
        redis = stack.enter_context(RedisServer())
        rows = []
        for receivers in RECEIVERS:
            database = new_database(postgres, f"to_{receivers}")
            rows.append(measured(work, database, redis.url, receivers, count))
            print(json.dumps(rows[-1]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "webhooks.json").write_text(json.dumps(rows, indent=1))


def measured(work: Path, database: str, redis: str, receivers: int, count: int) -> dict[str, object]:
    environment = {
        "REDIS_URL": redis,
        "DATABASE_URL": database,
        "DATA_DIR": str(work / str(receivers)),
        "DEEPGRAM_API_KEY": "k",
        "WEBHOOK_ALLOW_PRIVATE": "true",
        "DJANGO_SETTINGS_MODULE": "transcribe_project.settings",
        "LOG_LEVEL": "WARNING",
    }
    environ = {**os.environ, **environment}
    subprocess.run([PYTHON, "manage.py", "migrate", "-v0"], env=environ, cwd=ROOT, check=True)
    ports = [free_port() for _ in range(receivers)]
    command = [
        PYTHON,
        "-m",
        "celery",
        "-A",
        "transcribe_project",
        "worker",
        "--pool=threads",
        "-Q",
        "webhooks",
    ]
    command += ["--without-gossip", "--without-mingle", "--loglevel=WARNING"]
    with (
        psycopg.connect(database, autocommit=True) as connection,
        Process([PYTHON, "-m", "bench.receivers", *map(str, ports)]),
        Process(command, environment=environment) as worker,
    ):

        def deliver(number: int) -> None:
            urls = [f"http://127.0.0.1:{port}/hook" for port in ports]
            make = [PYTHON, "-m", "bench.webhook_rows", str(number), *urls]
            subprocess.run(make, env=environ, cwd=ROOT, check=True)
            until(
                lambda: (
                    asked(connection, "SELECT count(*) FROM jobs_delivery WHERE status <> 'delivered'") == 0
                )
            )

        until(lambda: answers(f"http://127.0.0.1:{ports[-1]}"))
        until(lambda: asked(connection, "SELECT count(*) FROM jobs_workerprocess") == 1)
        deliver(200)  # connections opened, code warm
        connection.execute("TRUNCATE jobs_event CASCADE")
        before = worker.cpu
        deliver(count)
        used = worker.cpu - before
        return {
            "receivers": receivers,
            "deliveries": count,
            "per_second": round(asked(connection, TAKEN)),
            "attempt_ms": round(asked(connection, ATTEMPT), 2),
            "under_way": round(asked(connection, BUSY), 2),
            "cpu_ms_each": round(used / count * 1000, 2),
            "peak_mb": round(worker.peak / 1e6),
        }


def asked(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> float:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return float(str(row[0]))


if __name__ == "__main__":
    main()
