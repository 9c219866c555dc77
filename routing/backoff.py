"""When to try again: delays with jitter, the provider's `Retry-After`, and the decision itself.

Delays are random so that many jobs refused in the same instant do not return in the same instant
("full jitter": anywhere between almost nothing and the exponential bound).
"""

import random as _random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

MAX_RETRY_AFTER = 600.0
"""Seconds. A longer Retry-After is taken for a mistake, and bounded."""

_FLOOR = 0.1  # of the bound: a delay is never nothing
_RECONNECT_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)
_RECONNECT_CAP = 30.0
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)

Uniform = Callable[[float, float], float]


class ErrorKind(StrEnum):
    """What a failed attempt means for the next one."""

    UNAVAILABLE = "unavailable"  # the network or the provider failed: an attempt is used up
    BUSY = "busy"  # no room now (429, our own limits): waiting is no attempt
    CREDENTIALS = "credentials"  # our key was refused: the job did nothing wrong, and waits
    REJECTED = "rejected"  # the request would be refused again

    @property
    def counts_as_attempt(self) -> bool:
        return self in (ErrorKind.UNAVAILABLE, ErrorKind.REJECTED)


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Fail for good. `code`: rejected, attempts_used_up."""

    code: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently. `max_attempts` counts the first one; `base`, `cap` in seconds."""

    max_attempts: int = 3
    base: float = 2.0
    cap: float = 60.0

    def decide(
        self,
        attempts: int,
        error_kind: ErrorKind,
        retry_after: float | None = None,
        *,
        deferrals: int = 0,
        random: Uniform = _random.uniform,
    ) -> Retry | GiveUp:
        """Decide after a failure.

        `attempts`: counted so far, this one included if its kind counts. `retry_after`: seconds, at
        least so long the delay will be. `deferrals`: waits so far that were no attempts; they stretch
        the delay but are not limited here (a job has a deadline).
        """
        if error_kind is ErrorKind.REJECTED:
            return GiveUp("rejected")
        if error_kind.counts_as_attempt and attempts >= self.max_attempts:
            return GiveUp("attempts_used_up")
        delay = full_jitter(max(1, attempts + deferrals), base=self.base, cap=self.cap, random=random)
        if retry_after is not None:
            # On top, not instead: the provider tells everybody the same instant.
            delay = min(retry_after, MAX_RETRY_AFTER) + min(delay, self.base)
        return Retry(delay)


def full_jitter(
    attempt: int, *, base: float = 2.0, cap: float = 60.0, random: Uniform = _random.uniform
) -> float:
    """Seconds to wait after failure `attempt` (from 1), up to min(cap, base * 2 ** (attempt - 1))."""
    bound = min(cap, base * 2.0 ** min(attempt - 1, 60))
    return random(bound * _FLOOR, bound)


def delays(*, random: Uniform = _random.uniform) -> Iterator[float]:
    """Seconds before each reconnection: at once, then up to 1, 2, 4, 8, 16 and 30 for ever.

    Jitter takes away up to half, so a reconnection is never later than the bound.
    """
    yield 0.0
    for bound in _RECONNECT_DELAYS:
        yield random(bound / 2, bound)
    while True:
        yield random(_RECONNECT_CAP / 2, _RECONNECT_CAP)


def parse_retry_after(
    value: str | None, *, now: datetime | None = None, at_most: float = MAX_RETRY_AFTER
) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110, 10.2.3): seconds or an HTTP date.

    Between 0 and `at_most`; None if the header is absent or makes no sense. `now`: aware, the
    sender's clock (its `Date` header) if known, since ours may differ.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        try:
            until = parsedate_to_datetime(value)
            if until.tzinfo is None:
                until = until.replace(tzinfo=UTC)
            seconds = (until - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), at_most)
