"""A request's body that stays in the connection until somebody reads it.

Django's ASGI handler stores a whole body before any view runs: who has no key, or sends too much, would be
told after the last byte, and what is wanted would be written twice. Here the request's own thread draws a
large body through a buffer, at its own speed, so that what a view refuses at the header is never received.

    event loop: feed() -> at most BUFFERED_BYTES -> request's thread: readinto()
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

from django.core.exceptions import RequestAborted

from jobs.database_pool import give_back

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

# A smaller body has mostly come with its header, and is there before the view begins.
LARGE_BYTES = 64 * 1024
BUFFERED_BYTES = 1 << 20
READ_BYTES = 1 << 18
SILENCE_SECONDS = 30.0
# How long who was refused may go on sending, to read the answer when it is done. A connection that is closed
# on somebody who sends is reset, and the answer with it.
DRAIN_SECONDS = 2.0


def is_large(scope: Message) -> bool:
    """Whether a body is announced that is large, or as long as it takes (in chunks)."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    return b"transfer-encoding" in headers or (length.isdigit() and int(length) > LARGE_BYTES)


class Body(io.RawIOBase):
    """The body of one request: a file for its own thread, and the rest for the event loop."""

    def __init__(self, scope: Message, receive: Receive) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._waits_for_continue = dict(scope["headers"]).get(b"expect", b"").lower() == b"100-continue"
        self._room = asyncio.Event()
        self._over = asyncio.Event()
        self._changed = threading.Condition()
        self._parts: deque[bytes] = deque()
        self._buffered = 0
        self._wanted = 0
        self._paused = True
        self._ended = self._left = self._discards = False

    def as_file(self) -> io.BufferedReader:
        """As Django reads it, in larger pieces than it comes in.

        Reading raises ConnectionError when the client has left, and TimeoutError when it is silent for
        SILENCE_SECONDS; Django's request makes UnreadablePostError of either.
        """
        return io.BufferedReader(self, READ_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait until `buffer` can be filled, or for the end; without a connection of the database's."""
        with self._changed:
            self._wanted = len(buffer)
            if self._buffered < self._wanted and not self._ended:
                give_back()
            while self._buffered < self._wanted and not self._ended:
                if self._left:
                    raise ConnectionError("the client has left")
                self._resume()
                had = self._buffered
                notified = self._changed.wait(SILENCE_SECONDS)
                if not notified and self._buffered == had:
                    raise TimeoutError("the client has gone silent")
            taken = self._take(self._wanted)
            if self._buffered < BUFFERED_BYTES // 2 and not self._ended:
                self._resume()
        buffer[: len(taken)] = taken
        return len(taken)

    async def feed(self) -> NoReturn:
        """Receive the body as it is read, then wait for the client to leave: RequestAborted."""
        try:
            while not self._ended:
                await self._room.wait()
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise RequestAborted
                self._put(message.get("body", b""), ends=not message.get("more_body", False))
            self._over.set()
            await self._receive()
            raise RequestAborted
        finally:
            self._over.set()
            with self._changed:
                self._left = True
                self._changed.notify()

    def answering(self, send: Send) -> Send:
        """`send`, for an answer that may come before the body has: it then closes the connection."""

        async def answer(message: Message) -> None:
            if not self._ended:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
                elif not message.get("more_body", False):
                    await send({**message, "more_body": True})
                    await self._drain()
                    message = {"type": "http.response.body", "body": b""}
            await send(message)

        return answer

    async def _drain(self) -> None:
        if self._waits_for_continue and not self._wanted:
            # It sends nothing without our leave.
            return
        with self._changed:
            self._discards = True
            self._parts.clear()
        self._room.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), DRAIN_SECONDS)

    def _put(self, part: bytes, *, ends: bool) -> None:
        with self._changed:
            if part and not self._discards:
                self._parts.append(part)
                self._buffered += len(part)
                if self._buffered >= max(self._wanted, BUFFERED_BYTES):
                    self._paused = True
                    self._room.clear()
            self._ended = ends
            if ends or self._buffered >= self._wanted:
                self._changed.notify()

    def _take(self, size: int) -> bytes:
        taken = []
        while self._parts and size:
            part = self._parts.popleft()
            if len(part) > size:
                self._parts.appendleft(part[size:])
                part = part[:size]
            taken.append(part)
            size -= len(part)
            self._buffered -= len(part)
        return b"".join(taken)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon_threadsafe(self._room.set)
