"""The client's socket: read as fast as the session can take it, written to as fast as the client reads.

What waits to be sent is kept in order, and the session is told when that becomes much: it then leaves out
interims, and in the end closes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from streaming.refusals import Refused, refusal
from streaming.rules.events import ClientAudio, ClientBlocked, ClientFlowing, ClientGone, ClientText, Event
from streaming.websocket import EXTENSION, WebSocket

# Characters that wait here, beside some hundred kB in the server and the kernel: many seconds of results.
BLOCKED_AT = 64 * 1024
FAILING_SECONDS = 2.0
FAILED = "The session failed on our side. Begin a new one."


class Client:
    """An ASGI WebSocket. `read` and `write` run until it is closed; the other methods never wait.

    Where our own server serves it, messages are told and sent directly.
    """

    def __init__(self, scope: Any, receive: Any, send: Any, subprotocol: str | None) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._direct: WebSocket | None = (scope.get("extensions") or {}).get(EXTENSION)
        self._subprotocol = subprotocol
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._outbox: deque[dict[str, Any]] = deque()
        self._news = asyncio.Event()
        self._waiting = 0
        self._is_blocked = False
        self._is_gone = False
        self._happened: Callable[[Event], None] = lambda event: None

    def report_to(self, happened: Callable[[Event], None]) -> None:
        """Tell whatever happens here."""
        self._happened = happened

    @property
    def held_characters(self) -> int:
        """What waits to be sent."""
        return self._waiting

    async def read(self) -> None:
        if self._direct is not None:
            self._direct.listen(self._came)
            return
        while not self._is_gone:
            await self._may_read.wait()
            self._came(await self._receive())

    def _came(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.receive":
            data = message.get("bytes")
            self._happened(ClientText(message["text"]) if data is None else ClientAudio(data))
        elif not self._is_gone:
            self._is_gone = True
            self._news.set()
            self._happened(ClientGone())

    async def write(self) -> None:
        """Returns when the last has been sent (the close, or the refusal), or the client is gone."""
        while not self._is_gone:
            while self._outbox:
                message = self._outbox[0]
                try:
                    await self._send(message)
                except OSError:
                    # The server has noticed first (ASGI 2.4); read() is told next.
                    return
                # Not before: what comes meanwhile goes after it.
                self._outbox.popleft()
                self._waiting -= len(message.get("text", ""))
                if message["type"] in ("websocket.close", "websocket.http.response.body"):
                    return
            if self._is_blocked:
                self._is_blocked = False
                self._happened(ClientFlowing())
            self._news.clear()
            await self._news.wait()

    def accept(self, request_id: str) -> None:
        """`request_id`: empty if the provider named none."""
        headers = [(b"dg-request-id", (request_id or str(uuid4())).encode())]
        self._put({"type": "websocket.accept", "subprotocol": self._subprotocol, "headers": headers})

    def refuse(self, refused: Refused) -> None:
        for message in refusal(self._scope, refused):
            self._put(message)

    def deliver(self, text: str) -> None:
        if self._direct is not None and not self._outbox and self._direct.send_now(text):
            return
        self._put({"type": "websocket.send", "text": text})
        self._waiting += len(text)
        if self._waiting > BLOCKED_AT and not self._is_blocked:
            self._is_blocked = True
            # Not now: the session is in the middle of what made it send this.
            asyncio.get_running_loop().call_soon(self._happened, ClientBlocked())

    def close(self, code: int, reason: str = "") -> None:
        self._put({"type": "websocket.close", "code": code, "reason": reason})

    async def fail(self) -> None:
        """Close at once, since the session cannot go on."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(FAILING_SECONDS):
                await self._send({"type": "websocket.close", "code": 1011, "reason": FAILED})

    def pause(self) -> None:
        self._may_read.clear()
        if self._direct is not None:
            self._direct.pause()

    def resume(self) -> None:
        self._may_read.set()
        if self._direct is not None:
            self._direct.resume()

    def _put(self, message: dict[str, Any]) -> None:
        self._outbox.append(message)
        self._news.set()
