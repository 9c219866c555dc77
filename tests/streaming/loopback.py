"""A provider on loopback that a test scripts, for what the sandbox cannot be asked to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

Script = Callable[[ServerConnection], Awaitable[None]]
Answer = Callable[[ServerConnection, Request], Response | None]


async def echo(socket: ServerConnection) -> None:
    """Every message comes back as text that names it; CloseStream ends with 1000."""
    async for message in socket:
        if message == '{"type":"CloseStream"}':
            return
        await socket.send(f"text {message}" if isinstance(message, str) else f"audio {message.hex()}")


class Loopback:
    """`with Loopback(script) as provider:`; `requests` are the handshakes it was sent."""

    def __init__(self, script: Script = echo, answer: Answer | None = None) -> None:
        self._script = script
        self._answer = answer
        self.requests: list[Request] = []
        self.url = ""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def open(self) -> int:
        """Sockets that are."""
        return len(self._server.connections)

    async def _serve(self) -> Server:
        return await serve(
            self._script,
            "127.0.0.1",
            0,
            process_request=self._requested,
            process_response=self._with_request_id,
        )

    async def _stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _requested(self, socket: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return self._answer(socket, request) if self._answer else None

    def _with_request_id(self, socket: ServerConnection, request: Request, response: Response) -> Response:
        response.headers["dg-request-id"] = f"request-{len(self.requests)}"
        return response
