"""Between a client's socket and the provider's.

Everything that happens is handled to its end where it happens, without waiting: the event loop is the one
inbox, so there are no locks and no task per message. What cannot be sent at once is kept, within bounds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from streaming import provider


class Relay:
    """One client, and one provider's socket."""

    def __init__(self, upstream: ClientConnection, send: Any) -> None:
        self._upstream = upstream
        self._send = send
        self._outbox: deque[dict[str, Any]] = deque()
        self._something_to_deliver = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._listen()), loop.create_task(self._deliver())]

    def heard(self, data: bytes | str) -> None:
        """The client has sent this."""
        provider.send(self._upstream, data)

    async def end(self) -> None:
        """The client has left: close what is open."""
        provider.send(self._upstream, '{"type":"CloseStream"}')
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, self._upstream.close(), return_exceptions=True)

    async def _listen(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self._upstream:
                self._to_client({"type": "websocket.send", "text": message})
        code, reason = self._upstream.close_code or 1006, self._upstream.close_reason or ""
        # Nobody may send 1006 (RFC 6455, 7.4.1).
        self._to_client({"type": "websocket.close", "code": 1011 if code == 1006 else code, "reason": reason})

    def _to_client(self, message: dict[str, Any]) -> None:
        self._outbox.append(message)
        self._something_to_deliver.set()

    async def _deliver(self) -> None:
        while True:
            await self._something_to_deliver.wait()
            self._something_to_deliver.clear()
            while self._outbox:
                await self._send(self._outbox.popleft())
