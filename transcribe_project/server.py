"""The server of web and live: uvicorn, which drains before it closes anything.

    python -m transcribe_project.server [--host HOST] [--port PORT]

uvicorn closes every WebSocket with 1012 the moment it is told to stop. Here it first stops accepting, then
everything that runs may end or move, live sessions among it, and only then are the connections closed.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

import uvicorn
from django.conf import settings
from django.urls import get_resolver

from streaming.websocket import WebSocket

# Objects, net, after which the youngest are looked at; Python's 700 are fewer than one page makes. All are
# looked at fourteen times as seldom: of a thousand live sessions that takes a quarter of a second, in which
# nobody is told anything, and what ends is given back without it.
COLLECTED_AFTER = 10_000

logger = logging.getLogger("transcribe_project.server")  # also where it is __main__


class Server(uvicorn.Server):
    """Serves the project's ASGI application. `drain` runs in a thread and may take its time."""

    def __init__(self, drain: Callable[[], None], *, log_level: str = "warning") -> None:
        config = uvicorn.Config(
            "transcribe_project.asgi:application",
            loop="uvloop",
            ws=WebSocket,
            http="httptools",
            lifespan="off",
            log_config=None,
            log_level=log_level,
            access_log=False,
            # Audio does not shrink, and results are small: it would only cost.
            ws_per_message_deflate=False,
            # Bytes: of usual audio a minute. What is longer is closed with 1009.
            ws_max_size=2 << 20,
            server_header=False,
            forwarded_allow_ips=settings.TRUSTED_PROXIES,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=75,
        )
        super().__init__(config)
        self._drain = drain

    def serve_until_told(self, listening: socket.socket) -> None:
        """Serve until SIGINT or SIGTERM, and return when all has been drained.

        uvicorn raises the signal once more when it has stopped; there is only leaving left to do then.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        self.run(sockets=[listening])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # The views, before anybody waits for them.
        get_resolver().url_patterns  # noqa: B018
        # What there is now stays: the garbage collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECTED_AFTER, 10, 10)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        # Once Django is set up, which the application sees to.
        from streaming.switchboard import switchboard

        await asyncio.gather(
            asyncio.to_thread(self._drain), switchboard().drain(settings.SHUTDOWN_GRACE_SECONDS)
        )
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; OSError if the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    listening.set_inheritable(True)
    return listening


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves the admin, the API and live audio.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=settings.PORT)
    arguments = parser.parse_args()

    import django

    django.setup(set_prefix=False)
    from jobs.running.leases import keeper
    from routing.probes import Watch

    try:
        listening = listen(arguments.host, arguments.port)
    except OSError as error:
        raise SystemExit(f"{arguments.host}:{arguments.port} cannot be used: {error.strerror}.") from None
    Watch(keeper().name).start()

    def drain() -> None:
        logger.info("Stopping: what runs now may end first.")
        keeper().drain(settings.SHUTDOWN_GRACE_SECONDS)

    logger.info("Serving %s at %s:%d.", settings.PUBLIC_URL, arguments.host, arguments.port)
    Server(drain).serve_until_told(listening)
    leave()


def leave() -> NoReturn:
    """End this process. Threads that are still in a call have lost their leases and cannot be joined."""
    from routing import tracing

    tracing.flush()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
