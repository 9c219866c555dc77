"""What live connections did: for tests that assert how audio reached the provider. Kept in memory."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field, fields
from typing import Any

RECENT = 2000
LIMIT = 1.25
"""Deepgram takes audio no faster than so many times real time."""
GRACE_SECONDS = 1.0
"""So much may come at once."""


@dataclass(slots=True)
class Entry:
    """One connection. Times in seconds, `at` on the clock of the sandbox's event loop."""

    id: str
    query: list[tuple[str, str]]
    at: float
    status: int = 101
    fault: str | None = None
    audio_seconds: float = 0.0
    audio_bytes: int = 0
    audio_messages: int = 0
    too_fast_seconds: float = 0.0
    """Audio that came beyond what the limit allows."""
    texts: Counter[str] = field(default_factory=Counter)
    """Control messages by type."""
    results: int = 0
    finals: int = 0
    code: int | None = None
    """Of the close, ours or the client's; 1006 for none."""
    seconds: float | None = None
    """How long it was open; None while it is."""
    _ahead: float = 0.0
    _ahead_at: float = 0.0

    def took(self, audio_seconds: float, size: int, now: float) -> None:
        """A message of `size` bytes came in; with it, it is `audio_seconds` of audio in all."""
        seconds = audio_seconds - self.audio_seconds
        self.audio_seconds = audio_seconds
        self.audio_bytes += size
        self.audio_messages += 1
        ahead = max(0.0, self._ahead - LIMIT * (now - (self._ahead_at or self.at))) + seconds
        self._ahead_at = now
        if ahead > GRACE_SECONDS:
            self.too_fast_seconds += ahead - GRACE_SECONDS
            ahead = GRACE_SECONDS
        self._ahead = ahead

    def as_json(self) -> dict[str, Any]:
        names = (field.name for field in fields(self))
        return {name: getattr(self, name) for name in names if not name.startswith("_")}


class StreamJournal:
    def __init__(self) -> None:
        self.active = 0
        self.clear()

    def clear(self) -> None:
        self._total = 0
        self._peak = self.active
        self._recent: deque[Entry] = deque(maxlen=RECENT)

    def refused(self, entry: Entry) -> None:
        self._total += 1
        entry.seconds = 0.0
        self._recent.append(entry)

    def opened(self, entry: Entry) -> None:
        self._total += 1
        self.active += 1
        self._peak = max(self._peak, self.active)
        self._recent.append(entry)

    def closed(self, entry: Entry) -> None:
        self.active -= 1
        entry.seconds = asyncio.get_running_loop().time() - entry.at

    def as_json(self) -> dict[str, Any]:
        entries = [entry.as_json() for entry in self._recent]
        return {"total": self._total, "active": self.active, "peak": self._peak, "recent": entries}
