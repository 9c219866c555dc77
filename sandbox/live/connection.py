"""One live connection: reads audio and control messages, sends what segments.py finds there is to say."""

import asyncio
import contextlib
import hashlib
from concurrent.futures import Executor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from sandbox import faults
from sandbox.audio import CorruptAudio
from sandbox.engines import Engine
from sandbox.faults import Fault
from sandbox.live.channel import Channel
from sandbox.live.decoding import live_audio
from sandbox.live.journal import Entry
from sandbox.live.noise import Noise, NoisyEar
from sandbox.live.pcm import RawAudio
from sandbox.live.results import Messages
from sandbox.live.segments import Event, Window
from sandbox.live.socket import AudioSocket
from sandbox.messages import Receive, Send
from sandbox.misbehaviour import reset
from sandbox.query import LiveOptions

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

Told = tuple[Channel, Event]


class Ended(Exception):
    """There is nothing more to be read."""


class Broken(Exception):
    """It is time for the connection's fault."""


class Connection:
    """An accepted one. run() returns when it is closed, by whichever side."""

    def __init__(
        self,
        options: LiveOptions,
        engine: Engine,
        threads: Executor,
        entry: Entry,
        fault: Fault | None,
        noise: Noise | None,
        *,
        silence_seconds: float,
        connected: AudioSocket,
        receive: Receive,
        send: Send,
    ) -> None:
        self._options = options
        self._engine = engine
        self._threads = threads
        self._entry = entry
        self._fault = fault or Fault("")
        self._noise = noise
        self._silence_seconds = silence_seconds
        self._socket = connected
        self._receive = receive
        self._send = send
        self._created = datetime.now(UTC)
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._sha256 = hashlib.sha256()
        self._samples = 0
        self._audio = live_audio(options.listen)
        self._messages = Messages(options.listen, entry.id, engine.model)
        self._channels: list[Channel] = []
        """Known once there is audio: a container says how many it has."""
        self._unrecognised: asyncio.Queue[Told] | None = None
        """What a slow ear is to be asked for."""

        self._breaks_after_audio = self._breaks_at = float("inf")
        if self._fault.kind in BREAKS and self._fault.of == "wall":
            self._breaks_at = self._heard_at + self._fault.number
        elif self._fault.kind in BREAKS:
            self._breaks_after_audio = self._fault.number
        self._mute = False
        self._alarm: asyncio.TimerHandle | None = None
        self._outbox: asyncio.Queue[tuple[float, dict[str, Any]]] | None = None
        """What is to be sent late, and when."""

    async def run(self) -> None:
        if isinstance(self._audio, RawAudio) and not self._engine.slow:
            self._socket.on_audio = partial(self._overhear, self._audio)
        async with asyncio.TaskGroup() as tasks:
            helpers = []
            if self._fault.kind == faults.LAG:
                self._outbox = asyncio.Queue()
                helpers.append(tasks.create_task(self._post(self._outbox)))
            if self._engine.slow:
                self._unrecognised = asyncio.Queue()
                helpers.append(tasks.create_task(self._recognise(self._unrecognised)))
            with contextlib.suppress(OSError):  # The client left while it was told something.
                await self._converse()
                if self._outbox is not None:
                    await self._outbox.join()
            for helper in helpers:
                helper.cancel()
        with contextlib.suppress(CorruptAudio):
            await self._audio.finish()

    async def _converse(self) -> None:
        self._arm()
        try:
            while True:
                try:
                    await self._read()
                except Broken:
                    await self._break()
                except CorruptAudio:
                    await self._close(1008, REASONS["data0000"])
        except Ended:
            pass
        finally:
            if self._alarm is not None:
                self._alarm.cancel()

    def _arm(self) -> None:
        """The alarm is a message among the others: nothing that is being told is interrupted by it."""
        if self._alarm is not None:
            self._alarm.cancel()
        at = min(self._deadline, self._breaks_at)
        self._alarm = self._loop.call_at(at, self._socket.tell, {"type": "sandbox.alarm"})

    @property
    def _deadline(self) -> float:
        return self._heard_at + self._silence_seconds

    async def _break(self) -> None:
        """Carries out the fault, after which most connections are no more."""
        self._breaks_after_audio = self._breaks_at = float("inf")
        match self._fault.kind:
            case faults.MUTE:
                self._mute = True
                self._arm()
                return
            case faults.CLOSE if self._fault.body == "net0001":
                await self._give_up()
            case faults.CLOSE:
                await self._close(self._fault.status, REASONS.get(self._fault.body or "", ""))
            case faults.STALL:
                # Nothing is read any more, so not even the client's farewell is noticed.
                self._socket.transport.pause_reading()
                await asyncio.sleep(faults.MAX_SECONDS)
        self._entry.code = 1006
        reset(self._socket.transport)
        raise Ended

    async def _read(self) -> None:
        """Raises Ended, Broken, CorruptAudio."""
        while True:
            message = await self._receive()
            match message["type"]:
                case "websocket.disconnect":
                    self._entry.code = message["code"]
                    raise Ended
                case "websocket.receive" if message.get("bytes") is None:
                    await self._obey(message["text"])
                case "websocket.receive" if not message["bytes"]:  # Ends the stream, as CloseStream does.
                    await self._finish()
                case "websocket.receive":
                    data = message["bytes"]
                    await self._tell(self._hear(data, await self._audio.decode(data)))
                case "sandbox.overheard":
                    await self._tell(message["events"])
                case "sandbox.alarm":
                    if self._loop.time() >= self._deadline:
                        await self._give_up()
                    self._arm()
            if self._audio_seconds >= self._breaks_after_audio or self._loop.time() >= self._breaks_at:
                raise Broken

    def _overhear(self, audio: RawAudio, data: bytes) -> None:
        """Called by the socket itself. Most messages end here: they bring nothing to tell."""
        events = self._hear(data, audio.samples(data))
        if events or self._audio_seconds >= self._breaks_after_audio:
            self._socket.tell({"type": "sandbox.overheard", "events": events})

    def _hear(self, data: bytes, pcm: list[bytes]) -> list[Told]:
        self._heard_at = self._loop.time()
        self._sha256.update(data)
        events = self._listen(pcm)
        self._entry.took(self._audio_seconds, len(data), self._heard_at)
        return events

    def _listen(self, pcm: list[bytes]) -> list[Told]:
        if not pcm:
            return []
        if not self._channels:
            self._open_channels(len(pcm) if self._options.listen.multichannel else 1)
        self._samples += len(pcm[0]) // 2
        return [
            (channel, event)
            for channel, samples in zip(self._channels, pcm, strict=False)
            for event in channel.hear(samples)
        ]

    @property
    def _audio_seconds(self) -> float:
        return self._samples / self._audio.sample_rate

    def _open_channels(self, count: int) -> None:
        self._messages.channels = count
        for number in range(count):
            ear = self._engine.listen(self._audio.sample_rate)
            if self._noise is not None:
                ear = NoisyEar(ear, self._noise)
            self._channels.append(Channel(number, ear, self._options, self._messages))

    async def _tell(self, events: list[Told]) -> None:
        for channel, event in events:
            if self._unrecognised is not None:
                self._unrecognised.put_nowait((channel, event))
            elif (content := channel.tell(event)) is not None:
                await self._say(content)

    async def _recognise(self, unrecognised: asyncio.Queue[Told]) -> None:
        """Asks a slow ear for one thing after the other, and leaves out interims that are late already."""
        while True:
            channel, event = await unrecognised.get()
            interim = isinstance(event, Window) and not event.is_final
            if not interim or unrecognised.qsize() < len(self._channels):
                content = await self._loop.run_in_executor(self._threads, channel.tell, event)
                if content is not None:
                    with contextlib.suppress(OSError):
                        await self._say(content)
            unrecognised.task_done()

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
                        await self._tell([(channel, channel.finalize())])
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
        self._socket.on_audio = None
        await self._tell(self._listen(await self._audio.finish()))
        for channel in self._channels:
            await self._tell([(channel, event) for event in channel.finish()])
        if self._unrecognised is not None:
            await self._unrecognised.join()
        await self._metadata(self._sha256.hexdigest())
        await self._close(1000, "")

    async def _give_up(self) -> None:
        """Raises Ended."""
        await self._metadata("incomplete")
        await self._close(1011, REASONS["net0001"])

    async def _metadata(self, sha256: str) -> None:
        await self._say(self._messages.metadata(self._created, self._audio_seconds, sha256))

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

    async def _post(self, outbox: asyncio.Queue[tuple[float, dict[str, Any]]]) -> None:
        """Sends each message when its time has come."""
        while True:
            due, message = await outbox.get()
            await asyncio.sleep(due - self._loop.time())
            with contextlib.suppress(OSError):
                await self._send(message)
            outbox.task_done()
