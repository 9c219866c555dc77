"""The WebSockets of live audio as Channels routes to them.

Channels gives each message a task, looks for database connections to close, and for a method of its name: a
proxy that is dispatched so was measured to cost three times one that is not. These consumers are called for a
connection and not for a message; what reads and writes it from then on is streaming.client.
"""

from __future__ import annotations

import logging
from typing import Any

from channels.consumer import AsyncConsumer
from django.db import InterfaceError, OperationalError

from streaming import metrics
from streaming.client import Client
from streaming.database import in_database
from streaming.opening import opened
from streaming.refusals import Refused, not_found, refusal, unavailable
from streaming.relay import Relay
from streaming.switchboard import switchboard

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5


class ListenConsumer(AsyncConsumer):  # type: ignore[misc]  # channels is not typed
    """`WS /v1/listen`: one live session, from handshake to close."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            board = switchboard()
            with board.room():
                async with board.opening:
                    opening = await in_database(opened, scope)
        except Refused as refused:
            await _refuse(scope, send, refused)
        except (OperationalError, InterfaceError) as error:
            logger.warning("No live session can be opened: %s", type(error).__name__)
            await _refuse(scope, send, unavailable(RETRY_SECONDS))
        else:
            await Relay(opening, Client(scope, receive, send, opening.subprotocol)).serve()


class NoSuchSocket(AsyncConsumer):  # type: ignore[misc]  # as above
    """What is at no address of ours: Deepgram's 404, also for `/v2/listen` (Flux), which is not served."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await _refuse(scope, send, not_found())


async def _refuse(scope: Any, send: Any, refused: Refused) -> None:
    metrics.handshake_refused(refused.status)
    for message in refusal(scope, refused):
        await send(message)
