"""The ASGI application of web and live."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcribe_project.settings")

from channels.routing import ProtocolTypeRouter

from transcribe_project.handler import get_asgi_application


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """There is no WebSocket here yet: the handshake is refused (403)."""
    await receive()
    await send({"type": "websocket.close"})


application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": refuse})
