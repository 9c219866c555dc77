"""The WebSocket of a live connection, on which an audio message costs as little as it can.

uvicorn's way of a message (a parser of generators, a queue, the waking of a task) costs more than hearing it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # compiled, where it is

WHOLE_BINARY = 0x82
"""The first byte of a binary message in one frame (RFC 6455, section 5.2)."""


class AudioSocket(WebSocketsSansIOProtocol):
    """Gives binary messages to `on_audio` at once, unless others wait before them; the rest is uvicorn's.

    Only whole frames are handed on, so that uvicorn's parser is never in the middle of one.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "socket": self}, _loop)
        self.on_audio: Callable[[bytes], None] | None = None
        self._incomplete = b""

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated or self.conn.parser_exc is not None:
            super().data_received(data)
            return
        data = self._incomplete + data
        while frame := self._first_frame(data):
            size, head = frame
            if data[0] == WHOLE_BINARY and size > head and self.on_audio is not None and self.queue.empty():
                self.on_audio(apply_mask(data[head:size], data[head - 4 : head]))
            else:
                super().data_received(data[:size])
            data = data[size:]
        self._incomplete = data

    def _first_frame(self, data: bytes) -> tuple[int, int] | None:
        """The size of the first frame and of its head; None while it is not whole."""
        if len(data) < 2:
            return None
        length, head = data[1] & 0x7F, 2
        if length > 125:
            head = 4 if length == 126 else 10
            if len(data) < head:
                return None
            length = int.from_bytes(data[2:head])
        if length > self.config.ws_max_size or not data[1] & 0x80:
            return len(data), len(data)  # For the parser to refuse.
        head += 4
        return (head + length, head) if len(data) >= head + length else None

    def tell(self, message: dict[str, Any]) -> None:
        """Puts a message of our own among those that receive() gives."""
        self.queue.put_nowait(message)  # type: ignore[arg-type]
