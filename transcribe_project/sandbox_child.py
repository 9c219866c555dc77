"""The sandbox as a child process, where no key of Deepgram's is at hand."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from time import monotonic

from django.conf import settings
from django.core.management.base import CommandError

from transcribe_project.server import listen

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_SECONDS = 60.0
RESTART_SECONDS = 1.0
STOP_SECONDS = 5.0


class SandboxChild:
    """Keeps `python -m sandbox` running at SANDBOX_PORT until `stop`.

    In a session of its own, so that Ctrl-C in the terminal is for us alone: the sandbox is to answer until
    what runs here has ended. It ends with its parent, however that ends.

    The socket is ours, and handed on to each child: nobody else can listen there and be sent recordings.
    CommandError if somebody does already.
    """

    def __init__(self) -> None:
        try:
            self._listening = listen(HOST, settings.SANDBOX_PORT)
        except OSError as error:
            raise CommandError(
                f"Port {settings.SANDBOX_PORT}, for the sandbox, cannot be used ({error.strerror}). "
                "Choose another: SANDBOX_PORT=9001"
            ) from None
        self._stopping = threading.Event()
        self._process = self._spawn()
        threading.Thread(target=self._keep, name="sandbox", daemon=True).start()

    def wait_until_ready(self) -> None:
        """Until it answers, for a minute (CommandError). It accepts before, since the socket is there."""
        deadline = monotonic() + START_SECONDS
        while monotonic() < deadline and not self._stopping.wait(0.05):
            asking = HTTPConnection(HOST, settings.SANDBOX_PORT, timeout=START_SECONDS)
            with closing(asking), suppress(OSError, HTTPException):
                asking.request("GET", "/sandbox/requests")
                asking.getresponse()
                return
        raise CommandError(f"The sandbox does not answer after {START_SECONDS:.0f} s; its log is above.")

    def stop(self) -> None:
        self._stopping.set()
        with self._listening, self._process as child:
            child.terminate()
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-m", "sandbox", "--fd", str(self._listening.fileno()), "--with-parent"],
            cwd=settings.BASE_DIR,
            stdin=subprocess.PIPE,
            # Where it listens is known, and standard output is for results.
            stdout=subprocess.DEVNULL,
            pass_fds=[self._listening.fileno()],
            start_new_session=True,
        )

    def _keep(self) -> None:
        while not self._stopping.is_set():
            code = self._process.wait()
            if not self._stopping.wait(RESTART_SECONDS):
                logger.warning("The sandbox ended with %d and is started again.", code)
                self._process = self._spawn()
