"""Our server in a thread of the test's own process, where the test's settings and database hold."""

import asyncio
import threading

from django.db import connections

from tests.conditions import wait_until
from transcribe_project.server import Server, listen


class ServerThread:
    """`url` is that of its WebSockets, `http_url` that of everything else."""

    def __init__(self) -> None:
        self._listening = listen("127.0.0.1", 0)
        self.port = self._listening.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        self.http_url = f"http://127.0.0.1:{self.port}"
        self._server = Server(lambda: None)
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._server.started)

    def ping_every(self, seconds: float) -> None:
        """WebSockets that are opened from now on; who does not answer within as much again is gone."""
        self._server.config.ws_ping_interval = self._server.config.ws_ping_timeout = seconds

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listening]))
        connections.close_all()
