"""A web server on loopback that receives callbacks and serves files."""

import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers POST and PUT with the statuses in `statuses`, then with 200; GET with `files`, else 404."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.files: dict[str, bytes] = {}
        self._received: queue.Queue[Received] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver._received.put(Received(self.command, self.path, headers, body))
                self._answer(receiver.statuses.pop(0) if receiver.statuses else 200, b"")

            do_PUT = do_POST

            def do_GET(self) -> None:
                file = receiver.files.get(self.path)
                self._answer(404 if file is None else 200, file or b"")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next(self, timeout: float = 10) -> Received:
        """Raises queue.Empty when nothing comes."""
        return self._received.get(timeout=timeout)

    def is_silent_for(self, seconds: float) -> bool:
        try:
            self._received.get(timeout=seconds)
        except queue.Empty:
            return True
        return False
