"""The sandbox as a child process, where no key of Deepgram's is at hand."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from time import monotonic

from django.conf import settings

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
RESTART_SECONDS = 1.0
STOP_SECONDS = 5.0


class SandboxChild:
    """Keeps `python -m sandbox` running at SANDBOX_PORT until `stop`.

    In a session of its own, so that Ctrl-C in the terminal is for us alone: the sandbox is to answer until
    what runs here has ended. It ends with its parent, however that ends.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._process = self._spawn()
        threading.Thread(target=self._keep, name="sandbox", daemon=True).start()

    def wait_until_ready(self) -> bool:
        """Whether it accepts connections, within a minute."""
        deadline = monotonic() + START_SECONDS
        while monotonic() < deadline and not self._stopping.wait(0.05):
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", settings.SANDBOX_PORT)) == 0:
                    return True
        return False

    def stop(self) -> None:
        self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-m", "sandbox", "--port", str(settings.SANDBOX_PORT), "--with-parent"],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _keep(self) -> None:
        while not self._stopping.is_set():
            code = self._process.wait()
            if not self._stopping.wait(RESTART_SECONDS):
                logger.warning("The sandbox ended with %d and is started again.", code)
                self._process = self._spawn()
