"""`WS /v1/listen`: who opens it, what they ask for, and their messages to the relay.

An ASGI application of its own and not one of Channels' consumer classes, which dispatch every message through
a task, a queue and a method looked up by name: that costs as much as all the rest of the proxy.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from websockets.asyncio.client import ClientConnection

from routing.regions import choose_region
from streaming import provider
from streaming.authentication import Caller, authenticate
from streaming.database import in_database
from streaming.refusals import Refused, not_found, refuse, unavailable
from streaming.relay import Relay

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5


async def listen(scope: Any, receive: Any, send: Any) -> None:
    """One live session, from handshake to close."""
    await receive()
    try:
        caller, upstream = await _opened(scope)
    except Refused as refused:
        await refuse(scope, send, refused, uuid4())
        return
    headers = [(b"dg-request-id", provider.request_id(upstream).encode())]
    await send({"type": "websocket.accept", "subprotocol": caller.subprotocol, "headers": headers})
    relay = Relay(upstream, send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            audio = message.get("bytes")
            relay.heard(message["text"] if audio is None else audio)
    finally:
        await relay.end()


async def no_such_socket(scope: Any, receive: Any, send: Any) -> None:
    """What is at no address of ours: Deepgram's 404, also for `/v2/listen` (Flux), which is not served."""
    await receive()
    await refuse(scope, send, not_found(), uuid4())


async def _opened(scope: Any) -> tuple[Caller, ClientConnection]:
    """Raises Refused."""
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    caller = await in_database(authenticate, scope, query)
    region = choose_region("", caller.project.residency)
    if region is None:
        raise unavailable(RETRY_SECONDS)
    # Deepgram's URL until parameters are chosen by an allow-list.
    asked = [(name, value) for name, values in query.items() for value in values if name != "callback"]
    try:
        return caller, await provider.opened(region, asked)
    except provider.NotOpened as error:
        logger.warning("Region %s refused a live session: %s %s", region.name, error.status, error.message)
        if error.status in (400, 404):
            raise Refused(error.status, "Bad Request", error.message) from None
        raise unavailable(RETRY_SECONDS) from None
