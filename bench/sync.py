"""Callers who wait, beside the reference stack: the same load and provider, in the same run.

    python -m bench sync [REQUESTS]

Recordings of 10 s posted to the gateway and to the `/transcribe` of the reference, by 1, 16 and 200 at once,
before a provider of 0 and 300 ms. What a system adds is told from the same load on the provider itself. CPU
is that of the system's process, per request; not the database's, the provider's or the load's. Ours asks who
it is, probes, stores the recording durably, and keeps job, attempt, transcript and event meanwhile.

Last comes our memory while one recording of 2 GB is uploaded and fifty of the small ones are transcribed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.batch import RESULTS, new_database, peers_in, ten_seconds_of_silence
from bench.memory import write_sparse_wav
from bench.processes import PYTHON, Process, answers, manage, until
from bench.uploads import upload
from tests.services import PostgresServer, RedisServer
from tests.services.process import free_port

LATENCIES_MS = (0, 300)
CONCURRENCIES = (1, 16, 200)
PERCENTILES = ("p50", "p95", "p99")
LARGE_BYTES, SMALL_ONES = 2_000_000_000, 50
Load = Callable[..., dict[str, Any]]


def main() -> None:
    requests = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[1] == "sync" else 1000
    rows = []
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        peers = peers_in(work)
        audio = ten_seconds_of_silence(work / "ten_seconds.wav")
        postgres = stack.enter_context(PostgresServer(max_connections=200))
        redis = stack.enter_context(RedisServer())

        def load(url: str, count: int, concurrency: int, *headers: str) -> dict[str, Any]:
            command = ["node", "load.js", "sync", url, str(count), str(concurrency), str(audio), *headers]
            done = subprocess.run(command, cwd=peers, check=True, capture_output=True, text=True)
            return dict(json.loads(done.stdout))

        for latency in LATENCIES_MS:
            port = free_port()
            provider = f"http://127.0.0.1:{port}"
            stack.enter_context(Process(["node", "provider.js", str(port), str(latency)], cwd=peers))
            until(lambda: answers(provider))  # noqa: B023 (called before the loop goes on)
            direct = {
                concurrency: load(f"{provider}/v1/listen", _count(requests, concurrency), concurrency)["ms"]
                for concurrency in CONCURRENCIES
            }
            for name, system in (("reference", reference), ("ours", ours)):
                database = new_database(postgres, f"sync_{name}_{latency}")
                with system(work, peers, provider, database, redis.url) as (url, headers, process):
                    load(url, 50, 10, *headers)  # connections opened, code compiled
                    for concurrency in CONCURRENCIES:
                        count = _count(requests, concurrency)
                        before = process.cpu
                        told = load(url, count, concurrency, *headers)
                        rows.append(
                            {"system": name, "latency_ms": latency, "concurrency": concurrency}
                            | {"statuses": told["statuses"], "per_second": round(count / told["seconds"], 1)}
                            | {
                                f"added_{each}_ms": round(told["ms"][each] - direct[concurrency][each], 1)
                                for each in PERCENTILES
                            }
                            | {"cpu_ms_per_request": round((process.cpu - before) / count * 1000, 2)}
                            | {"peak_mb": round(process.peak / 1e6)}
                        )
                        print(json.dumps(rows[-1]), flush=True)
        database = new_database(postgres, "sync_memory")
        with ours(work, peers, provider, database, redis.url) as (url, headers, process):
            rows.append(beside_a_large_one(work, url, headers, process, load))
            print(json.dumps(rows[-1]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sync.json").write_text(json.dumps(rows, indent=1))


def beside_a_large_one(
    work: Path, url: str, headers: list[str], process: Process, load: Load
) -> dict[str, object]:
    """Peak memory of the web process, its probe along."""
    large = work / "hours.wav"
    write_sparse_wav(large, LARGE_BYTES)
    before = process.peak
    with ThreadPoolExecutor(1) as sender:
        key = headers[0].rpartition(" ")[2]
        sending = sender.submit(upload, urlsplit(url).port, key, large, False)
        told = load(url, SMALL_ONES, SMALL_ONES, *headers)
        still_sending = not sending.done()
        status = sending.result()
    return {
        "large": {"bytes": LARGE_BYTES, "status": status, "took_longer": still_sending},
        "small": {"requests": SMALL_ONES, "statuses": told["statuses"], "ms": told["ms"]},
        "idle_mb": round(before / 1e6),
        "peak_mb": round(process.peak / 1e6),
    }


def _count(requests: int, concurrency: int) -> int:
    """One at a time need not be asked as often."""
    return max(50, requests // 10) if concurrency == 1 else requests


@contextmanager
def reference(
    work: Path, peers: Path, provider: str, database: str, redis: str
) -> Iterator[tuple[str, list[str], Process]]:
    port = free_port()
    environment = {
        "REDIS_URL": redis.removesuffix("/0") + "/5",
        "DATABASE_URL": database,
        "PROVIDER_URL": provider,
        "AUDIO_DIR": str(work / "reference-audio"),
    }
    with Process(["node", "batch.js", "api", str(port)], environment=environment, cwd=peers) as process:
        until(lambda: answers(f"http://127.0.0.1:{port}"))
        yield f"http://127.0.0.1:{port}/transcribe", [], process


@contextmanager
def ours(
    work: Path, peers: Path, provider: str, database: str, redis: str
) -> Iterator[tuple[str, list[str], Process]]:
    port = free_port()
    environment = {
        "REDIS_URL": redis,
        "DATABASE_URL": database,
        "DEEPGRAM_BASE_URL": provider,
        "DEEPGRAM_API_KEY": "k",
        "DATA_DIR": str(work / "ours"),
        # As many as ask at once, since the reference has no limit: nothing goes to the queue.
        "SYNC_SLOTS": str(max(CONCURRENCIES)),
        # Kept to, and never reached.
        "PROVIDER_MAX_RECORDINGS": str(2 * max(CONCURRENCIES)),
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
    }
    manage(environment, "migrate", "-v0")
    key = manage(environment, "create_api_key", "bench")
    with Process([PYTHON, "-m", "transcribe_project.server"], environment=environment) as process:
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        url = f"http://127.0.0.1:{port}/v1/listen?model=nova-3&smart_format=true"
        yield url, [f"Authorization: Token {key}"], process


if __name__ == "__main__":
    main()
