"""One live connection: reads audio and control messages, sends what segments.py finds there is to say."""

import asyncio
import contextlib
import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from sandbox import faults
from sandbox.faults import Fault
from sandbox.live.journal import Entry
from sandbox.live.noise import Noise, NoisyEar
from sandbox.live.pcm import RawAudio
from sandbox.live.results import Messages
from sandbox.live.segments import Ear, Segments, SpeechStarted, UtteranceEnded, Window
from sandbox.messages import Receive, Send
from sandbox.misbehaviour import reset
from sandbox.query import LiveOptions
from sandbox.response import ModelInfo

MAX_KEYTERMS = 100
BREAKS = frozenset([faults.DROP, faults.CLOSE, faults.STALL, faults.MUTE])
"""Faults that begin at a moment of the connection."""
REASONS = {
    "net0000": (
        "Deepgram did not provide a response message within the timeout window. See https://dpgr.am/net0000"
    ),
    "net0001": (
        "Deepgram did not receive audio data or a text message within the timeout window."
        " See https://dpgr.am/net0001"
    ),
    "data0000": "The payload cannot be decoded as audio. See https://dpgr.am/data0000",
}


class LiveEngine(Protocol):
    model: ModelInfo

    def listen(self, sample_rate: int) -> Ear:
        """An ear for one channel."""


class Ended(Exception):
    """There is nothing more to be read."""


class Broken(Exception):
    """It is time for the connection's fault."""


class Channel:
    """What is heard on one channel, as messages."""

    def __init__(
        self, number: int, ear: Ear, options: LiveOptions, messages: Messages, noise: Noise | None
    ) -> None:
        if noise is not None:
            ear = NoisyEar(ear, noise)
        window = {"window_seconds": noise.window_seconds} if noise is not None else {}
        self._number = number
        self._ear = ear
        self._options = options
        self._messages = messages
        self._segments = Segments(ear, options.endpointing, options.utterance_end, **window)
        self._last_word_end = self._told_word_end = 0.0

    def hear(self, pcm: bytes) -> list[dict[str, Any]]:
        said = []
        for event in self._segments.hear(pcm):
            match event:
                case Window() if event.is_final or self._options.interim_results:
                    said.append(self._results(event))
                case SpeechStarted() if self._options.vad_events:
                    said.append(self._messages.speech_started(self._number, event.at))
                case UtteranceEnded() if self._last_word_end > self._told_word_end:
                    self._told_word_end = self._last_word_end
                    said.append(self._messages.utterance_end(self._number, self._last_word_end))
        return said

    def finalize(self) -> dict[str, Any]:
        return self._results(self._segments.finalize())

    def finish(self) -> dict[str, Any] | None:
        window = self._segments.finish()
        return None if window is None else self._results(window)

    def _results(self, window: Window) -> dict[str, Any]:
        words = self._ear.words(window.end)
        if words:
            self._last_word_end = words[-1].end
        if window.is_final:
            self._ear.forget(window.end)
        return self._messages.results(self._number, window, words)


