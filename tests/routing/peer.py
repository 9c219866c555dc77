"""A TCP server on loopback that a test scripts byte by byte, one thread per connection."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Connection:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, peer: "Peer") -> None:
        self.socket = sock
        self.stopped = peer.stopped
        self._peer = peer
        self._file = sock.makefile("rb")

    def read_head(self) -> Request | None:
        """The next request without its body; None if the client has gone."""
        line = self._file.readline()
        if not line:
            return None
        method, target, _ = line.decode().split()
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            assert name.lower() not in headers, f"header twice: {name}"
            headers[name.lower()] = value.strip()
        return Request(method, target, headers, b"")

    def read_request(self) -> Request | None:
        request = self.read_head()
        if request is None:
            return None
        length = int(request.headers.get("content-length", 0))
        request.body = self._file.read(length)
        if len(request.body) < length:
            # Whoever sent it was killed in the middle of it.
            return None
        self._peer.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, status: int = 200, body: bytes = b"{}", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def drip(self, text: bytes = b"a") -> None:
        """A byte every 10 ms until the client has gone or the test is over."""
        while not self.stopped.wait(0.01):
            self.send(text)

    def reset(self) -> None:
        """End with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@dataclass
class Peer:
    """`behave(connection)` is what each connection meets; it is closed afterwards."""

    behave: Callable[[Connection], None]
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, self.port))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                raw, sock = sock, self.tls.wrap_socket(sock, server_side=True)
                self._sockets[self._sockets.index(raw)] = sock
                stack.callback(sock.close)
            connection = Connection(sock, self)
            stack.callback(connection._file.close)
            self.behave(connection)


def answering(status: int = 200, body: bytes = b"{}", **headers: str) -> Callable[[Connection], None]:
    """Answers every request the same way, and keeps the connection."""

    def behave(connection: Connection) -> None:
        while connection.read_request():
            connection.answer(status, body, **headers)

    return behave


def silent(connection: Connection) -> None:
    """Takes a request and never answers."""
    connection.read_request()
    connection.stopped.wait()


def deaf(connection: Connection) -> None:
    """Never reads."""
    connection.stopped.wait()


def dripping_headers(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\nx: ")
    connection.drip()


def dripping_body(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    connection.drip()


def endless_informational(connection: Connection) -> None:
    connection.read_request()
    connection.drip(b"HTTP/1.1 103 Early Hints\r\n\r\n")
