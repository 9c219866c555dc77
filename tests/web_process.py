"""Runs the web server as a process of its own on a free loopback port."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Self

from tests import logged
from tests.conditions import PATIENCE
from tests.services.process import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30 * PATIENCE
STOP_SECONDS = 40 * PATIENCE


class WebProcess:
    """`python -m transcribe_project.server`, or any other `command` that serves at PORT."""

    def __init__(
        self, environment: Mapping[str, str], command: tuple[str, ...] = ("-m", "transcribe_project.server")
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, **environment, "PORT": str(self.port)}
        self.data_dir = self._environment["DATA_DIR"]
        self._command = [sys.executable, *command]
        self.process: subprocess.Popen[str] | None = None
        self.output = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it is alive. Raises RuntimeError with what it wrote if it is not in time."""
        self.process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        deadline = monotonic() + START_SECONDS
        while not self._is_alive():
            if self.process.poll() is not None or monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {self.stop()}")
            sleep(0.05)

    def stop(self) -> str:
        """End it gently, by force if that takes long; what it wrote."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.output, _ = self.process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.output, _ = self.process.communicate()
            self.process = None
            logged.look_at(self.output)
        return self.output

    def kill(self) -> None:
        """End it at once, with nothing said and nothing written."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _is_alive(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/healthz", timeout=1).close()  # noqa: S310 (ours)
        except OSError:
            return False
        return True
