"""A client of `WS /v1/listen` that knows no more than the protocol."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.conditions import PATIENCE
from tests.sandbox_process import SandboxProcess

SECONDS = 10 * PATIENCE
LINEAR16 = {"model": "nova-3", "encoding": "linear16", "sample_rate": 16_000}
CLOSE_STREAM = {"type": "CloseStream"}
FINALIZE = {"type": "Finalize"}
KEEP_ALIVE = {"type": "KeepAlive"}


class LiveClient:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def request_id(self) -> str:
        assert self.socket.response is not None
        return self.socket.response.headers["dg-request-id"]

    async def send(self, audio: bytes, piece: int = 3200) -> None:
        """As fast as it goes."""
        for start in range(0, len(audio), piece):
            await self.socket.send(audio[start : start + piece])

    async def tell(self, message: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    async def keep_alive(self, seconds: float) -> None:
        """Says so, unless the server has closed, and lets time pass."""
        with suppress(ConnectionClosed):
            await self.tell(KEEP_ALIVE)
        await asyncio.sleep(seconds)

    async def closed(self) -> tuple[int | None, str | None]:
        """Code and reason, once the server has closed; 1006 when it did so without a word."""
        await asyncio.wait_for(self._reading, SECONDS)
        return self.socket.close_code, self.socket.close_reason

    async def next(self, kind: str) -> dict[str, Any]:
        """The first message of a type, whether it has come already or not."""
        while not (found := self.of(kind)):
            await self.news()
        return found[0]

    async def news(self) -> None:
        """Returns with the next message."""
        self._news.clear()
        await asyncio.wait_for(self._news.wait(), SECONDS)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    def finals(self) -> list[dict[str, Any]]:
        return [message for message in self.of("Results") if message["is_final"]]

    def words(self, channel: int = 0) -> list[dict[str, Any]]:
        """Those of all finals."""
        results = [result for result in self.finals() if result["channel_index"][0] == channel]
        return [word for result in results for word in result["channel"]["alternatives"][0]["words"]]

    def text(self, channel: int = 0) -> str:
        return " ".join(word["word"] for word in self.words(channel))

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                self.messages.append(json.loads(text))
                self._news.set()
        except ConnectionClosed:
            pass


@asynccontextmanager
async def listening(
    sandbox: SandboxProcess,
    *,
    fault: str | None = None,
    subprotocols: list[Any] | None = None,
    **options: object,
) -> AsyncIterator[LiveClient]:
    """Raises InvalidStatus when the handshake is refused."""
    headers = {} if subprotocols else {"authorization": "Token a-key"}
    if fault:
        headers["x-sandbox-fault"] = fault
    url = f"{sandbox.websocket_url}/v1/listen?{urlencode(LINEAR16 | options, doseq=True)}"
    async with connect(
        url, additional_headers=headers, subprotocols=subprotocols, proxy=None, max_size=None
    ) as socket:
        yield LiveClient(socket)


async def transcribed(sandbox: SandboxProcess, audio: bytes, **options: Any) -> LiveClient:
    """A whole stream, from its opening to its close."""
    async with listening(sandbox, **options) as client:
        await client.send(audio)
        await client.tell(CLOSE_STREAM)
        assert await client.closed() == (1000, "")
        return client
