"""Synchronous HTTP under a total deadline, and guarded against calling internal addresses.

httpx's timeouts are per phase: a server that sends one byte per second keeps a call open for ever
(measured). Here every call runs inside a `Call`, whose deadline covers name lookup, connect, TLS handshake
and every read and write together, and which another thread may abort:

    with Call(15.0):
        response = client.post(url, content=body)

Errors that leave a client made here:

    ForbiddenURL                  the guard refused it; nothing was sent (routing.addresses)
    CallInterrupted
      DeadlineExceeded            the call's time was up
      CallAborted                 another thread called `abort()`
    ResponseTooLarge              `read_limited` met more than it was told to read
    httpx.TransportError          as from any httpx client
    httpx.InvalidURL              not an httpx.HTTPError; `check_url` beforehand finds most of them

Kept-alive connections are pooled per client by scheme, host and port. Reusing one does not look the name
up again: it goes to the very address that was checked when it was opened, and ends `KEEPALIVE_SECONDS`
after its last use, so a name that moved is noticed by then.
"""

import contextlib
import functools
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, cast

import httpcore
import httpx

from .addresses import ForbiddenURL, check_url, is_dialled

CONNECT_SECONDS = 5.0
# uvicorn and many proxies close an idle connection after 5 s: be first, so that no request meets the close.
KEEPALIVE_SECONDS = 4.0
MAX_REDIRECTS = 3

Resolver = Callable[[str, int], Sequence[str]]
"""(host, port) -> addresses, best first; raises OSError. May block: it runs in a thread of its own."""


class CallInterrupted(Exception):
    """We ended the call, not the network or the peer."""


class DeadlineExceeded(CallInterrupted):
    """The call took longer than it was given in all."""


class CallAborted(CallInterrupted):
    """Another thread ended the call."""


class ResponseTooLarge(Exception):
    """The body is longer than the caller wants to hold."""


