"""Recordings as an engine hears them: 16-bit little-endian samples at 16 kHz, one channel at a time.

Everything here blocks and belongs in a worker thread. Only the path of our own temporary file reaches FFmpeg,
and only the formats listed: a playlist or a concat script could otherwise make it open other files and
addresses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from sandbox.query import HEADERLESS, ListenOptions

SAMPLE_RATE = 16_000
SAMPLE_BYTES = 2

FORMATS = (
    "wav,w64,flac,ogg,mp3,aac,amr,amrnb,amrwb,aiff,caf,asf,mov,matroska,webm,g729,s16le,f32le,mulaw,alaw"
)
RAW_FORMATS = {
    "linear16": "s16le",
    "linear32": "f32le",
    "mulaw": "mulaw",
    "alaw": "alaw",
    "amr-nb": "amrnb",
    "amr-wb": "amrwb",
    "g729": "g729",
}
HEADERS = (b"RIFF", b"fLaC", b"OggS", b"#!AMR", b"ID3", b"\x1aE\xdf\xa3")


class CorruptAudio(Exception):
    """No audio could be decoded."""


@dataclass(frozen=True)
class Audio:
    """A recording that was opened once: its length is known and its first frame decodes."""

    path: Path
    options: ListenOptions
    duration: float
    channels: int

    @classmethod
    def open(cls, path: Path, options: ListenOptions) -> "Audio":
        """Raises CorruptAudio."""
        try:
            with _opened(path, options) as container:
                stream = _audio_stream(container)
                channels = stream.codec_context.channels
                first = next(container.decode(stream), None)
                if first is None:
                    raise CorruptAudio
                duration = _declared_duration(container, stream)
            if duration is None:
                duration = _counted_duration(path, options)
        except FFmpegError as error:
            raise CorruptAudio from error
        return cls(path, options, duration, channels)

    def pcm(self, channel: int | None) -> Iterator[bytes]:
        """The samples of one channel, or of all mixed down, in blocks. Raises CorruptAudio.

        What decodes before a damaged passage is kept, as long as it is anything.
        """
        with _opened(self.path, self.options) as container:
            stream = _audio_stream(container)
            layout = "mono" if channel is None else stream.layout.name
            resampler = av.AudioResampler(format="s16p", layout=layout, rate=SAMPLE_RATE)
            plane = channel or 0
            heard = False
            try:
                for frame in container.decode(stream):
                    for block in resampler.resample(frame):
                        heard = True
                        # A plane is padded to its alignment.
                        yield bytes(block.planes[plane])[: block.samples * SAMPLE_BYTES]
                for block in resampler.resample(None):
                    yield bytes(block.planes[plane])[: block.samples * SAMPLE_BYTES]
            except FFmpegError as error:
                if not heard:
                    raise CorruptAudio from error


def _opened(path: Path, options: ListenOptions) -> InputContainer:
    settings = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"RIFF"):
        # FFmpeg would read on for other codecs in disguise, which costs more than the rest of a request.
        settings["probesize"] = "20000"
    raw = RAW_FORMATS.get(options.encoding or "")
    # Clients do send WAV files and say `encoding=linear16`; the header decides.
    if raw is None or head.startswith(HEADERS):
        return av.open(str(path), mode="r", options=settings)
    if options.encoding in HEADERLESS:
        settings |= {"sample_rate": str(options.sample_rate), "ch_layout": f"{options.channels}c"}
    return av.open(str(path), mode="r", format=raw, options=settings)


def _audio_stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise CorruptAudio
    return container.streams.audio[0]


def _declared_duration(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None


def _counted_duration(path: Path, options: ListenOptions) -> float:
    """For containers written as a stream (a browser's WebM), which do not say how long they are."""
    seconds = Fraction(0)
    with _opened(path, options) as container:
        frames: Iterator[Any] = container.decode(_audio_stream(container))
        for frame in frames:
            seconds += Fraction(frame.samples, frame.sample_rate)
    return float(seconds)
