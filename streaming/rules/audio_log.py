"""The client's audio, in the order and at the time it was spoken, for as long as it may be needed again.

One log and one cursor: what comes is appended, what goes to the provider is taken at the cursor, and a new
connection is served by moving the cursor back. There is no other buffer, and no other way for audio to go.

Seconds are those of the audio, from the session's start. Where they come from:

    linear16, linear32, mulaw, alaw, g729   the number of bytes (constant rate)
    opus                                    each packet says how long it lasts (RFC 6716, 3.1)
    WebM, Ogg, WAV                          the container (streaming.rules.containers)
    others                                  when it came: replay is no longer exact, only near

Bytes are counted as the client sends them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from typing import Protocol

from streaming.rules.actions import AudioMark
from streaming.rules.containers import ContainerReader, Unit
from streaming.rules.opus import opus_seconds

_SAMPLE_BYTES = {"linear16": 2, "linear32": 4, "mulaw": 1, "alaw": 1}
_G729_BYTES_PER_SECOND = 1000
# Bytes: of smaller pieces Python would need several times as much to hold them.
_LEAST_PIECE = 1024
_IN_CONTAINERS = (None, "ogg-opus")
_UNIT = 256  # bytes that each unit takes beside its own


class AudioLog(Protocol):
    received: int
    """Bytes, from the session's start."""
    passes_raw: bool
    """Whether a message may go on as it came, when the cursor is at the end."""

    @property
    def end(self) -> float:
        """Seconds received."""

    @property
    def cursor(self) -> float:
        """Seconds taken."""

    @property
    def is_taken(self) -> bool:
        """Whether the cursor is at the end."""

    @property
    def size(self) -> int:
        """Bytes held."""

    @property
    def prelude(self) -> bytes:
        """What a decoder needs before anything else: a container's header. Empty for raw audio."""

    @property
    def is_exact(self) -> bool | None:
        """Whether audio can be repeated from any second; None until the first bytes have told."""

    def append(self, data: bytes, now: float) -> None: ...

    def skip(self) -> None:
        """Move the cursor to the end: the last message has gone as it came (`passes_raw`)."""

    def take(self, most: float) -> bytes:
        """What comes next at the cursor, about `most` seconds of it; empty if there is nothing whole."""

    def rewind(self, to: float) -> float:
        """Move the cursor to `to`, or to the nearest place before it where decoding can begin; tell which.

        What is taken next begins with the prelude.
        """

    def forget(self, before: float) -> None:
        """Hold nothing before this second."""

    def mark(self, seconds: float) -> AudioMark:
        """Where to go on so that nothing from `seconds` on is missing."""

    def between(self, start: float, end: float) -> tuple[float, bytes]:
        """What is held of [start, end), with the prelude, and the second at which it begins."""


def open_log(
    encoding: str | None, sample_rate: int | None, channels: int, *, origin: AudioMark, prelude: bytes = b""
) -> AudioLog:
    """A log for audio of this kind that begins at `origin`: nowhere, or where a session is resumed."""
    if encoding in _SAMPLE_BYTES and sample_rate:
        frame = _SAMPLE_BYTES[encoding] * channels
        return PcmLog(frame * sample_rate, frame, origin)
    if encoding == "g729":
        return PcmLog(_G729_BYTES_PER_SECOND, 10, origin)
    if encoding == "opus":
        return UnitLog(OpusPackets(origin), origin)
    reader = ContainerReader(origin.byte, origin.seconds, prelude, is_container=encoding in _IN_CONTAINERS)
    return UnitLog(reader, origin)


class PcmLog:
    """Audio of a constant number of bytes per second.

    It is held as it came: to put it together costs more, in time and memory, than all else of passing it on.
    """

    passes_raw = True
    prelude = b""
    is_exact: bool | None = True

    def __init__(self, rate: int, frame: int, origin: AudioMark) -> None:
        self.received = self._first = self._next = origin.byte  # the session's start is byte 0
        self._held: deque[bytes] = deque()
        self._rate = rate
        self._frame = frame

    @property
    def end(self) -> float:
        return self.received / self._rate

    @property
    def cursor(self) -> float:
        return self._next / self._rate

    @property
    def is_taken(self) -> bool:
        return self._next == self.received

    @property
    def size(self) -> int:
        return self.received - self._first

    def append(self, data: bytes, now: float) -> None:
        if self._held and len(self._held[-1]) < _LEAST_PIECE:
            self._held[-1] += data
        else:
            self._held.append(data)
        self.received += len(data)

    def skip(self) -> None:
        self._next = self.received

    def take(self, most: float) -> bytes:
        start = self._next
        self._next = min(start + max(self._whole(most), self._frame), self.received)
        return self._bytes(start, self._next)

    def rewind(self, to: float) -> float:
        self._next = min(max(self._whole(to), self._first), self.received)
        return self.cursor

    def forget(self, before: float) -> None:
        first = min(self._whole(before), self._next)
        while self._first < first:
            oldest = self._held.popleft()
            gone = min(len(oldest), first - self._first)
            if gone < len(oldest):
                self._held.appendleft(oldest[gone:])
            self._first += gone

    def mark(self, seconds: float) -> AudioMark:
        byte = max(0, min(self._whole(seconds), self.received))
        return AudioMark(byte, byte / self._rate)

    def between(self, start: float, end: float) -> tuple[float, bytes]:
        first = max(self._whole(start), self._first)
        return first / self._rate, self._bytes(first, self._whole(end))

    def _bytes(self, start: int, end: int) -> bytes:
        pieces = []
        begins = self._first
        for piece in self._held:
            if begins >= end:
                break
            if begins + len(piece) > start:
                pieces.append(piece[max(0, start - begins) : end - begins])
            begins += len(piece)
        return b"".join(pieces)

    def _whole(self, seconds: float) -> int:
        """The byte of a second, at the beginning of a frame."""
        # A thousandth of a frame, so that a frame's own second, divided and multiplied, is that frame.
        return int(seconds * self._rate / self._frame + 1e-3) * self._frame


