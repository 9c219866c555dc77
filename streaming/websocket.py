"""uvicorn's WebSocket, which can tell and send messages without a queue or a task between.

ASGI hands every message over through a queue to a task that waits, and stops and starts the reading of the
socket for it. That is most of what a proxy of small messages costs. Under another server than ours, and for
the handshake and the close, ASGI is used as it is (see streaming.client).
"""

from __future__ import annotations

from asyncio import Queue
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

EXTENSION = "transcribe.direct"
"""Where an ASGI scope's `extensions` hold the socket itself."""

# For the client to take what was sent to it, and to close as well.
CLOSING_SECONDS = 10.0

Told = Callable[[Any], None]


class WebSocket(WebSocketsSansIOProtocol):
    """A client's socket. It also lets go of clients that take nothing any more.

    A connection is closed once all that was written is sent, and to a client that has stopped reading, though
    its machine lives, that is never: neither would the application be told nor the memory be given back.
    """

    def listen(self, told: Told) -> None:
        """From now on tell ASGI's messages as they come, those that wait first. `told` must not raise."""
        waiting, self.queue = self.queue, _Told(told)
        if self.read_paused:
            self.transport.resume_reading()
        # From now on reading is for pause() to stop, and not for each message.
        self.read_paused = True
        while not waiting.empty():
            told(waiting.get_nowait())

    def send_now(self, text: str) -> bool:
        """Send text, unless it would have to wait, or cannot be sent any more: then False."""
        if not self.writable.is_set() or self.close_sent or self.disconnected:
            return False
        try:
            self.conn.send_text(text.encode())
        except InvalidState:
            return False
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True

    def pause(self) -> None:
        self.transport.pause_reading()

    def resume(self) -> None:
        self.transport.resume_reading()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            # A refusal is an answer: uvicorn (0.54) takes it for none, and reports an error of ours.
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        self.scope["extensions"][EXTENSION] = self  # type: ignore[assignment]
        await super().run_asgi()
        # What it holds on to holds on to it: the garbage collector comes seldom.
        self.queue = Queue()
        del self.scope["extensions"][EXTENSION]
        self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # It holds on to itself, and to what has come and was not read.
        self.conn.parser.close()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()


class _Told(Queue[Any]):
    """Of which nothing is got: what is put is told."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def put_nowait(self, item: Any) -> None:
        self._told(item)
