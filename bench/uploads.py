"""Memory of the web process, and what others wait, while very large recordings are uploaded to it.

    python -m bench uploads [BYTES]

One of 1 GB and one of 2 GB, each as the body and in a form, then ten of the larger at once, half of them in
forms. Somebody else asks for /healthz all the while, 20 times a second.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep

from bench.memory import write_sparse_wav
from bench.processes import PYTHON, Process, answers, manage, until
from tests.services import PostgresServer, RedisServer
from tests.services.process import free_port

RESULTS = Path(__file__).parent / "results"
AT_ONCE = 10
ASKED_EVERY_SECONDS = 0.05
FORM_BEGINS = (
    b'--x\r\nContent-Disposition: form-data; name="mode"\r\n\r\nasync\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="hours.wav"\r\n\r\n'
)
FORM_ENDS = b"\r\n--x--\r\n"


def main() -> None:
    largest = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[1] == "uploads" else 2_000_000_000
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(PostgresServer())
        redis = stack.enter_context(RedisServer())
        port = free_port()
        environment = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": postgres.url,
            "DEEPGRAM_API_KEY": "k",
            "DATA_DIR": str(work / "data"),
            "DJANGO_SETTINGS_MODULE": "transcribe_project.settings",
        }
        manage(environment, "migrate", "-v0")
        key = manage(environment, "create_api_key", "bench")
        rows = []
        for size in (largest // 2, largest):
            recording = work / f"{size}.wav"
            write_sparse_wav(recording, size)
            for forms in ([False], [True]):
                rows.append(measured(environment, port, key, recording, forms))
        rows.append(measured(environment, port, key, recording, [bool(n % 2) for n in range(AT_ONCE)]))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "uploads.json").write_text(json.dumps(rows, indent=1))


def measured(
    environment: dict[str, str], port: int, key: str, recording: Path, forms: list[bool]
) -> dict[str, object]:
    """Upload the recording once for each of `forms`, in a form or as the body, all at once."""
    statuses: list[int] = []
    command = [PYTHON, "-m", "transcribe_project.server", "--port", str(port)]
    with Process(command, environment=environment) as web:
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        cpu, begun = web.cpu, monotonic()
        senders = [
            threading.Thread(target=lambda form=form: statuses.append(upload(port, key, recording, form)))
            for form in forms
        ]
        for sender in senders:
            sender.start()
        waits = asked_meanwhile(port, senders)
        size = recording.stat().st_size * len(forms)
        row: dict[str, object] = {
            "uploads": len(forms),
            "in_forms": sum(forms),
            "bytes_each": recording.stat().st_size,
            "statuses": statuses,
            "seconds": round(monotonic() - begun, 1),
            "peak_mb": round(web.peak / 1e6),
            "cpu_seconds_per_gb": round((web.cpu - cpu) / (size / 1e9), 2),
            "healthz_ms": {
                "p50": round(1000 * waits[len(waits) // 2], 1),
                "p99": round(1000 * waits[int(len(waits) * 0.99)], 1),
                "worst": round(1000 * waits[-1], 1),
            },
        }
    print(json.dumps(row), flush=True)
    return row


def upload(port: int, key: str, recording: Path, in_form: bool) -> int:
    """The status that it was answered with."""
    begins, ends = (FORM_BEGINS, FORM_ENDS) if in_form else (b"", b"")
    kind = "multipart/form-data; boundary=x" if in_form else "audio/wav"
    length = len(begins) + recording.stat().st_size + len(ends)
    head = (
        f"POST /api/v1/jobs/{'' if in_form else '?mode=async'} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Token {key}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection, recording.open("rb") as file:
        connection.sendall(head.encode() + begins)
        connection.sendfile(file)
        connection.sendall(ends)
        return int(connection.recv(65536).split()[1])


def asked_meanwhile(port: int, senders: list[threading.Thread]) -> list[float]:
    """How long somebody waited each time, in seconds, sorted."""
    waits = []
    connection = HTTPConnection("127.0.0.1", port)
    while any(sender.is_alive() for sender in senders):
        begun = monotonic()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        waits.append(monotonic() - begun)
        sleep(ASKED_EVERY_SECONDS)
    connection.close()
    return sorted(waits)


if __name__ == "__main__":
    main()
