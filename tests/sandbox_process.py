"""Runs the sandbox as a process of its own on a free loopback port, for any test that needs a provider."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests import logged

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 10


class SandboxProcess:
    """`with SandboxProcess() as sandbox:` or start() and stop(); scripted unless another engine is named.

    `arguments` are further options of `python -m sandbox`. After a stop() it can be started again and keeps
    its address, so that tests can take a provider away and bring it back.
    """

    def __init__(self, *arguments: str, engine: str = "scripted", keys: Sequence[str] = ()) -> None:
        self._arguments = [*arguments, "--engine", engine]
        for key in keys:
            self._arguments += ["--key", key]
        self._process: subprocess.Popen[str] | None = None
        self._stderr: IO[str] | None = None
        self._errors = ""
        self._port = 0
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def websocket_url(self) -> str:
        return self.url.replace("http://", "ws://")

    def start(self) -> None:
        """Returns when it accepts requests. Raises RuntimeError with what it wrote if it does not start."""
        environment = os.environ | {"NO_PROXY": "127.0.0.1,localhost"}
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by stop()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--port", str(self._port), "--with-parent", *self._arguments],
            cwd=ROOT,
            env=environment,
            # Ends with us: it must not outlive a test run that was killed.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError(f"the sandbox did not start: {self.errors()}")
        self.url = line.split()[-1]
        self._port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Ends it gently, and by force if that takes long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process = None
        self._errors = self.errors()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self.stop()

    def errors(self) -> str:
        """What it wrote on standard error, in this run or the last."""
        if self._stderr is None:
            return self._errors
        self._stderr.seek(0)
        return self._stderr.read()

    def set_faults(self, *rules: dict[str, Any] | str) -> None:
        """Replaces the standing rules; a bare string is a fault for every request, no rules are no faults."""
        content = [{"fault": rule} if isinstance(rule, str) else rule for rule in rules]
        self._call("PUT", "/sandbox/faults", content)

    def faults(self) -> list[dict[str, Any]]:
        """The standing rules, with how many requests each `matched` and was `applied` to."""
        return self._call("GET", "/sandbox/faults")

    def requests(self) -> dict[str, Any]:
        """`total, active, peak, by_path, by_status, by_sha256, by_tag, recent` of `/v1/listen`."""
        return self._call("GET", "/sandbox/requests")

    def streams(self) -> dict[str, Any]:
        """`total, active, peak, recent` of live connections; docs/sandbox.md has the fields of an entry."""
        return self._call("GET", "/sandbox/streams")

    def set_noise(self, **noise: float) -> None:
        """Has live words misheard (`seed`, `substitutions`, `splits`, `shift`); without any, no longer."""
        self._call("PUT", "/sandbox/noise", noise or None)

    def set_transcript(self, text: str | None) -> None:
        """What the scripted engine says of every recording; None for its own words again."""
        if text:
            logged.spoken.add(text)
        self._call("PUT", "/sandbox/transcript", {"text": text})

    def reset(self) -> None:
        """Forgets faults, noise, requests, live connections and transcript."""
        if self.requests()["active"] or self.streams()["active"]:
            # Of another test: what is half open stays for an hour, one that is not read for ever.
            self.stop()
            self.start()
        self.set_faults()
        self.set_transcript(None)
        self.set_noise()
        self._call("DELETE", "/sandbox/requests")
        self._call("DELETE", "/sandbox/streams")

    def _call(self, method: str, path: str, content: object = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, data, method=method)  # noqa: S310
        # Never through a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None