class UnitReader(Protocol):
    """Cuts a stream of bytes into pieces that decode alone, given the prelude."""

    @property
    def prelude(self) -> bytes: ...

    @property
    def is_exact(self) -> bool | None: ...

    def feed(self, data: bytes, now: float) -> list[Unit]: ...


class OpusPackets:
    """Raw Opus: each message is one packet (RFC 6716, 3.1)."""

    prelude = b""
    is_exact: bool | None = True

    def __init__(self, origin: AudioMark) -> None:
        self._byte = origin.byte
        self._seconds = origin.seconds

    def feed(self, data: bytes, now: float) -> list[Unit]:
        start, byte = self._seconds, self._byte
        self._seconds += opus_seconds(data)
        self._byte += len(data)
        return [Unit(start, self._seconds, byte, data)]


class UnitLog:
    """Audio that can only be cut at certain places: between packets, blocks, pages."""

    def __init__(self, reader: UnitReader, origin: AudioMark) -> None:
        self.received = origin.byte
        self.passes_raw = isinstance(reader, OpusPackets)
        self._reader = reader
        self._units: list[Unit] = []
        self._next = 0  # index of the unit at the cursor
        self._taken = self._came = origin.seconds
        self._held = 0
        self._is_new_decoder = True
        self._opening = origin  # the last of what is not held any more

    @property
    def end(self) -> float:
        return self._came

    @property
    def cursor(self) -> float:
        return self._taken

    @property
    def is_taken(self) -> bool:
        return self._next == len(self._units)

    @property
    def size(self) -> int:
        return self._held

    @property
    def prelude(self) -> bytes:
        return self._reader.prelude

    @property
    def is_exact(self) -> bool | None:
        return self._reader.is_exact

    def append(self, data: bytes, now: float) -> None:
        self.received += len(data)
        for unit in self._reader.feed(data, now):
            self._units.append(unit)
            self._held += len(unit.data) + _UNIT
            self._came = max(self._came, unit.end)

    def skip(self) -> None:
        self._next = len(self._units)
        self._taken = self._came
        self._is_new_decoder = False

    def take(self, most: float) -> bytes:
        first, until = self._next, self._taken + most
        while self._next < len(self._units) and (self._next == first or self._units[self._next].end <= until):
            self._taken = max(self._taken, self._units[self._next].end)
            self._next += 1
        pieces = [unit.data for unit in self._units[first : self._next]]
        if pieces and self._is_new_decoder:
            self._is_new_decoder = False
            pieces.insert(0, self._reader.prelude + self._units[first].opening)
        return b"".join(pieces)

    def rewind(self, to: float) -> float:
        self._next = max(0, bisect_right(self._units, to, key=lambda unit: unit.start) - 1)
        self._taken = self._units[self._next].start if self._units else self._came
        self._is_new_decoder = True
        return self._taken

    def forget(self, before: float) -> None:
        count = min(bisect_right(self._units, before, key=lambda unit: unit.end), self._next)
        if count:
            self._opening = self._opened(self._units[:count])
            self._held -= sum(len(unit.data) + _UNIT for unit in self._units[:count])
            del self._units[:count]
            self._next -= count

    def mark(self, seconds: float) -> AudioMark:
        index = bisect_right(self._units, seconds, key=lambda unit: unit.start)
        return self._opened(self._units[:index])

    def _opened(self, units: list[Unit]) -> AudioMark:
        """The last place in them where whoever comes with the prelude alone can begin."""
        for unit in reversed(units):
            if not unit.opening:
                return AudioMark(unit.byte, unit.start)
        return self._opening

    def between(self, start: float, end: float) -> tuple[float, bytes]:
        first = max(0, bisect_right(self._units, start, key=lambda unit: unit.start) - 1)
        units = self._units[first : bisect_left(self._units, end, key=lambda unit: unit.start)]
        if not units:
            return start, b""
        audio = b"".join(unit.data for unit in units)
        return units[0].start, self._reader.prelude + units[0].opening + audio
