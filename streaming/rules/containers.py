"""Where a container can be cut, so that what follows its header decodes alone.

others  between messages, with seconds by when they came: a guess, and `is_exact` says so
"""

from __future__ import annotations

from typing import NamedTuple


class Unit(NamedTuple):
    """A piece of audio: its seconds, the place of its first byte in what the client sends, and its bytes."""

    start: float
    end: float
    byte: int
    data: bytes


class ContainerReader:
    """Cuts a container into units."""

    def __init__(self, byte: int, seconds: float, prelude: bytes) -> None:
        self.is_exact: bool | None = False
        self.prelude = prelude
        self._byte = byte
        self._seconds = seconds
        self._began: float | None = None

    def feed(self, data: bytes, now: float) -> list[Unit]:
        if self._began is None:
            self._began = now - self._seconds
        unit = Unit(self._seconds, max(self._seconds, now - self._began), self._byte, data)
        self._byte += len(data)
        self._seconds = unit.end
        return [unit]

    def opening(self, unit: Unit) -> bytes:
        return b""
