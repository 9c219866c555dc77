"""What a recording is: how long, how many channels, which codec. Neither name nor header is trusted.

PCM and telephony WAV, the commonest upload, is read here from its header. Everything else is read by FFmpeg
(PyAV), whose parsers must be assumed to have holes, in a process that lives for one file:

    owner (web, worker) --starts once--> fork server (PyAV loaded) --forks per probe--> child

- The fork server (probe_server.py) has a clean interpreter: no Django, no environment, so no keys to steal.
  On Linux it lives in a network namespace of its own where the kernel allows that.
- The child gets the open file as descriptor 0, one socket for its answer, limits on memory and time, and
  room for one further descriptor. It cannot open another file or a socket, whatever a playlist asks for.
- The server survives its children and ends with its owner, whose end of their socket closes.

Seconds and hertz throughout. docs/probing.md says what is refused and what it costs.
"""

import atexit
import contextlib
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final

from jobs.audio import probe_server
from jobs.audio.probe_server import (
    EXAMINE,
    MAX_DURATION,
    PEAKS,
    PEAKS_PER_SECOND,
    PEAKS_WALL_SECONDS,
    WALL_SECONDS,
)
from jobs.refusal import Refusal

CHANNELS: Final = range(1, 33)  # Deepgram transcribes up to 20 of them apart
SAMPLE_RATES: Final = range(4_000, 192_001)

CONCURRENT_PROBES: Final = 4

_ANSWER_BYTES: Final = 4096
_RECEIVED_BYTES: Final = 1 << 16
# In base64, of the longest recording that is accepted.
_PEAKS_BYTES: Final = int(MAX_DURATION * PEAKS_PER_SECOND * 4 / 3) + _ANSWER_BYTES

logger = logging.getLogger(__name__)


class ProbeError(Refusal):
    """Why a file is not taken as a recording. `message` is for the person who sent it.

    Codes: `unsupported_media` (not a kind we read, or without audio), `corrupt_media` (a kind we read, but
    broken or lying), `media_too_long`, `probe_timeout` and `probe_crashed` (this file used up the limits or
    broke the reader), and `probe_unavailable`, which alone says nothing about the file: try again.
    """

    status = 415


@dataclass(frozen=True)
class Probe:
    """`duration` is measured and over 0. `container` and `codec` are FFmpeg's names."""

    duration: float
    channels: int
    sample_rate: int
    codec: str
    container: str
    media_type: str


def probe(path: str | os.PathLike[str], max_duration: float = MAX_DURATION) -> Probe:
    """Measure the recording at `path`; its name is never looked at.

    Blocks for milliseconds normally, for up to 66 s at worst (a turn, then two servers that hang). Safe from
    any thread. Raises ProbeError, and OSError when the file cannot be opened.
    """
    with open(path, "rb", buffering=0) as media:
        descriptor = media.fileno()
        size = os.fstat(descriptor).st_size
        if not size:
            raise ProbeError("corrupt_media", "The file is empty. Check that the upload was complete.")
        found = _read_wav(descriptor, size) or _from_answer(_server.ask(descriptor, EXAMINE), descriptor)
    return _within_limits(found, max_duration)


def peaks(media: IO[bytes]) -> bytes:
    """How loud the open file is, 20 times a second: a byte each, 255 the loudest there can be.

    Takes up to 6 s of a processor for an hour of audio, at a low priority, and one at a time. ProbeError.
    """
    answer = _server.ask(media.fileno(), PEAKS)
    if isinstance(found := answer.get("peaks"), str):
        return b64decode(found)
    raise ProbeError("unsupported_media", f"The audio cannot be drawn ({answer.get('failure')}).")


def _within_limits(found: Probe, max_duration: float) -> Probe:
    if found.channels not in CHANNELS or found.sample_rate not in SAMPLE_RATES:
        raise ProbeError(
            "corrupt_media",
            f"The file claims {found.channels} channels at {found.sample_rate} Hz. Accepted are "
            f"1 to {CHANNELS[-1]} at {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]} Hz. Convert it to FLAC.",
        )
    if not found.duration > 0:
        raise ProbeError("corrupt_media", "The file holds no audio. Check that the recording was saved.")
    if found.duration > max_duration:
        raise ProbeError(
            "media_too_long",
            f"The recording is {found.duration / 3600:.1f} h long; {max_duration / 3600:.1f} h are accepted. "
            "Split it into parts.",
        )
    return found


# By format tag (RFC 2361) and bits per sample. Others, and damaged ones, are FFmpeg's to read.
_WAV_CODECS: Final = {
    (1, 8): "pcm_u8",
    (1, 16): "pcm_s16le",
    (1, 24): "pcm_s24le",
    (1, 32): "pcm_s32le",
    (3, 32): "pcm_f32le",
    (3, 64): "pcm_f64le",
    (6, 8): "pcm_alaw",
    (7, 8): "pcm_mulaw",
}
_WAV_EXTENSIBLE: Final = 0xFFFE
# What follows the two-byte format tag in the sub-format of an extensible header.
_WAV_SUBFORMAT_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_WAV_MAX_CHUNKS: Final = 64


