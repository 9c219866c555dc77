"""A network between a client and a server on loopback, that a test cuts."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Self


class Cable:
    """`with Cable(port) as cable:` who connects to `cable.port` speaks to `port`, except when it is cut."""

    def __init__(self, port: int) -> None:
        self._far_port = port
        self._is_cut = False
        self._transports: set[asyncio.WriteTransport] = set()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        serving = asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset all connections, and every one that is tried."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._reset)

    def mend(self) -> None:
        self._is_cut = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._transports.add(writer.transport)
        try:
            if self._is_cut:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far_port)
            self._transports.add(far_writer.transport)
            await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))
            self._transports.discard(far_writer.transport)
        finally:
            writer.transport.abort()
            self._transports.discard(writer.transport)

    def _reset(self) -> None:
        for transport in self._transports:
            transport.abort()

    async def _stop(self) -> None:
        self._server.close()
        self._reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
