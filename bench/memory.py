"""Peak memory of a worker that sends ten 1 GB recordings at once.

    python -m bench memory [BYTES_EACH]

The recordings are sparse files of PCM; the provider is the reference one, which reads every byte.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.batch import peers_in
from bench.processes import PYTHON, ROOT, Process, answers, until
from tests.services import PostgresServer, RedisServer
from tests.services.process import free_port

RESULTS = Path(__file__).parent / "results"
FILES = 10


def main() -> None:
    size = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[1] == "memory" else 1_000_000_000
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(PostgresServer())
        redis = stack.enter_context(RedisServer())
        port = free_port()
        stack.enter_context(Process(["node", "provider.js", str(port), "0"], cwd=peers_in(work)))
        environment = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": postgres.url,
            "DEEPGRAM_BASE_URL": f"http://127.0.0.1:{port}",
            "DEEPGRAM_API_KEY": "k",
            "DATA_DIR": str(work / "data"),
            "DJANGO_SETTINGS_MODULE": "transcribe_project.settings",
        }
        until(lambda: answers(f"http://127.0.0.1:{port}"))
        environ = {**os.environ, **environment}
        subprocess.run([PYTHON, "manage.py", "migrate", "-v0"], env=environ, cwd=ROOT, check=True)
        recording = work / "hours.wav"
        write_sparse_wav(recording, size)
        subprocess.run(
            [PYTHON, "-m", "bench.memory_jobs", str(recording), str(FILES)], env=environ, cwd=ROOT, check=True
        )
        command = [PYTHON, "-m", "celery", "-A", "transcribe_project", "worker", "--pool=threads"]
        command += ["--concurrency=10", "--without-gossip", "--without-mingle", "--loglevel=WARNING"]
        with Process(command, environment=environment) as worker:
            told = subprocess.run(
                [PYTHON, "-m", "bench.memory_jobs", "wait"],
                env=environ,
                cwd=ROOT,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            row = {"files": FILES, "bytes_each": size, "peak_mb": round(worker.peak / 1e6)} | json.loads(told)
    print(json.dumps(row))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "memory.json").write_text(json.dumps(row))


def write_sparse_wav(path: Path, size: int) -> None:
    """16 kHz mono PCM silence of `size` bytes that takes no room on the disk."""
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", size - 44),
    )
    with path.open("wb") as file:
        file.write(header)
        file.truncate(size)


if __name__ == "__main__":
    main()