class Call:
    """One or several HTTP exchanges that share a deadline, `seconds` from construction.

    A context manager: exchanges within it, in this thread, are bound to it (the innermost, where calls are
    nested). Not to be entered by two threads at once; `abort()` is for other threads. What a body's
    iterator or a reader of the response does between reads and writes is not interrupted, only followed
    by the error.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._interrupt: Callable[[], None] | None = None
        self._outer: list[Call | None] = []
        self.aborted = False

    def abort(self) -> None:
        """Wake the thread that waits for the network in this call: it raises `CallAborted`.

        Idempotent. Before the call it prevents it; after the call it does nothing, least of all to a
        connection that has gone back to the pool.
        """
        with self._lock:
            self.aborted = True
            if self._interrupt is not None:
                self._interrupt()

    def remaining(self) -> float:
        """Seconds left; raises `CallAborted` or `DeadlineExceeded` if the call is over."""
        if self.aborted:
            raise CallAborted("the call was aborted")
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded("the call took longer than it was given")
        return seconds

    @contextlib.contextmanager
    def blocking(self, interrupt: Callable[[], None]) -> Iterator[float]:
        """Around one operation that may block, and that `interrupt` (brief, any thread) makes return.

        Yields the seconds it may take.
        """
        with self._lock:
            seconds = self.remaining()
            self._interrupt = interrupt
        try:
            yield seconds
        finally:
            with self._lock:
                self._interrupt = None
        if self.aborted:  # the operation may look successful: a socket shut down reads as end of file
            raise CallAborted("the call was aborted")

    def part(self, seconds: float) -> "Call":
        """A call within this one, of `seconds` at most: it is over when this one is, and aborted with it."""
        return _Part(self, seconds)

    def __enter__(self) -> Self:
        self._outer.append(_current.get())
        _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.set(self._outer.pop())


class _Part(Call):
    def __init__(self, whole: Call, seconds: float) -> None:
        super().__init__(seconds)
        self._whole = whole

    def remaining(self) -> float:
        return min(self._whole.remaining(), super().remaining())

    @contextlib.contextmanager
    def blocking(self, interrupt: Callable[[], None]) -> Iterator[float]:
        with self._whole.blocking(interrupt), super().blocking(interrupt) as seconds:
            yield seconds


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call:
    """The call this thread is in. RuntimeError if none: nothing here talks to the network unbounded."""
    call = _current.get()
    if call is None:
        raise RuntimeError("HTTP outside a Call: wrap it in `with Call(seconds):`")
    return call


def guarded_client(
    *,
    allow_private: bool,
    allow_http: bool | None = None,
    resolve: Resolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> httpx.Client:
    """A client for addresses that users chose: webhooks, callbacks, audio to fetch.

    Thread-safe, made once and kept. Every request, also each hop of a redirect, passes `check_url` and is
    dialled at an address that was checked. Redirects are followed only if a request asks for it, and then
    at most `MAX_REDIRECTS`. No proxy, no netrc, no cookies, no compressed answers. `allow_http` follows
    `allow_private` unless given.
    """
    transport = GuardedTransport(
        allow_private=allow_private,
        allow_http=allow_private if allow_http is None else allow_http,
        resolve=resolve or resolve_by_system,
        ssl_context=ssl_context,
    )
    return client_over(transport, read_seconds=30.0)


def client_over(transport: httpx.BaseTransport, *, read_seconds: float) -> httpx.Client:
    """An httpx client that adds nothing of its own to a transport: no environment, redirects, cookies."""
    return httpx.Client(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        max_redirects=MAX_REDIRECTS,
        timeout=httpx.Timeout(connect=CONNECT_SECONDS, read=read_seconds, write=30.0, pool=None),
        # Asked for plain bytes, a body is as long in memory as on the wire.
        headers={"accept-encoding": "identity"},
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
    )


def read_limited(response: httpx.Response, max_bytes: int) -> bytes:
    """The body of a streamed response as it was sent. Raises `ResponseTooLarge` beyond `max_bytes`.

    Whoever opened the stream still closes it; closed before its end, its connection is not reused.
    """
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_raw():
        size += len(chunk)
        if size > max_bytes:
            raise ResponseTooLarge(f"the response is longer than {max_bytes} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def peer_address(response: httpx.Response) -> str | None:
    """The IP address that answered, for logs."""
    stream = response.extensions.get("network_stream")
    return stream.get_extra_info("server_addr") if stream is not None else None


def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """The addresses of a name as the operating system finds them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class DeadlineTransport(httpx.BaseTransport):
    """HTTP/1.1 with keep-alive, bound to the current `Call`. Thread-safe; connections are not limited."""

    def __init__(
        self,
        *,
        resolve: Resolver = resolve_by_system,
        admit: Callable[[str], bool] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context or _ssl_context(),
            # Waiting for a free connection could not be aborted. Callers bound their concurrency.
            max_connections=None,
            max_keepalive_connections=32,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=_Backend(resolve, admit),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with _as_httpx_errors():
            response = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=cast(httpx.SyncByteStream, request.stream),
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(cast(Iterable[bytes], response.stream)),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class GuardedTransport(DeadlineTransport):
    """Calls only what `check_url` and `is_dialled` allow; see `guarded_client`.

    A name is looked up once per connection. If any of its addresses is not public, none is dialled: a
    name that mixes them is an attack or a mistake.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        allow_http: bool,
        resolve: Resolver = resolve_by_system,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        admit = functools.partial(is_dialled, allow_private=allow_private)
        super().__init__(resolve=resolve, admit=admit, ssl_context=ssl_context)
        self._allow_private = allow_private
        self._allow_http = allow_http

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        check_url(str(request.url), allow_private=self._allow_private, allow_http=self._allow_http)
        return super().handle_request(request)


class _Backend(httpcore.NetworkBackend):
    """Opens connections for httpcore: looks up, checks, dials what was checked."""

    def __init__(self, resolve: Resolver, admit: Callable[[str], bool] | None) -> None:
        self._resolve = resolve
        self._admit = admit

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = [host] if _is_literal(host) else self._look_up(host, port)
        if self._admit is not None and not all(self._admit(address) for address in addresses):
            raise ForbiddenURL("url_address", "The URL leads to a private address.")
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return _dial(address, port, timeout)
        return _dial(addresses[-1], port, timeout)

    def _look_up(self, host: str, port: int) -> Sequence[str]:
        """getaddrinfo knows no timeout and cannot be woken, so a thread waits for it in our place.

        When the call ends first, the thread stays until the system's resolver gives up (30 s or so).
        """
        call = current_call()
        answer: list[Sequence[str] | OSError] = []
        settled = threading.Event()

        def look_up() -> None:
            try:
                answer.append(self._resolve(host, port))
            except OSError as error:
                answer.append(error)
            finally:
                settled.set()

        with call.blocking(settled.set) as seconds:
            threading.Thread(target=look_up, name=f"lookup-{host}", daemon=True).start()
            settled.wait(seconds)
        call.remaining()
        found = answer[0] if answer else OSError("the lookup failed")
        if isinstance(found, OSError) or not found:
            raise httpcore.ConnectError(f"cannot resolve {host}: {found or 'no address'}")
        return found


class _Stream(httpcore.NetworkStream):
    """A connected socket, each operation of which is bound to the call current at that moment."""

    def __init__(self, connection: socket.socket, address: str) -> None:
        self._socket = connection
        self._address = address

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _bounded(self._socket, timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        unsent = memoryview(buffer)
        while unsent:
            with _bounded(self._socket, timeout, httpcore.WriteTimeout, httpcore.WriteError):
                sent = self._socket.send(unsent)
            unsent = unsent[sent:]

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured: socket.socket = self._socket
        try:
            with _bounded(self._socket, timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
                # The handshake apart, since only the wrapped socket can be interrupted in it.
                secured = wrapped = ssl_context.wrap_socket(
                    self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
                )
            with _bounded(wrapped, timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
                wrapped.do_handshake()
        except BaseException:
            secured.close()
            raise
        return _Stream(wrapped, self._address)

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "server_addr":
                return self._address
            case "ssl_object" if isinstance(self._socket, ssl.SSLSocket):
                return self._socket
            case "is_readable":  # an idle connection that has something to read has been closed
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                return bool(poll.poll(0))
        return None


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_errors():
            yield from self._stream

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


def _dial(address: str, port: int, timeout: float | None) -> _Stream:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A provider may think for minutes: keep the path open through NATs, and notice a dead peer.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        with _bounded(connection, timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
            connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return _Stream(connection, address)


@contextlib.contextmanager
def _bounded(
    connection: socket.socket, timeout: float | None, timed_out: type[Exception], failed: type[Exception]
) -> Iterator[None]:
    """Around one blocking operation of a socket, ended by the phase's timeout or the call's deadline."""
    call = current_call()
    try:
        with call.blocking(functools.partial(_shut_down, connection)) as seconds:
            connection.settimeout(seconds if timeout is None else min(seconds, timeout))
            yield
    except OSError as error:
        call.remaining()  # raises what we did, if we did it: an interrupted operation fails in many ways
        raise (timed_out if isinstance(error, TimeoutError) else failed)(str(error)) from error


def _shut_down(connection: socket.socket) -> None:
    # Not SSLSocket.shutdown, which takes the TLS layer away from under the thread that reads from it.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


_HTTPX_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
}
_HTTPCORE_ERRORS = tuple(_HTTPX_ERRORS)


@contextlib.contextmanager
def _as_httpx_errors() -> Iterator[None]:
    try:
        yield
    except _HTTPCORE_ERRORS as error:
        raise _HTTPX_ERRORS[type(error)](str(error)) from error


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """One for the process: loading the certificate authorities takes 15 ms. SSL_CERT_FILE is honoured."""
    return httpx.create_ssl_context()
