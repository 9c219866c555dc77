"""`WS /v1/listen`: who may open it, and the relay for those who may.

An ASGI application of its own and not one of Channels' consumer classes, which dispatch every message through
a task, a queue and a method looked up by name: that costs as much as all the rest of the proxy.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import InterfaceError, OperationalError

from streaming.client import Client
from streaming.database import in_database
from streaming.opening import opened
from streaming.refusals import Refused, not_found, refusal, unavailable
from streaming.relay import Relay
from streaming.switchboard import switchboard

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5


async def listen(scope: Any, receive: Any, send: Any) -> None:
    """One live session, from handshake to close."""
    await receive()
    try:
        switchboard().check_room()
        opening = await in_database(opened, scope)
    except Refused as refused:
        await _refuse(scope, send, refused)
    except (OperationalError, InterfaceError) as error:
        logger.warning("No live session can be opened: %s", type(error).__name__)
        await _refuse(scope, send, unavailable(RETRY_SECONDS))
    else:
        await Relay(opening, Client(scope, receive, send, opening.subprotocol)).serve()


async def no_such_socket(scope: Any, receive: Any, send: Any) -> None:
    """What is at no address of ours: Deepgram's 404, also for `/v2/listen` (Flux), which is not served."""
    await receive()
    await _refuse(scope, send, not_found())


async def _refuse(scope: Any, send: Any, refused: Refused) -> None:
    for message in refusal(scope, refused):
        await send(message)
