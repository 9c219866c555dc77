"""Identifiers that sort by the time of their making."""

import os
import time
import uuid
from datetime import datetime


def uuid7() -> uuid.UUID:
    """A version 7 UUID: 48 bits of Unix milliseconds, then 74 random ones (RFC 9562, section 5.7)."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def first_id(at: datetime, later: float = 0.0) -> uuid.UUID:
    """The least id of what was made at `at`, or `later` seconds later, or after that."""
    return uuid.UUID(int=max(0, int((at.timestamp() + later) * 1000)) << 80)
