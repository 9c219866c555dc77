"""A client of ours that speaks in real time, and comes back after whatever breaks its connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

MESSAGE_SECONDS = 0.1
BYTES_PER_SECOND = 32_000
OPTIONS = {
    "model": "nova-3",
    "encoding": "linear16",
    "sample_rate": "16000",
    "interim_results": "true",
    "resumable": "true",
}
TRY_AGAIN_SECONDS = 0.2


class Speaker:
    """Sends `audio` (linear16, 16 kHz, mono) to whichever address `where()` gives when it connects.

    `finals` are the results that stand: what was told but not acknowledged before a break is taken back, and
    told again if it was stored.
    """

    def __init__(self, where: Callable[[], str], key: str, audio: bytes, **options: str) -> None:
        self._where = where
        self._key = key
        self._audio = audio
        self._options = OPTIONS | options
        self._token: str | None = None
        self._acked_seq = 0
        self._begun: float | None = None
        self.finals: list[dict[str, Any]] = []
        self.states: list[str] = []
        self.gaps: list[tuple[float, float]] = []
        self.sessions = 0
        self.closes: list[int | None] = []
        self.socket: ClientConnection | None = None
        self.sent = 0
        self.results = 0  # over the last connection
        self._given_up = False

    @property
    def words(self) -> list[dict[str, Any]]:
        told = sorted(self.finals, key=lambda final: final["start"])
        return [word for final in told for word in final["channel"]["alternatives"][0]["words"]]

    @property
    def text(self) -> str:
        return " ".join(word["word"] for word in self.words)

    def is_at(self, sessions: int, sent: int) -> bool:
        """Whether it has come so often, and sent more than so many bytes."""
        return self.sessions == sessions and self.sent > sent

    def give_up(self) -> None:
        """From any thread: come back no more, and break what there is."""
        self._given_up = True
        if self.socket is not None and not self.socket.loop.is_closed():
            self.socket.loop.call_soon_threadsafe(self.socket.transport.abort)

    async def speak(self) -> None:
        """Returns when the stream is ended, with all that was said of it."""
        while 1000 not in self.closes and not self._given_up:
            if self._token:
                query, headers = {"resume": self._token, "last_seq": str(self._acked_seq)}, {}
            else:
                query, headers = self._options, {"Authorization": f"Token {self._key}"}
            with suppress(OSError, InvalidHandshake, TimeoutError):
                url = f"{self._where()}/v1/listen?{urlencode(query)}"
                async with connect(url, additional_headers=headers, proxy=None, max_size=None) as socket:
                    self.socket = socket
                    await self._converse(socket)
                    self.closes.append(socket.close_code)
            if 1000 not in self.closes:
                await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def _converse(self, socket: ClientConnection) -> None:
        self.finals = [final for final in self.finals if final["seq"] <= self._acked_seq]
        self.results = 0
        sending = None
        try:
            async for text in socket:
                message = json.loads(text)
                self.results += message["type"] == "Results"
                match message["type"]:
                    case "Session":
                        self.sessions += 1
                        self._token = message["token"]
                        sending = asyncio.create_task(self._send(socket, message["audio_offset"]))
                    case "Results" if message["is_final"]:
                        self.finals.append(message)
                    case "Ack":
                        self._acked_seq = message["seq"]
                    case "Status":
                        self.states.append(message["state"])
                    case "Gap":
                        self.gaps.append((message["start"], message["end"]))
        except ConnectionClosed:
            pass
        finally:
            if sending is not None:
                sending.cancel()

    async def _send(self, socket: ClientConnection, offset: int) -> None:
        """What was spoken by now at once, and the rest as it is spoken."""
        clock = asyncio.get_running_loop()
        self._begun = self._begun or clock.time()
        size = int(MESSAGE_SECONDS * BYTES_PER_SECOND)
        with suppress(ConnectionClosed):
            for start in range(offset, len(self._audio), size):
                end = min(start + size, len(self._audio))
                await asyncio.sleep(self._begun + end / BYTES_PER_SECOND - clock.time())
                await socket.send(self._audio[start:end])
                self.sent = max(self.sent, end)
            await socket.send('{"type":"CloseStream"}')


class Crowd:
    """Speakers in a thread of their own, so that the test is free to do harm."""

    def __init__(self, speakers: Sequence[Speaker]) -> None:
        self.speakers = speakers
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._speaking = self._thread.submit(asyncio.run, self._speak())
        return self

    def __exit__(self, *_: object) -> None:
        for speaker in self.speakers:
            speaker.give_up()
        self._thread.shutdown()

    def hear_out(self, seconds: float) -> None:
        """Wait until all have said everything; TimeoutError if that takes longer."""
        self._speaking.result(seconds)

    async def _speak(self) -> None:
        await asyncio.gather(*(speaker.speak() for speaker in self.speakers))
