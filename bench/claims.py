"""What claims, lists and the dashboard take while a million jobs are queued in PostgreSQL.

    python -m bench claims [JOBS]

All jobs are one project's, the worst case for its lists; a hundredth is completed, and one has a tag and a
file name of its own. Ten threads claim and complete real jobs while an eleventh submits, with a provider that
takes 100 ms and with one that takes no time; then each list is asked for ten times over HTTP.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import httpx

from bench.processes import PYTHON, ROOT, Process, answers, until
from tests.services import PostgresServer, RedisServer
from tests.services.process import free_port

RESULTS = Path(__file__).parent / "results"
TIMES = 10


def main() -> None:
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[1] == "claims" else 1_000_000
    with ExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        postgres = stack.enter_context(PostgresServer(shared_buffers="1GB", max_wal_size="4GB"))
        redis = stack.enter_context(RedisServer())
        port = free_port()
        environment = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "DEEPGRAM_API_KEY": "k",
            "DATA_DIR": data,
            "PORT": str(port),
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "transcribe_project.settings",
        }
        run(environment, "manage.py", "migrate", "-v0")
        key = run(environment, "-m", "bench.claims_rows", "fill", str(jobs)).strip()
        row = {"jobs": jobs}
        row |= json.loads(run(environment, "-m", "bench.claims_rows", "claims"))
        row |= json.loads(run(environment, "-m", "bench.claims_rows", "dashboard"))
        with Process([PYTHON, "-m", "transcribe_project.server"], environment=environment):
            base = f"http://127.0.0.1:{port}"
            until(lambda: answers(f"{base}/readyz"))
            headers = {"authorization": f"Token {key}"}
            with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as client:
                row["lists_ms"] = lists(client)
    print(json.dumps(row, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "claims.json").write_text(json.dumps(row, indent=1))


def run(environment: dict[str, str], *arguments: str) -> str:
    environ = {**os.environ, **environment}
    done = subprocess.run(
        [PYTHON, *arguments], env=environ, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def lists(client: httpx.Client) -> dict[str, list[float]]:
    """By query: the median and the longest of its first page, and how many rows that has."""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    ago = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    queries: list[dict[str, str]] = [
        {},
        {"status": "queued"},
        {"status": "completed"},
        {"status": "failed"},
        {"tag": "even"},
        {"tag": "rare"},
        {"tag": "none"},
        {"created_after": ago},
        {"created_before": ago},
        {"created_after": yesterday, "created_before": yesterday},
        {"created_before": yesterday},
        {"search": "call"},
        {"search": "rare"},
        {"search": "nothing"},
        {"search": "nothing", "created_after": ago},
        {"mode": "sync"},
    ]
    return {"&".join(f"{n}={v[:10]}" for n, v in query.items()): timed(client, query) for query in queries}


def timed(client: httpx.Client, query: dict[str, str]) -> list[float]:
    took = []
    for _ in range(TIMES):
        begun = perf_counter()
        answer = client.get("/api/v1/jobs/", params=query).raise_for_status()
        took.append(round(1000 * (perf_counter() - begun), 1))
    took.sort()
    return [took[len(took) // 2], took[-1], len(answer.json()["results"])]


if __name__ == "__main__":
    main()
