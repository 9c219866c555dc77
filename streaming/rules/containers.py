"""Where a container can be cut, so that what follows its header decodes alone.

    WebM    blocks; one whose cluster began before is preceded by a cluster of its own (RFC 8794, RFC 9559)
    Ogg     pages of Opus, timed by their granule positions (RFC 3533; RFC 7845, 4)
    WAV     anywhere between frames
    others  between messages, timed by when they came: a guess, and `is_exact` says so

A stream that stops making sense goes on as one of the others: nothing is held back for good.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from streaming.rules.opus import opus_seconds

_MOST_HEADER = 256 * 1024  # bytes; with no audio in them this is no stream
_MOST_ELEMENT = 1024 * 1024
_RECOGNISED_BY = 12  # bytes
_WAV_PIECE = 0.1  # seconds
_LEAST_RATE = 500  # bytes per second of WAV: nothing that is spoken takes less
_OPUS_RATE = 48_000  # of granule positions, whatever the input's
_FRAME = 0.02  # seconds: of a WebM block that does not tell

_EBML, _SEGMENT, _INFO, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
_TIMECODE_SCALE, _TIMECODE, _SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0x2AD7B1, 0xE7, 0xA3, 0xA0, 0xA1


class Unit(NamedTuple):
    """A piece of audio: its seconds, the place of its first byte in what the client sends, and its bytes.

    `opening`: what has to precede it when nothing but the prelude does.
    """

    start: float
    end: float
    byte: int
    data: bytes
    opening: bytes = b""


class _Piece(NamedTuple):
    """A unit before it is placed: in the container's own seconds."""

    start: float
    end: float
    data: bytes
    opening: bytes = b""


class _NotAStream(ValueError):
    """The bytes are not what the container asks for."""


class _Container(Protocol):
    prelude: bytes

    def cut(self, unread: bytearray) -> Iterator[_Piece]:
        """Take what is whole from the beginning of `unread`; raise _NotAStream."""


class ContainerReader:
    """Cuts a stream into units, by the container that its first bytes (or `prelude`, if resumed) tell."""

    def __init__(self, byte: int, seconds: float, prelude: bytes = b"", *, is_container: bool = True) -> None:
        self.is_exact: bool | None = None if is_container else False
        self._received = byte
        self._seconds = seconds
        self._unread = bytearray()
        self._container: _Container | None = None
        self._zero: float | None = None  # the container's second that is the session's 0
        self._prelude = b""
        if prelude and (container := _recognised(prelude)) is not None:
            self._container = container
            self.is_exact = True
            header = bytearray(prelude)
            for _ in container.cut(header):
                pass

    @property
    def prelude(self) -> bytes:
        return self._container.prelude if self._container else self._prelude

    def feed(self, data: bytes, now: float) -> list[Unit]:
        self._received += len(data)
        self._unread += data
        if self.is_exact is None and len(self._unread) >= _RECOGNISED_BY:
            self._container = _recognised(self._unread)
            self.is_exact = self._container is not None
        units: list[Unit] = []
        if self._container is not None:
            try:
                for piece in self._container.cut(self._unread):
                    units.append(self._placed(piece))
            except (_NotAStream, struct.error):
                self._prelude, self._container, self.is_exact = self._container.prelude, None, False
                self._zero = None
        if self.is_exact is False and self._unread:
            rest = bytes(self._unread)
            self._unread.clear()
            if self._zero is None:
                self._zero = now - self._seconds
            units.append(self._unit(self._seconds, now - self._zero, rest))
        return units

    def _placed(self, piece: _Piece) -> Unit:
        if self._zero is None:
            self._zero = piece.start - self._seconds
        return self._unit(piece.start - self._zero, piece.end - self._zero, piece.data, piece.opening)

    def _unit(self, start: float, end: float, data: bytes, opening: bytes = b"") -> Unit:
        # Blocks of several tracks are not quite in order; what is looked up by its time has to be.
        byte = self._received - len(self._unread) - len(data)
        unit = Unit(max(start, 0.0), max(end, self._seconds), byte, data, opening)
        self._seconds = unit.end
        return unit


def _recognised(first: bytes | bytearray) -> _Container | None:
    if first[:4] == b"OggS":
        return _OggOpus()
    if first[:4] == _EBML.to_bytes(4, "big"):
        return _WebM()
    if first[:4] == b"RIFF" and first[8:12] == b"WAVE":
        return _Wav()
    return None


class _Wav:
    def __init__(self) -> None:
        self.prelude = b""
        self._rate = 0  # bytes per second
        self._frame = 1
        self._seconds = 0.0

    def cut(self, unread: bytearray) -> Iterator[_Piece]:
        if not self.prelude and not self._read_header(unread):
            return
        while len(unread) >= self._frame:
            whole = min(len(unread), int(self._rate * _WAV_PIECE)) // self._frame * self._frame
            data = bytes(unread[: whole or self._frame])
            del unread[: len(data)]
            start, self._seconds = self._seconds, self._seconds + len(data) / self._rate
            yield _Piece(start, self._seconds, data)

    def _read_header(self, unread: bytearray) -> bool:
        at = 12
        while len(unread) >= at + 8:
            name, size = struct.unpack_from("<4sI", unread, at)
            if not name.isalnum() and not name.endswith(b" "):
                raise _NotAStream
            if name == b"data":
                if self._rate < _LEAST_RATE:
                    raise _NotAStream
                self.prelude = bytes(unread[: at + 8])
                del unread[: at + 8]
                return True
            if name == b"fmt ":
                if len(unread) < at + 24:
                    return False
                if size < 16:
                    raise _NotAStream
                self._rate, self._frame = struct.unpack_from("<IH", unread, at + 16)
                self._frame = max(1, self._frame)
            at += 8 + size + size % 2
            if at > _MOST_HEADER:
                raise _NotAStream
        return False


