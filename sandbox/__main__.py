"""`python -m sandbox`: runs the server under uvicorn."""

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox import recordings
from sandbox.app import Sandbox, Settings
from sandbox.callbacks import RETRY_SECONDS
from sandbox.credentials import Credentials
from sandbox.engines import EngineUnavailable, choose
from sandbox.live.handshake import SILENCE_SECONDS
from sandbox.live.socket import AudioSocket


class ProtocolShowingTransport(HttpToolsProtocol):
    """Hands the application the connection itself, which faults below HTTP need (resets, dripping heads)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class Server(uvicorn.Server):
    """Says on standard output where it listens, so that whoever asked for port 0 learns the port."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            sys.stdout.write(f"sandbox listening on http://{host}:{port}\n")
            sys.stdout.flush()


def _end_with_parent() -> None:
    """A parent that is killed cannot stop its children, but its end of their pipes closes."""
    # The descriptor, since the interpreter must not find this thread holding a file object's lock at its end.
    while os.read(0, 1024):
        pass
    os._exit(0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A Deepgram-compatible server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 for a free one")
    parser.add_argument("--fd", type=int, help="listen on this socket, which is inherited, instead")
    parser.add_argument("--engine", choices=("auto", "moonshine", "scripted"), default="auto")
    parser.add_argument("--key", action="append", default=[], help="accept only this key (repeatable)")
    parser.add_argument("--max-bytes", type=int, default=recordings.MAX_BYTES, help="larger uploads get 413")
    parser.add_argument(
        "--max-concurrent", type=int, default=0, help="more requests at once get 429; 0: no limit"
    )
    parser.add_argument("--max-streams", type=int, default=0, help="more live connections at once get 429")
    parser.add_argument(
        "--silence-seconds", type=float, default=SILENCE_SECONDS, help="close live connections without audio"
    )
    parser.add_argument("--callback-retry-seconds", type=float, default=RETRY_SECONDS)
    parser.add_argument("--log-level", choices=("debug", "info", "warning"), default="warning")
    parser.add_argument(
        "--with-parent", action="store_true", help="end when standard input does, as it does with the parent"
    )
    arguments = parser.parse_args()

    if arguments.with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=arguments.log_level.upper(), format="%(levelname)s %(name)s %(message)s")
    try:
        engine = choose(arguments.engine)
    except EngineUnavailable as error:
        sys.stderr.write(f"The moonshine engine cannot run here: {error}\n")
        return 1
    sys.stderr.write(f"sandbox engine: {engine.model.name}\n")
    settings = Settings(
        arguments.max_bytes,
        arguments.max_concurrent,
        arguments.callback_retry_seconds,
        arguments.max_streams,
        arguments.silence_seconds,
    )
    config = uvicorn.Config(
        Sandbox(engine, Credentials(arguments.key), settings),
        host=arguments.host,
        port=arguments.port,
        http=ProtocolShowingTransport,
        ws=AudioSocket,
        # Deepgram's server does not ping, nor compress.
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        timeout_keep_alive=30,
        # A request that hangs on purpose must not hold up the end.
        timeout_graceful_shutdown=1,
    )
    with contextlib.suppress(KeyboardInterrupt):
        inherited = None if arguments.fd is None else [socket.socket(fileno=arguments.fd)]
        Server(config).run(sockets=inherited)
    # A recogniser in mid-passage cannot be interrupted, and at exit Python would wait for its thread.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
