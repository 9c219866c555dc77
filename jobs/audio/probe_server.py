"""The fork server that reads recordings, and its children: a program that jobs/audio/probe.py starts.

It imports nothing of ours, which a clean interpreter does not find, and nothing once its limits hold.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from base64 import b64encode
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # whoever starts it never loads FFmpeg
    from collections.abc import Iterator

    from av import AudioFrame, AudioStream
    from av.container import InputContainer

# What is asked of a recording.
EXAMINE: Final = b"?"
PEAKS: Final = b"~"
MAX_DURATION: Final = 24 * 3600.0
WALL_SECONDS: Final = 20
CPU_SECONDS: Final = 10
# To be asked for peaks, which takes all of the audio being decoded: an hour of Opus is 6 s of a processor.
PEAKS_WALL_SECONDS: Final = 240
PEAKS_CPU_SECONDS: Final = 120
PEAKS_PER_SECOND: Final = 20
MEMORY_BYTES: Final = 1536 * 1024 * 1024

_OPTIONS: Final = {
    "format_whitelist": "wav,w64,flac,ogg,mp3,mov,matroska,aac,amr,aiff,caf,asf",
    # The open descriptor alone: with "file" a manifest could name a neighbour.
    "protocol_whitelist": "fd",
}
# Times in these are counted frame by frame, so that only reading them all gives the length.
_COUNTED: Final = frozenset({"mp3", "aac", "amr"})
_TAIL_SECONDS: Final = 1.0
_BELIEVED_WITHIN: Final = 0.5
_SERVER_DESCRIPTORS: Final = 64
_PEAKS_RATE: Final = 8_000
_NEW_NAMESPACES: Final = 0x10000000 | 0x40000000  # CLONE_NEWUSER | CLONE_NEWNET
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


def _serve() -> None:
    """Fork a child for each question that comes in, with its descriptors (media, answer).

    Until the owner is gone.
    """
    importlib.import_module("av.subtitles.stream")  # PyAV does so late, when a child can open no file

    control = socket.socket(fileno=0)
    libc = ctypes.CDLL(None)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.unshare(_NEW_NAMESPACES)  # refused in most containers; the limit on descriptors still holds
    _limit(resource.RLIMIT_NOFILE, _SERVER_DESCRIPTORS)
    _limit(resource.RLIMIT_CORE, 0)
    null = os.open(os.devnull, os.O_WRONLY)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    # Collecting would touch, and so copy, the pages that children share with us.
    gc.collect()
    gc.freeze()
    gc.disable()

    children: dict[int, tuple[float, socket.socket]] = {}
    while True:
        now = time.monotonic()
        patience = min((deadline for deadline, _ in children.values()), default=now + 3600) - now
        ready, _, _ = select.select([control.fileno(), woken], [], [], max(patience, 0))
        if control.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
            if not message:
                break
            media, answer = descriptors
            child = os.fork()
            if not child:
                _read_and_exit(message, media, answer, null, libc)
            os.close(media)
            wall = PEAKS_WALL_SECONDS if message == PEAKS else WALL_SECONDS
            children[child] = (time.monotonic() + wall, socket.socket(fileno=answer))
        if woken in ready:
            os.read(woken, 512)
        _reap(children)
        for child, (deadline, _) in children.items():
            if deadline <= time.monotonic():
                os.kill(child, signal.SIGKILL)
    for child in children:
        os.kill(child, signal.SIGKILL)


def _reap(children: dict[int, tuple[float, socket.socket]]) -> None:
    """Answer for the children that ended without an answer of their own."""
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        deadline, answer = children.pop(child)
        signalled = -os.waitstatus_to_exitcode(status)
        with answer, contextlib.suppress(OSError):
            if signalled:
                late = signalled == signal.SIGXCPU or deadline <= time.monotonic()
                failure = "probe_timeout" if late else "probe_crashed"
                answer.send(json.dumps({"failure": failure}).encode(), socket.MSG_DONTWAIT)


def _read_and_exit(question: bytes, media: int, answer: int, null: int, libc: ctypes.CDLL) -> None:
    """The child's whole life. Nothing may be imported once the limits hold."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for standard, descriptor in enumerate((media, answer, null)):
        os.dup2(descriptor, standard)
    os.closerange(3, _SERVER_DESCRIPTORS)
    os.lseek(0, 0, os.SEEK_SET)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CPU, PEAKS_CPU_SECONDS if question == PEAKS else CPU_SECONDS)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_NOFILE, 4)  # 0 to 2, and the copy of 0 that FFmpeg makes
    try:
        found = _peaks() if question == PEAKS else _examine()
    except MemoryError:
        found = {"failure": "probe_crashed"}
    except Exception:  # noqa: BLE001 - PyAV raises what it likes on damaged files; the owner reports it
        found = {"failure": "unreadable"}
    said = memoryview(json.dumps(found).encode())
    while said:
        said = said[os.write(1, said) :]
    os._exit(0)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    try:
        resource.setrlimit(what, (most, most))
    except (OSError, ValueError):
        if sys.platform == "linux":  # macOS refuses some of them
            raise


