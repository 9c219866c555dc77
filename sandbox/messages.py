"""One HTTP request, or the handshake of a WebSocket, and its answer, over plain ASGI."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from sandbox import errors
from sandbox.errors import DeepgramError
from sandbox.faults import Fault

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

EXPOSED_HEADERS = "dg-model-name,dg-model-uuid,dg-char-count,dg-request-id,dg-error"

UPLOAD_PAUSE_SECONDS = 60.0
"""An upload that pauses longer gets a 408. Deepgram has such a limit; its length is not documented."""


class ClientGone(Exception):
    """The client hung up before its request was read."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: object, status: int = 200) -> "Answer":
        return cls(status, json.dumps(content).encode())

    @classmethod
    def error(cls, error: DeepgramError, request_id: str) -> "Answer":
        body = json.dumps(error.body | {"request_id": request_id}).encode()
        reason = error.message.encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")
        return cls(error.status, body, headers={"dg-error": reason})

    def head(self, request: "Request") -> list[tuple[bytes, bytes]]:
        headers = {"content-type": self.content_type, "content-length": str(len(self.body)), **self.headers}
        return [*request.answer_headers(), *_encoded(headers)]

    async def send(self, request: "Request", send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.head(request)})
        await send({"type": "http.response.body", "body": self.body})

    async def refuse(self, request: "Request", send: Send) -> None:
        """In place of accepting a WebSocket."""
        head = self.head(request)
        await send({"type": "websocket.http.response.start", "status": self.status, "headers": head})
        await send({"type": "websocket.http.response.body", "body": self.body})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


class Request:
    """A request whose head was read. `sha256` and `size` are filled in by whoever reads the body."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.id = str(uuid.uuid4())
        self.created = datetime.now(UTC)
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.transport: asyncio.Transport = scope["state"]["transport"]
        self.receive = receive
        self.fault: Fault | None = None
        self.body_ended = False
        self.sha256: str | None = None
        self.size: int | None = None

    def answer_headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer has: Deepgram's id of the request, and its CORS headers for SDKs in browsers."""
        return _encoded(
            {
                "dg-request-id": self.id,
                "access-control-allow-origin": self.headers.get("origin", "*"),
                "access-control-expose-headers": EXPOSED_HEADERS,
                "vary": "origin",
            }
        )

    @property
    def tags(self) -> list[str]:
        return self.values("tag")

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises ClientGone, or a DeepgramError 408 when it pauses too long."""
        while not self.body_ended:
            try:
                async with asyncio.timeout(UPLOAD_PAUSE_SECONDS):
                    message = await self.receive()
            except TimeoutError:
                raise errors.slow_upload() from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.body_ended = not message.get("more_body", False)
            yield message.get("body", b"")

    async def json(self, limit: int = 1 << 20) -> Any:
        """The body as JSON, None when it is empty. Raises DeepgramError 400 or 413."""
        body = b""
        async for chunk in self.chunks():
            body += chunk
            if len(body) > limit:
                raise errors.too_large()
        try:
            return json.loads(body) if body.strip() else None
        except ValueError:
            raise errors.bad_json() from None

    async def drain(self, seconds: float = 2.0) -> None:
        """Reads and drops what is left of a body, for a bounded time.

        Without it a client that is still writing when it is refused sees a reset instead of the refusal.
        """
        try:
            async with asyncio.timeout(seconds):
                async for _ in self.chunks():
                    pass
        except (TimeoutError, ClientGone):
            pass

    async def disconnected(self) -> None:
        """Returns once the client has hung up. Only after the body was read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
