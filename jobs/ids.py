"""Identifiers that sort by the time of their making."""

import hashlib
import os
import time
import uuid
from datetime import UTC, datetime


def uuid7() -> uuid.UUID:
    """A version 7 UUID: 48 bits of Unix milliseconds, then 74 random ones (RFC 9562, section 5.7)."""
    return _uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def uuid7_of(at: datetime, what: str) -> uuid.UUID:
    """The version 7 UUID of what is always the same thing, and of that instant."""
    milliseconds = max(0, int(at.timestamp() * 1000)) & (1 << 48) - 1
    return _uuid7(milliseconds, hashlib.sha256(what.encode()).digest()[:10])


def _uuid7(milliseconds: int, rest: bytes) -> uuid.UUID:
    value = milliseconds << 80 | int.from_bytes(rest)
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def first_id(at: datetime, later: float = 0.0) -> uuid.UUID:
    """The least id of what was made at `at`, or `later` seconds later, or after that."""
    return uuid.UUID(int=max(0, int((at.timestamp() + later) * 1000)) << 80)


def made_at(id: uuid.UUID) -> datetime:
    """When what has this id was made, by the clock of whoever made it; ValueError if it is none of ours."""
    return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)
