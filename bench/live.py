"""The live path beside the reference proxy: the same load and provider, in the same run.

    python -m bench live [SESSIONS [SECONDS [FRAME_MS [APART_MS]]]]

100 sessions for 30 s, each of 100 ms frames, with a result for every second one. More than a hundred begin
20 ms apart, since to open one costs as much as to serve it for some seconds: what that is, many sessions of
one second tell (`bench live 400 1 100 40`, cpu_ms_per_session). What a proxy adds is told from the same load
on the provider itself. CPU is the proxy's process, per second of one session, and per session; not the
database's, the provider's or the load's. Ours authenticates, stores what is final and measures its latency
meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.batch import RESULTS, new_database, peers_in
from bench.processes import PYTHON, Process, answers, manage, until
from tests.services import PostgresServer, RedisServer
from tests.services.process import free_port

QUERY = "model=nova-3&encoding=linear16&sample_rate=16000&interim_results=true"


def main() -> None:
    chosen = [int(argument) for argument in sys.argv[2:]] if sys.argv[1:2] == ["live"] else []
    sessions, seconds, frame_ms, *given = [*chosen, *(100, 30, 100)[len(chosen) :]]
    apart_ms = given[0] if given else max(1000 / sessions, 20 if sessions > 100 else 0)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        peers = rewritten(peers_in(work), work / "peers", frame_ms, apart_ms)
        postgres = stack.enter_context(PostgresServer(max_connections=100))
        redis = stack.enter_context(RedisServer())
        port = free_port()
        stack.enter_context(Process(["node", "provider.js", str(port)], cwd=peers))
        until(lambda: answers(f"http://127.0.0.1:{port}"))

        def load(url: str, key: str = "k", count: int = sessions, length: int = seconds) -> dict[str, Any]:
            command = ["node", "load.js", "live", f"{url}/v1/listen?{QUERY}", str(count), str(length)]
            command.append(f"Authorization: Token {key}")
            done = subprocess.run(command, cwd=peers, check=True, capture_output=True, text=True)
            sys.stderr.write(done.stderr)
            return dict(json.loads(done.stdout))

        provider = f"127.0.0.1:{port}"
        direct = load(f"ws://{provider}")
        rows = [{"system": "direct", **told(direct)}]
        for name, system in (
            ("reference", reference(peers, provider)),
            ("ours", ours(work, provider, new_database(postgres, "live"), redis.url)),
        ):
            with system as (url, key, process):
                load(url, key, 10, 2)  # connections opened, code compiled
                before, resident = process.cpu, process.peak
                answer = load(url, key)
                used = process.cpu - before
            rows.append(
                {
                    "system": name,
                    **told(answer),
                    "added_ms": {
                        part: round(answer["results_ms"][part] - direct["results_ms"][part], 2)
                        for part in ("p50", "p95", "p99")
                    },
                    "cpu_ms_per_session": round(used * 1000 / sessions, 2),
                    "cpu_ms_per_session_second": round(used * 1000 / sessions / seconds, 3),
                    "peak_mb": round(process.peak / 1e6),
                    "kb_per_session": round((process.peak - resident) / sessions / 1e3),
                }
            )
        for row in rows:
            print(json.dumps(row), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "live.json").write_text(json.dumps(rows, indent=1))


def rewritten(peers: Path, copy: Path, frame_ms: int, apart_ms: float) -> Path:
    """The load and the provider, which are for frames of 100 ms and sessions that begin within a second."""
    per_second = 1000 // frame_ms
    changes = {
        "load.js": [
            ("Buffer.alloc(3200)", f"Buffer.alloc({32 * frame_ms})"),
            ("seconds * 10)", f"seconds * {per_second})"),
            ("}, 100);", f"}}, {frame_ms});"),
            ("i * (1000 / sessions)", f"i * {apart_ms}"),
            ("(seconds + 4) * 1000", f"(seconds + 3) * 1000 + sessions * {apart_ms}"),
        ],
        "provider.js": [
            ("frames / 10", f"frames / {per_second}"),
            ("frames % 20", f"frames % {2 * per_second}"),
        ],
    }
    copy.mkdir()
    (copy / "node_modules").symlink_to(peers / "node_modules")
    for name in ("load.js", "provider.js", "live.js"):
        text = (peers / name).read_text()
        for old, new in changes.get(name, []):
            if old not in text:
                raise RuntimeError(f"{name} is not what it was: {old}")
            text = text.replace(old, new)
        (copy / name).write_text(text)
    return copy


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """How many there were, and how they ended."""
    return {name: count for name, count in answer.items() if name != "open"}


@contextmanager
def reference(peers: Path, provider: str) -> Iterator[tuple[str, str, Process]]:
    port = free_port()
    with Process(["node", "live.js", str(port), f"ws://{provider}/v1/listen"], cwd=peers) as proxy:
        until(lambda: answers(f"http://127.0.0.1:{port}"))
        yield f"ws://127.0.0.1:{port}", "k", proxy


@contextmanager
def ours(work: Path, provider: str, database: str, redis: str) -> Iterator[tuple[str, str, Process]]:
    port = free_port()
    environment = {
        "REDIS_URL": redis,
        "DATABASE_URL": database,
        "DEEPGRAM_BASE_URL": f"http://{provider}",
        "DEEPGRAM_API_KEY": "k",
        "PROVIDER_MAX_LIVE": "0",
        "DATA_DIR": str(work / "ours"),
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
    }
    manage(environment, "migrate", "-v0")
    key = manage(environment, "create_api_key", "bench")
    with Process([PYTHON, "-m", "transcribe_project.server"], environment=environment) as server:
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        yield f"ws://127.0.0.1:{port}", key, server


if __name__ == "__main__":
    main()