def _read_wav(descriptor: int, size: int) -> Probe | None:
    """A plain WAV by its header, or None for all that is not one.

    Streamed files, whose writer never knew the length, say 0 or nearly 2^32: theirs runs to the end of the
    file, as does that of a cut file. One that declares less than the file holds is a lie or a crash.
    """
    if size < 44:
        return None
    head = os.pread(descriptor, 12, 0)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    layout: tuple[str, int, int, int] | None = None
    length = 0
    for name, start, declared in _wav_chunks(descriptor, size):
        if name == b"fmt ":
            layout = _wav_layout(os.pread(descriptor, min(declared, 40), start))
            if layout is None:
                return None
        elif name == b"data":
            to_the_end = declared == 0 or declared > size - start
            length = size - start if to_the_end else declared
            break
    if layout is None or not length:
        return None
    after = start + length + length % 2
    for _, start, declared in _wav_chunks(descriptor, size, after):
        if declared > size - start:
            break
        after = start + declared + declared % 2
    if size - after > length:
        raise ProbeError(
            "corrupt_media",
            f"The WAV header declares {length} bytes of audio, but the file goes on for {size - after} more. "
            "Save it again with a sound editor, or convert it to FLAC.",
        )
    codec, channels, rate, frame = layout
    return Probe(length // frame / rate, channels, rate, codec, "wav", "audio/wav")


def _wav_chunks(descriptor: int, size: int, at: int = 12) -> Iterator[tuple[bytes, int, int]]:
    """Name, start of the content and declared length of each chunk, as far as they are chunks at all."""
    for _ in range(_WAV_MAX_CHUNKS):
        header = os.pread(descriptor, 8, at)
        if len(header) < 8 or not header[:4].isascii():
            return
        name, declared = struct.unpack("<4sI", header)
        yield name, at + 8, declared
        at += 8 + declared + declared % 2
        if at >= size:
            return


def _wav_layout(content: bytes) -> tuple[str, int, int, int] | None:
    """Codec, channels, rate and bytes per frame, where they agree with one another."""
    if len(content) < 16:
        return None
    tag, channels, rate, byte_rate, frame, bits = struct.unpack_from("<HHIIHH", content)
    if tag == _WAV_EXTENSIBLE and content[26:40] == _WAV_SUBFORMAT_TAIL:
        (tag,) = struct.unpack_from("<H", content, 24)
    codec = _WAV_CODECS.get((tag, bits))
    if codec is None or not (channels and rate) or frame != channels * bits // 8 or byte_rate != rate * frame:
        return None
    return codec, channels, rate, frame


# How the kinds we read begin, by offset: what begins so and cannot be read is damaged, not unknown.
_SIGNATURES: Final = (
    (0, (b"RIFF", b"RF64", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"ID3", b"#!AMR", b"FORM", b"caff", b"riff",
         b"\x30\x26\xb2\x75", b"\xff\xf1", b"\xff\xf2", b"\xff\xf3", b"\xff\xf9", b"\xff\xfa", b"\xff\xfb")),
    (4, (b"ftyp", b"moov", b"mdat")),
)  # fmt: skip
_AUDIO_TYPES: Final = {
    "wav": "audio/wav",
    "w64": "audio/x-w64",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "mov,mp4,m4a,3gp,3g2,mj2": "audio/mp4",
    "matroska,webm": "audio/x-matroska",
    "aac": "audio/aac",
    "amr": "audio/amr",
    "aiff": "audio/aiff",
    "caf": "audio/x-caf",
    "asf": "audio/x-ms-wma",
}
_VIDEO_TYPES: Final = {
    "ogg": "video/ogg",
    "mov,mp4,m4a,3gp,3g2,mj2": "video/mp4",
    "matroska,webm": "video/x-matroska",
    "asf": "video/x-ms-wmv",
}


def _from_answer(answer: dict[str, Any], descriptor: int) -> Probe:
    """The child's answer, believed as far as a child that a hostile file took over could be."""
    head = os.pread(descriptor, 64, 0)
    match answer:
        case {
            "duration": float(duration),
            "channels": int(channels),
            "sample_rate": int(rate),
            "codec": str(codec),
            "container": str(container),
            "video": bool(video),
        } if container in _AUDIO_TYPES and codec.isascii() and codec.isprintable() and len(codec) < 40:
            media_type = (video and _VIDEO_TYPES.get(container)) or _AUDIO_TYPES[container]
            if container == "matroska,webm" and b"webm" in head:  # the EBML document type
                media_type = media_type.replace("x-matroska", "webm")
            return Probe(duration, channels, rate, codec, container, media_type)
        case {"failure": "no_audio"}:
            raise ProbeError("unsupported_media", "The file has no audio. Send one with an audio track.")
        case {"failure": "unreadable"} if any(head[at:].startswith(names) for at, names in _SIGNATURES):
            raise ProbeError(
                "corrupt_media", "The recording is damaged or incomplete. Save or upload it again."
            )
        case {"failure": "unreadable"}:
            raise ProbeError(
                "unsupported_media",
                "This is not a kind of recording we read. Send WAV, FLAC, MP3, Ogg, Opus, WebM, MP4, M4A, "
                "AAC, AMR, AIFF, CAF or WMA.",
            )
        case {"failure": "probe_timeout"}:
            raise ProbeError(
                "probe_timeout",
                "Reading the recording took too long. Convert it to FLAC, or split it into parts.",
            )
    raise ProbeError("probe_crashed", "The recording could not be read. Convert it to FLAC, and send that.")


def _turns() -> dict[bytes, threading.BoundedSemaphore]:
    """How many children there may be at once; who is asked for peaks holds up nobody who uploads."""
    return {EXAMINE: threading.BoundedSemaphore(CONCURRENT_PROBES), PEAKS: threading.BoundedSemaphore(1)}


class _ServerDied(Exception):
    """The fork server ended, for reasons that need not lie in this file."""


@dataclass
class _ForkServer:
    """The owner's end: starts the server when first asked, and again whenever it has died."""

    control: socket.socket | None = None
    process: subprocess.Popen[bytes] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    turns: dict[bytes, threading.BoundedSemaphore] = field(default_factory=_turns)

    def ask(self, media: int, question: bytes) -> dict[str, Any]:
        """The child's answer about the open file `media`. Raises ProbeError `probe_unavailable`."""
        turns = self.turns[question]
        if not turns.acquire(timeout=WALL_SECONDS):
            raise ProbeError("probe_unavailable", "Too many recordings are being read. Try again shortly.")
        try:
            for _ in range(2):  # a server that died takes its probes along; a fresh one gets one more chance
                try:
                    return self._ask_once(media, question)
                except _ServerDied:
                    logger.warning("the fork server that reads recordings has died")
        finally:
            turns.release()
        raise ProbeError("probe_unavailable", "Recordings cannot be read at the moment. Try again shortly.")

    def _ask_once(self, media: int, question: bytes) -> dict[str, Any]:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self.lock:
                try:
                    server = self._running()
                    socket.send_fds(server, [question], [media, theirs.fileno()])
                except OSError as error:
                    self._stop()
                    raise _ServerDied from error
            if question == PEAKS:
                said = self._read_answer(ours, server, PEAKS_WALL_SECONDS, _PEAKS_BYTES)
            else:
                said = self._read_answer(ours, server, WALL_SECONDS, _ANSWER_BYTES)
        try:
            answer = json.loads(said)
        except (ValueError, RecursionError):
            answer = None
        return answer if isinstance(answer, dict) else {"failure": "probe_crashed"}

    def _read_answer(self, ours: socket.socket, server: socket.socket, wall: float, most: int) -> bytes:
        """All that is said until the child has ended, so that its turn lasts as long as it does.

        The server ends children that overstay, and answers for those that die: silence is its own end.
        """
        deadline = time.monotonic() + wall + 3
        answer = bytearray()
        with contextlib.suppress(OSError):  # a time-out among them
            ours.settimeout(wall + 3)
            while received := ours.recv(_RECEIVED_BYTES):
                answer += received[: most - len(answer)]
                ours.settimeout(max(deadline - time.monotonic(), 0.001))
            if answer:
                return bytes(answer)
        with self.lock:
            if self.control is server:  # else another thread has seen it, and started the next
                self._stop()
        raise _ServerDied

    def _running(self) -> socket.socket:
        if self.control is None:
            self.control, theirs = socket.socketpair()
            with theirs:
                self.process = subprocess.Popen(  # noqa: S603 - ours, by this interpreter
                    [sys.executable, "-I", probe_server.__file__],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    start_new_session=True,  # Ctrl-C stops the owner, which may have probes to finish
                )
        return self.control

    def _stop(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """End the server. The next probe starts another."""
        with self.lock:
            self._stop()

    def forget(self) -> None:
        """In a forked copy of the owner: the server, and whoever held the lock, belong to the original."""
        self.lock = threading.Lock()
        self.turns = _turns()
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.process is not None:
            self.process.returncode = 0  # not our child: nothing to wait for
            self.process = None


_server = _ForkServer()
atexit.register(_server.close)
os.register_at_fork(after_in_child=_server.forget)
