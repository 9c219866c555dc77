"""A server process of our own: started when it answers, never left behind."""

import errno
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests import logged
from tests.conditions import PATIENCE

START_TIMEOUT = 30.0 * PATIENCE
STOP_TIMEOUT = 20.0 * PATIENCE
PORT_ATTEMPTS = 5

# Below the range from which the kernel takes the ports of outgoing connections (32768 and up on Linux,
# 49152 and up on macOS). Within it, a client that keeps calling a stopped server can be given that very
# port and connect to itself, or another process can take it before the server is back.
PORTS = range(20_000, 32_000)

# Waits for the end of its standard input, which comes when the process at the other end of the pipe is
# gone, in whatever way. Then it stops the server and removes its directory.
LIFELINE = 'read -r _; kill -CONT "$2"; kill -"$1" "$2"; sleep 1; kill -KILL "$2"; rm -rf "$3"'


class ServerFailed(Exception):
    """A server did not start or stop in time; the message ends with the last lines of its log."""


def free_port() -> int:
    """A loopback TCP port nobody listens on now. Another process may take it before you do."""
    while True:
        # Not `random`, which pytest-randomly seeds alike in every worker.
        port = secrets.choice(PORTS)
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


class Server(ABC):
    """One server process at one address, `port` on 127.0.0.1, kept over restarts.

    Its directory is made at the first start and removed by `close`. Not safe for use by several threads
    at once.
    """

    prefix: str
    stop_signal = signal.SIGTERM
    # The account to run under, where the server refuses to be root.
    account: str | None = None

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        # Fixed once a client may know the address; until then a port lost to another can be changed.
        self._port_is_fixed = port is not None
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address clients are given."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments; it must stay in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether a client is served now, by this process and not by a stranger on its port."""

    @property
    def directory(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix=f"{self.prefix}-"))
            if self.account:
                shutil.chown(self._directory, self.account)
        return self._directory

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def pid(self) -> int:
        """The server's process id. Raises ServerFailed when it is not running."""
        if not self.running or self._process is None:
            raise ServerFailed(f"{self.prefix} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return when the server answers. Does nothing when it runs. Raises ServerFailed, ProgramMissing."""
        if self.running:
            return
        for _ in range(1 if self._port_is_fixed else PORT_ATTEMPTS):
            self._spawn()
            if self._wait_for_answer():
                self._port_is_fixed = True
                return
            self.kill()
            if not self._port_is_fixed:
                self.port = free_port()
        raise ServerFailed(f"{self.prefix} did not start on port {self.port}:\n{self._end_of_log()}")

    def stop(self) -> None:
        """Ask it to stop, and wait until it has; killed when that takes too long."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """SIGKILL, as a power cut for the server alone; what it had written to files survives."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers, as with a half-open network."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its data."""
        self._end(self.stop_signal)
        if self._directory is not None:
            if self.log.exists():
                logged.look_at(self.log.read_text(errors="replace"))
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _spawn(self) -> None:
        command = self.command()
        directory = self.directory
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the tests, which stop their servers themselves.
                start_new_session=True,
                **self._credentials(),
            )
        arguments = (str(int(self.stop_signal)), str(self._process.pid), directory)
        self._lifeline = subprocess.Popen(
            ["sh", "-c", LIFELINE, "lifeline", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _credentials(self) -> dict[str, Any]:
        return {"user": self.account, "group": self.account, "extra_groups": []} if self.account else {}

    def _wait_for_answer(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT
        while self.running and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(0.02)
        return False

    def _end(self, how: signal.Signals) -> None:
        if self.running:
            self.resume()
            os.kill(self.pid, how)
        self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            try:
                self._process.wait(STOP_TIMEOUT if self.running else None)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lifeline is not None:
            # Before its pipe is closed, which would have it kill a process id that is no longer ours.
            self._lifeline.kill()
            self._lifeline.communicate()
            self._lifeline = None

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:]) if self.log.exists() else ""
