"""Live audio that has to be decoded, containers and opus packets, as 16-bit samples at 16 kHz per channel."""

import asyncio
import io
import queue
import threading
from typing import Protocol

import av
from av.audio.frame import AudioFrame
from av.error import FFmpegError

from sandbox.audio import FORMATS, SAMPLE_BYTES, SAMPLE_RATE, CorruptAudio
from sandbox.live.pcm import WIDTHS, RawAudio
from sandbox.query import ListenOptions

MAX_LAYOUTS = {1: "mono", 2: "stereo"}
STARTS = {
    b"\x1aE\xdf\xa3": "matroska",
    b"OggS": "ogg",
    b"RIFF": "wav",
    b"fLaC": "flac",
    b"#!AMR": "amr",
    b"ID3": "mp3",
}
"""By which a container is known at once; FFmpeg would read some kilobytes to guess."""
LOOK_BYTES = "4096"
"""How much FFmpeg reads to learn what is in a container, on top of its header."""


class LiveAudio(Protocol):
    sample_rate: int

    async def decode(self, data: bytes) -> list[bytes]:
        """The samples of each channel that `data` adds; none when it adds none. Raises CorruptAudio."""

    async def finish(self) -> list[bytes]:
        """What is left when nothing more comes; nothing the second time. Raises CorruptAudio."""


def live_audio(options: ListenOptions) -> LiveAudio:
    if options.encoding in WIDTHS:
        return RawAudio(options.encoding, options.sample_rate or SAMPLE_RATE, options.channels)
    if options.encoding == "opus":
        return OpusPackets(options.channels)
    return Container()


class Resampled:
    """Decoded frames -> samples."""

    def __init__(self) -> None:
        self._resampler: av.AudioResampler | None = None

    def samples(self, frame: AudioFrame | None) -> list[bytes]:
        """Of each channel. None is the end."""
        if self._resampler is None:
            if frame is None:
                return []
            self._resampler = av.AudioResampler(format="s16p", layout=frame.layout.name, rate=SAMPLE_RATE)
        blocks = self._resampler.resample(frame)
        if not blocks:
            return []
        # A plane is padded to its alignment.
        return [
            b"".join(bytes(block.planes[channel])[: block.samples * SAMPLE_BYTES] for block in blocks)
            for channel in range(len(blocks[0].planes))
        ]


class OpusPackets:
    """A message is a packet, without any container."""

    sample_rate = SAMPLE_RATE

    def __init__(self, channels: int) -> None:
        self._codec = av.CodecContext.create("opus", "r")
        self._codec.layout = MAX_LAYOUTS[min(channels, 2)]
        self._resampled = Resampled()

    async def decode(self, data: bytes) -> list[bytes]:
        try:
            frames = self._codec.decode(av.Packet(data))
        except FFmpegError as error:
            raise CorruptAudio from error
        return _joined([self._resampled.samples(frame) for frame in frames])

    async def finish(self) -> list[bytes]:
        return self._resampled.samples(None)


class Container(io.RawIOBase):
    """A stream that FFmpeg reads in a thread, as from a file that ends where the client has got to.

    FFmpeg wants to read whenever it likes and blocks until there is something. What it decoded by the time
    that it waits for more is what there is to hear, so that messages and results keep their order.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread: threading.Thread | None = None
        self._fed: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._unread = b""
        self._owes = False
        """Whether decode() waits for what comes of the last data."""
        self._decoded: list[list[bytes]] = []
        self._answers: asyncio.Queue[list[bytes] | CorruptAudio] = asyncio.Queue()
        self._over = self._finished = self._failed = False

    async def decode(self, data: bytes) -> list[bytes]:
        if self._failed:
            return []
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(data,), daemon=True)
            self._thread.start()
        self._fed.put(data)
        answer = await self._answers.get()
        if isinstance(answer, CorruptAudio):
            self._failed = True
            raise answer
        return answer

    async def finish(self) -> list[bytes]:
        if self._thread is None or self._finished:
            return []
        self._finished = True
        return await self.decode(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """In the thread. Empty once nothing more comes."""
        if not self._unread and not self._over:
            if self._owes:
                self._answer(_joined(self._decoded))
                self._decoded = []
            self._unread = self._fed.get()
            self._over = not self._unread
            self._owes = True
        part, self._unread = self._unread[:size], self._unread[size:]
        return part

    def _run(self, start: bytes) -> None:
        kind = next((kind for head, kind in STARTS.items() if start.startswith(head)), None)
        settings = {"format_whitelist": FORMATS, "probesize": LOOK_BYTES, "analyzeduration": "0"}
        resampled = Resampled()
        try:
            with av.open(self, mode="r", format=kind, options=settings) as container:
                if not container.streams.audio:
                    raise CorruptAudio
                for frame in container.decode(container.streams.audio[0]):
                    self._decoded.append(resampled.samples(frame))
            self._decoded.append(resampled.samples(None))
        except (FFmpegError, CorruptAudio):
            if not self._decoded:
                self._answer(CorruptAudio())
                return
        self._answer(_joined(self._decoded))

    def _answer(self, answer: list[bytes] | CorruptAudio) -> None:
        self._loop.call_soon_threadsafe(self._answers.put_nowait, answer)


def _joined(blocks: list[list[bytes]]) -> list[bytes]:
    """Blocks of samples per channel -> all samples per channel."""
    blocks = [block for block in blocks if block]
    return [b"".join(parts) for parts in zip(*blocks, strict=True)]
