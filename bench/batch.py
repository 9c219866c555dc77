"""The batch path beside the reference stack: the same load, provider, PostgreSQL and Redis, in the same run.

    python -m bench batch [JOBS]

1,000 jobs of 10 s of audio, posted 50 at a time; a job is done when its webhook has come. Provider latency 0
(where the CPU goes) and 500 ms (what concurrency 10 allows: 20 jobs a second). CPU is that of web and worker
together, less what they used before the load; not the database's, Redis's, the provider's or the load's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from bench.processes import PYTHON, SHARED, Process, answers, manage, until
from tests.services import PostgresServer, RedisServer
from tests.services.process import free_port

CONCURRENCY = 10
POSTED_AT_ONCE = 50
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[1] == "batch" else 1000
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        peers = peers_in(work)
        audio = ten_seconds_of_silence(work / "ten_seconds.wav")
        postgres = stack.enter_context(PostgresServer(max_connections=200))
        redis = stack.enter_context(RedisServer())
        rows = []
        for latency in (0, 500):
            port = free_port()
            with Process(["node", "provider.js", str(port), str(latency)], cwd=peers):
                provider = f"http://127.0.0.1:{port}"
                until(lambda: answers(provider))  # noqa: B023 (called before the loop goes on)
                for name, system in (("reference", reference), ("ours", ours)):
                    database = new_database(postgres, f"{name}_{latency}")
                    with system(work, peers, provider, database, redis.url) as (url, headers, processes):
                        rows.append(
                            {"system": name, "latency_ms": latency}
                            | measured(peers, url, headers, audio, jobs, processes, latency)
                        )
                        print(json.dumps(rows[-1]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "batch.json").write_text(json.dumps(rows, indent=1))


def measured(
    peers: Path,
    url: str,
    headers: list[str],
    audio: Path,
    jobs: int,
    processes: dict[str, Process],
    latency: int,
) -> dict[str, object]:
    """Put the load on and say what it took."""

    def load(count: int) -> dict[str, object]:
        told_at = str(free_port())
        command = ["node", "load.js", "batch", url, str(count), str(POSTED_AT_ONCE), str(audio), told_at]
        done = subprocess.run([*command, *headers], cwd=peers, check=True, capture_output=True, text=True)
        if done.stderr:
            sys.stderr.write(done.stderr)
        return dict(json.loads(done.stdout))

    load(50)  # connections opened, code compiled
    before = {name: process.cpu for name, process in processes.items()}
    told = load(jobs)
    cpu = {name: (process.cpu - before[name]) / jobs * 1000 for name, process in processes.items()}
    row: dict[str, object] = {
        "jobs": jobs,
        "per_second": told["per_s"],
        "called_back": told["callbacks"],
        "statuses": told["statuses"],
        "cpu_ms_per_job": round(sum(cpu.values()), 2),
        "cpu_ms": {name: round(value, 2) for name, value in cpu.items()},
        "peak_mb": {name: round(process.peak / 1e6) for name, process in processes.items()},
    }
    if latency:
        allowed = CONCURRENCY * 1000 / latency
        row["of_what_concurrency_allows"] = round(float(str(told["per_s"])) / allowed, 3)
    return row


@contextmanager
def reference(
    work: Path, peers: Path, provider: str, database: str, redis: str
) -> Iterator[tuple[str, list[str], dict[str, Process]]]:
    port = free_port()
    environment = {
        "REDIS_URL": redis.removesuffix("/0") + "/5",
        "DATABASE_URL": database,
        "PROVIDER_URL": provider,
        "AUDIO_DIR": str(work / "reference-audio"),
        "CONCURRENCY": str(CONCURRENCY),
    }
    with (
        Process(["node", "batch.js", "api", str(port)], environment=environment, cwd=peers) as web,
        Process(["node", "batch.js", "worker"], environment=environment, cwd=peers) as worker,
    ):
        until(lambda: answers(f"http://127.0.0.1:{port}"))
        yield f"http://127.0.0.1:{port}/jobs?callback={{callback}}", [], {"web": web, "worker": worker}


@contextmanager
def ours(
    work: Path, peers: Path, provider: str, database: str, redis: str
) -> Iterator[tuple[str, list[str], dict[str, Process]]]:
    port = free_port()
    environment = {
        "REDIS_URL": redis,
        "DATABASE_URL": database,
        "DEEPGRAM_BASE_URL": provider,
        "DEEPGRAM_API_KEY": "k",
        "DATA_DIR": str(work / "ours"),
        "WORKER_CONCURRENCY": str(CONCURRENCY),
        "WEBHOOK_ALLOW_PRIVATE": "true",
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
    }
    manage(environment, "migrate", "-v0")
    key = manage(environment, "create_api_key", "bench")
    worker_command = [PYTHON, "-m", "celery", "-A", "transcribe_project", "worker", "--pool=threads"]
    worker_command += ["--without-gossip", "--without-mingle", "--loglevel=WARNING"]
    with (
        Process([PYTHON, "-m", "transcribe_project.server"], environment=environment) as web,
        Process(worker_command, environment=environment) as worker,
    ):
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        url = f"http://127.0.0.1:{port}/api/v1/jobs/?mode=async&callback_url={{callback}}"
        yield url, [f"Authorization: Token {key}"], {"web": web, "worker": worker}


def peers_in(work: Path) -> Path:
    """The reference stack, installed in a copy outside the checkout (kept between runs)."""
    copy = Path(os.environ.get("PEERS_DIR", Path(tempfile.gettempdir()) / "reference-peers"))
    if not (copy / "node_modules").exists():
        shutil.copytree(SHARED / "peers", copy, dirs_exist_ok=True, copy_function=shutil.copyfile)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=copy, check=True)
    return copy


def new_database(postgres: PostgresServer, name: str) -> str:
    """Its address."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return postgres.database_url(name)


def ten_seconds_of_silence(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2 * 16000 * 10))
    return path