class _OggOpus:
    def __init__(self) -> None:
        self.prelude = b""
        self._skip = 0  # samples at the beginning that are not heard
        self._seconds: float | None = None

    def cut(self, unread: bytearray) -> Iterator[_Piece]:
        while len(unread) >= 27:
            if unread[:4] != b"OggS":
                raise _NotAStream
            begins = 27 + unread[26]
            lacing = bytes(unread[27:begins])
            ends = begins + sum(lacing)
            if len(unread) < ends:
                return
            page, body = bytes(unread[:ends]), bytes(unread[begins:ends])
            (granule,) = struct.unpack_from("<q", page, 6)
            if not self.prelude:
                if body[:8] != b"OpusHead" or len(body) < 12:
                    raise _NotAStream
                (self._skip,) = struct.unpack_from("<H", body, 10)
            del unread[:ends]
            if granule == 0:
                self.prelude += page
                if len(self.prelude) > _MOST_HEADER:
                    raise _NotAStream
                continue
            end = (granule - self._skip) / _OPUS_RATE if granule > 0 else None  # -1 where no packet ends
            start = self._seconds
            if start is None:
                start = (end or 0.0) - _page_seconds(lacing, body)
            self._seconds = max(start, end or 0.0)
            yield _Piece(start, self._seconds, page)


def _page_seconds(lacing: bytes, body: bytes) -> float:
    """How long the packets last that begin on a page. A packet goes on while its segments are full."""
    seconds, begins, length = 0.0, 0, 0
    for size in lacing:
        length += size
        if size < 255:
            seconds += opus_seconds(body[begins : begins + 2])
            begins, length = begins + length, 0
    return seconds


class _WebM:
    def __init__(self) -> None:
        self.prelude = b""
        self._scale = 1e-3  # seconds per unit of time
        self._is_opus = False
        self._cluster: int | None = None  # its time
        self._opening = b""
        self._head = b""  # what came since the last block and is none

    def cut(self, unread: bytearray) -> Iterator[_Piece]:
        while (element := _element(unread)) is not None:
            kind, begins, size = element
            if kind in (_SEGMENT, _CLUSTER):
                ends = begins  # entered: what it holds comes next
                if kind == _CLUSTER:
                    self._cluster = 0
            elif size is None or size > _MOST_ELEMENT:
                raise _NotAStream
            else:
                ends = begins + size
            if len(unread) < ends:
                return
            raw, body = bytes(unread[:ends]), bytes(unread[begins:ends])
            del unread[:ends]
            if self._cluster is None:
                self._read_head(kind, raw, body)
            elif kind in (_SIMPLE_BLOCK, _BLOCK_GROUP):
                yield self._block(raw, body if kind == _SIMPLE_BLOCK else _child(body, _BLOCK))
            else:
                self._head += raw
                if len(self._head) > _MOST_ELEMENT:
                    raise _NotAStream
                if kind == _TIMECODE:
                    self._cluster = int.from_bytes(body, "big")
                    self._opening = (
                        _CLUSTER.to_bytes(4, "big")
                        + b"\x01\xff\xff\xff\xff\xff\xff\xff"  # of unknown size
                        + bytes([_TIMECODE, 0x88])
                        + self._cluster.to_bytes(8, "big")
                    )

    def _read_head(self, kind: int, raw: bytes, body: bytes) -> None:
        self.prelude += raw
        if len(self.prelude) > _MOST_HEADER:
            raise _NotAStream
        if kind == _INFO and (scale := _child(body, _TIMECODE_SCALE)):
            self._scale = int.from_bytes(scale, "big") * 1e-9
        if kind == _TRACKS:
            self._is_opus = b"A_OPUS" in body

    def _block(self, raw: bytes, block: bytes) -> _Piece:
        # The track's number (as long as it says), the time within the cluster, a byte of flags, the frame.
        track = _length(block[0]) if block else 0
        if not track or len(block) < track + 3 or self._cluster is None:
            raise _NotAStream
        (within,) = struct.unpack_from(">h", block, track)
        start = (self._cluster + within) * self._scale
        seconds = opus_seconds(block[track + 3 :]) if self._is_opus else _FRAME
        data, opening = self._head + raw, b"" if self._head else self._opening
        self._head = b""
        return _Piece(start, start + seconds, data, opening)


def _element(data: bytes | bytearray, at: int = 0) -> tuple[int, int, int | None] | None:
    """An EBML element's id, where its body begins, and its size if it tells; None if there is no more."""
    if len(data) <= at:
        return None
    width = _length(data[at])
    if not width or width > 4:
        raise _NotAStream
    if len(data) <= at + width:
        return None
    kind = int.from_bytes(data[at : at + width], "big")
    at += width
    width = _length(data[at])
    if not width:
        raise _NotAStream
    if len(data) < at + width:
        return None
    unknown = (1 << 7 * width) - 1
    size = int.from_bytes(data[at : at + width], "big") & unknown
    return kind, at + width, None if size == unknown else size


def _length(first: int) -> int:
    """How many bytes a number of variable length has, by its first; 0 if that is none."""
    return 9 - first.bit_length() if first else 0


def _child(body: bytes, kind: int) -> bytes:
    """The body of the first child of a kind; empty if there is none."""
    at = 0
    while (element := _element(body, at)) is not None:
        found, begins, size = element
        if size is None:
            break
        if found == kind:
            return body[begins : begins + size]
        at = begins + size
    return b""