def _examine() -> dict[str, Any]:
    """What descriptor 0 holds, in the shape that _from_answer reads."""
    import av

    with av.open("fd:", options=dict(_OPTIONS), metadata_errors="ignore") as container:
        if not container.streams.audio:
            return {"failure": "no_audio"}
        stream = container.streams.best("audio")  # None when a header left out what any decoder needs
        if not isinstance(stream, av.AudioStream):
            return {"failure": "unreadable"}
        attached = av.stream.Disposition.attached_pic
        return {
            "duration": _duration(container, stream),
            "channels": stream.codec_context.channels,
            "sample_rate": stream.codec_context.sample_rate or 0,
            "codec": stream.codec_context.codec.canonical_name,
            "container": container.format.name,
            "video": any(not video.disposition & attached for video in container.streams.video),
        }


def _peaks() -> dict[str, Any]:
    """How loud descriptor 0 is, a byte for each part of a second; 255 is the loudest there can be."""
    import av

    os.nice(10)
    each = 2 * _PEAKS_RATE // PEAKS_PER_SECOND
    peaks, rest = bytearray(), b""
    with av.open("fd:", options=dict(_OPTIONS), metadata_errors="ignore") as container:
        stream = container.streams.best("audio")
        if not isinstance(stream, av.AudioStream):
            return {"failure": "no_audio"}
        resampler = av.AudioResampler(format="s16", layout="mono", rate=_PEAKS_RATE)
        for frame in _frames(container, stream):
            for mono in resampler.resample(frame):
                samples = rest + bytes(mono.planes[0])[: mono.samples * 2]
                whole = len(samples) // each * each
                rest = samples[whole:]
                peaks += bytes(_peak(samples[at : at + each]) for at in range(0, whole, each))
    if rest:
        peaks.append(_peak(rest))
    return {"peaks": b64encode(peaks).decode()}


def _frames(container: "InputContainer", stream: "AudioStream") -> "Iterator[AudioFrame | None]":
    """All that can be decoded, and then None."""
    import av

    with contextlib.suppress(av.FFmpegError):  # of a cut file, what is there
        yield from container.decode(stream)
    yield None


def _peak(samples: bytes) -> int:
    # Every other one shows as much.
    values = memoryview(samples).cast("h")[::2].tolist()
    return min(max(max(values), -min(values)) >> 7, 255)


def _duration(container: "InputContainer", stream: "AudioStream") -> float:
    """Seconds of audio by its packets, 0 without any. Where times can be trusted only the last are read.

    A header that says too little is found out since packets follow its end, one that says too much since
    none are there.
    """
    tick = stream.time_base or Fraction(1)
    start = stream.start_time or 0
    declared = 0
    if container.format.name not in _COUNTED:
        declared = stream.duration or int((container.duration or 0) / 1_000_000 / tick)
    end: int | None = None
    if 0 < declared * tick < 10 * MAX_DURATION:
        tail = start + max(declared - int(_TAIL_SECONDS / tick), 0)
        end = _end_of_packets(container, stream, tail)
    if end is None:
        end = _end_of_packets(container, stream, start)
    if end is None:
        return 0.0
    believed = abs(end - start - declared) * tick < _BELIEVED_WITHIN
    return float((declared if believed else end - start) * tick)


def _end_of_packets(container: "InputContainer", stream: "AudioStream", since: int) -> int | None:
    """When the last packet from `since` on ends, in the stream's ticks; None if there is none."""
    import av

    end: int | None = None
    with contextlib.suppress(av.FFmpegError):  # a cut file is as long as what is there
        container.seek(since, stream=stream)
        for packet in container.demux(stream):
            at = packet.dts if packet.pts is None else packet.pts
            if at is not None:
                end = max(end or 0, at + (packet.duration or 0))
    return end


if __name__ == "__main__":
    _serve()
