"""The audit of dependencies, against a database of vulnerabilities on loopback."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.environment import ROOT
from tests.services.process import free_port


@pytest.fixture
def osv() -> Iterator[ThreadingHTTPServer]:
    """Speaks as OSV does (google.github.io/osv.dev/post-v1-query), and knows one vulnerable package."""

    class Database(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["package"]["name"]
            self.server.asked.add(asked)
            found = {"id": "OSV-1", "affected": [], "modified": "2026-01-01T00:00:00Z"}
            body = json.dumps({"vulns": [found]} if asked == self.server.vulnerable else {}).encode()
            status, said = self.server.instead or (200, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        server.asked, server.vulnerable, server.instead = set(), "", None
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def audit(port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [".ci/audit"],
        cwd=ROOT,
        env=os.environ | {"OSV_URL": f"http://127.0.0.1:{port}/v1/query", "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
    )


def test_everything_pinned_is_asked_about(osv):
    result = audit(osv.server_port)

    assert result.returncode == 0
    assert result.stdout.endswith("No known vulnerabilities found\n")
    assert {"django", "celery", "cryptography", "uvicorn", "websockets", "av"} <= osv.asked
    assert len(osv.asked) > 100


def test_a_vulnerable_package_fails_the_audit_and_is_named(osv):
    osv.vulnerable = "celery"

    result = audit(osv.server_port)

    assert result.returncode == 1
    assert "celery" in result.stdout
    assert "OSV-1" in result.stdout


def test_a_database_that_cannot_be_reached_is_told_and_fails_nothing():
    result = audit(free_port())

    assert result.returncode == 0
    assert result.stdout.startswith("NOT AUDITED, since")


def test_a_database_that_is_out_of_order_is_told_and_fails_nothing(osv):
    osv.instead = (503, b"")

    result = audit(osv.server_port)

    assert result.returncode == 0
    assert result.stdout.startswith("NOT AUDITED, since")


@pytest.mark.parametrize("instead", [(200, b"no JSON"), (404, b"")])
def test_what_cannot_be_told_fails_the_audit(osv, instead):
    osv.instead = instead

    assert audit(osv.server_port).returncode != 0
