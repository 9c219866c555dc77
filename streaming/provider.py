"""The provider's socket: opened, refused, sent to. Raw text, and no wait where nothing has to be waited for.

The SDK's client for this parses every message into models, which alone doubles the cost of a proxy, and
neither reconnects nor keeps alive. It is the judge in the tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import cast
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import Event
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from routing import tracing
from routing.backoff import parse_retry_after
from routing.metrics import CALLS
from routing.provider import MAX_REQUEST_ID, code_of, fit_to_tell
from routing.regions import Region

OPEN_SECONDS = 5.0
PING_SECONDS = 10.0
CLOSE_SECONDS = 2.0
MAX_MESSAGE_BYTES = 4 << 20
# Of a provider that reads nothing: some seconds of audio. The connection is given up then.
MAX_UNSENT_BYTES = 256 * 1024


class NotOpened(Exception):
    """The provider's handshake failed. `status` is None if there was no HTTP answer; `message` is its own."""

    def __init__(self, status: int | None, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


class Socket(ClientConnection):
    """websockets', which can tell text as it comes, without a queue or a task between."""

    _told: Callable[[str], None] | None = None

    async def tell(self, told: Callable[[str], None]) -> None:
        """Tell text messages in their order until the connection is closed. `told` must not raise."""
        # What came before this, and what comes in fragments or is no text, takes the library's own way.
        self._told = told
        with suppress(ConnectionClosed):
            async for message in self:
                if isinstance(message, str):
                    told(message)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # It holds on to itself: the garbage collector comes seldom.
        self.protocol.parser.close()

    def process_event(self, event: Event) -> None:
        if (
            self._told is not None
            and isinstance(event, Frame)
            and event.opcode is Opcode.TEXT
            and event.fin
            and not self.recv_messages.frames
        ):
            try:
                text = str(event.data, "utf-8")
            except UnicodeDecodeError:
                pass  # for the library to close with 1007
            else:
                self._told(text)
                return
        super().process_event(event)


async def opened(region: Region, query: list[tuple[str, str]]) -> Socket:
    """A live socket of the region's provider; NotOpened."""
    tracing.tell(**{"server.address": urlsplit(region.live_url).hostname})
    try:
        socket = await _connected(region, query)
    except NotOpened as error:
        outcome = "provider_unreachable" if error.status is None else code_of(error.status)
        CALLS.labels(region.name, "live", outcome).inc()
        raise
    CALLS.labels(region.name, "live", "ok").inc()
    return socket


async def _connected(region: Region, query: list[tuple[str, str]]) -> Socket:
    try:
        socket = await connect(
            f"{region.live_url.rstrip('/')}/v1/listen?{urlencode(query)}",
            additional_headers={"Authorization": f"Token {region.api_key}"},
            compression=None,
            proxy=_proxy(region.live_url),
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            max_size=MAX_MESSAGE_BYTES,
            create_connection=Socket,
        )
    except InvalidStatus as error:
        raise _refused(error, region.api_key) from None
    except (OSError, WebSocketException, TimeoutError) as error:
        raise NotOpened(None, type(error).__name__) from None
    return cast(Socket, socket)


@cache
def _proxy(url: str) -> str | None:
    """As the environment has it, which is gone through once and not for each connection."""
    return get_proxy(parse_uri(url))


def request_id(socket: ClientConnection) -> str:
    """The provider's `dg-request-id`; empty if it gave none."""
    return socket.response.headers.get("dg-request-id", "")[:MAX_REQUEST_ID] if socket.response else ""


def send(socket: ClientConnection, data: bytes | str) -> None:
    """Send without waiting; what is closed, or reads nothing and so is closed now, is sent nothing."""
    if socket.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
        socket.transport.abort()
    else:
        # websockets has no other call that never waits.
        broadcast((socket,), data)


def _refused(error: InvalidStatus, api_key: str) -> NotOpened:
    response = error.response
    try:
        said = json.loads(response.body)
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    message = said.get("err_msg") or said.get("message") or response.headers.get("dg-error", "")
    after = parse_retry_after(response.headers.get("retry-after"))
    return NotOpened(response.status_code, fit_to_tell(str(message), api_key), after)