class Connection:
    """An accepted one. run() returns when it is closed, by whichever side."""

    def __init__(
        self,
        options: LiveOptions,
        engine: LiveEngine,
        entry: Entry,
        fault: Fault | None,
        noise: Noise | None,
        *,
        silence_seconds: float,
        transport: asyncio.Transport,
        receive: Receive,
        send: Send,
    ) -> None:
        self._options = options
        self._entry = entry
        self._fault = fault or Fault("")
        self._silence_seconds = silence_seconds
        self._transport = transport
        self._receive = receive
        self._send = send
        self._created = datetime.now(UTC)
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._sha256 = hashlib.sha256()
        self._samples = 0

        listen = options.listen
        self._audio = RawAudio(listen.encoding or "linear16", listen.sample_rate or 16_000, listen.channels)
        count = listen.channels if listen.multichannel else 1
        self._messages = Messages(listen, entry.id, engine.model, count)
        self._channels = [
            Channel(number, engine.listen(self._audio.sample_rate), options, self._messages, noise)
            for number in range(count)
        ]
        self._breaks_after_audio = self._breaks_at = float("inf")
        if self._fault.kind in BREAKS and self._fault.of == "wall":
            self._breaks_at = self._heard_at + self._fault.number
        elif self._fault.kind in BREAKS:
            self._breaks_after_audio = self._fault.number
        self._mute = False
        self._outbox: asyncio.Queue[tuple[float, dict[str, Any] | None]] | None = None

    async def run(self) -> None:
        postman = None
        if self._fault.kind == faults.LAG:
            self._outbox = asyncio.Queue()
            postman = asyncio.create_task(self._post(self._outbox))
        try:
            while True:
                try:
                    async with asyncio.timeout_at(min(self._deadline, self._breaks_at)):
                        await self._read()
                except TimeoutError:
                    if self._loop.time() >= self._breaks_at:
                        await self._break()
                    elif self._loop.time() >= self._deadline:
                        await self._give_up()
                except Broken:
                    await self._break()
        except (Ended, OSError):  # OSError: the client left while it was told something.
            pass
        finally:
            if self._outbox is not None and postman is not None:
                self._outbox.put_nowait((0.0, None))
                await postman

    @property
    def _deadline(self) -> float:
        return self._heard_at + self._silence_seconds

    async def _break(self) -> None:
        """Carries out the fault, after which most connections are no more."""
        self._breaks_after_audio = self._breaks_at = float("inf")
        match self._fault.kind:
            case faults.MUTE:
                self._mute = True
                return
            case faults.CLOSE if self._fault.body == "net0001":
                await self._give_up()
            case faults.CLOSE:
                await self._close(self._fault.status, REASONS.get(self._fault.body or "", ""))
            case faults.STALL:
                # Nothing is read any more, so not even the client's farewell is noticed.
                self._transport.pause_reading()
                await asyncio.sleep(faults.MAX_SECONDS)
        self._entry.code = 1006
        reset(self._transport)
        raise Ended

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._entry.code = message["code"]
                raise Ended
            data = message.get("bytes")
            if data:
                self._heard_at = self._loop.time()
                await self._hear(data)
            elif data is not None:  # An empty frame ends the stream, as CloseStream does.
                await self._finish()
            else:
                await self._obey(message["text"])

    async def _hear(self, data: bytes) -> None:
        self._sha256.update(data)
        pcm = self._audio.decode(data)
        self._samples += len(pcm[0]) // 2
        self._entry.took(self._samples / self._audio.sample_rate, len(data), self._heard_at)
        for channel, samples in zip(self._channels, pcm, strict=False):
            for content in channel.hear(samples):
                await self._say(content)
        if self._entry.audio_seconds >= self._breaks_after_audio:
            raise Broken

    async def _obey(self, text: str) -> None:
        try:
            content = orjson.loads(text)
            kind = content["type"]
        except (ValueError, TypeError, KeyError):
            kind = ""
        if self._entry.audio_messages:
            # KeepAlive alone does not keep a stream that never had audio.
            self._heard_at = self._loop.time()
        self._entry.texts[kind] += 1
        match kind:
            case "KeepAlive":
                pass
            case "Finalize":
                wanted = content.get("channel")
                for number, channel in enumerate(self._channels):
                    if wanted in (None, number):
                        await self._say(channel.finalize())
            case "CloseStream":
                await self._finish()
            case "Configure":
                await self._say(self._configure(content))
            case _:
                await self._say(self._messages.error(text, "no known message"))

    def _configure(self, content: dict[str, Any]) -> dict[str, Any]:
        keyterms = content.get("keyterms") or []
        if not isinstance(keyterms, list) or not all(isinstance(term, str) for term in keyterms):
            return self._messages.error(orjson.dumps(content).decode(), "keyterms: a list of strings")
        if keyterms and not self._options.listen.model.startswith("nova-3"):
            return self._messages.not_configured(
                "CONFIGURE_KEYTERMS_NOT_SUPPORTED", "Keyterms are not supported by this model."
            )
        if len(keyterms) > MAX_KEYTERMS:
            return self._messages.not_configured("CONFIGURE_KEYTERM_LIMIT_EXCEEDED", "Too many keyterms.")
        self._messages.options = replace(self._messages.options, keyterms=keyterms)
        return self._messages.configured(keyterms)

    async def _finish(self) -> None:
        """The last results, Metadata, and a close without error. Raises Ended."""
        for channel in self._channels:
            if (content := channel.finish()) is not None:
                await self._say(content)
        await self._metadata(self._sha256.hexdigest())
        await self._close(1000, "")

    async def _give_up(self) -> None:
        """Raises Ended."""
        await self._metadata("incomplete")
        await self._close(1011, REASONS["net0001"])

    async def _metadata(self, sha256: str) -> None:
        await self._say(self._messages.metadata(self._created, self._entry.audio_seconds, sha256))

    async def _close(self, code: int, reason: str) -> None:
        self._entry.code = code
        await self._transmit({"type": "websocket.close", "code": code, "reason": reason})
        raise Ended

    async def _say(self, content: dict[str, Any]) -> None:
        if self._mute:
            return
        if content["type"] == "Results":
            self._entry.results += 1
            self._entry.finals += content["is_final"]
        await self._transmit({"type": "websocket.send", "text": orjson.dumps(content).decode()})

    async def _transmit(self, message: dict[str, Any]) -> None:
        if self._outbox is None:
            await self._send(message)
        else:
            self._outbox.put_nowait((self._loop.time() + self._fault.number, message))

    async def _post(self, outbox: asyncio.Queue[tuple[float, dict[str, Any] | None]]) -> None:
        """Sends each message when its time has come."""
        with contextlib.suppress(OSError):
            while True:
                due, message = await outbox.get()
                if message is None:
                    return
                await asyncio.sleep(due - self._loop.time())
                await self._send(message)
