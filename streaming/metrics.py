"""What is counted of live audio, in the process where it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from jobs.metrics import audio_transcribed
from streaming.models import EndReason

CONNECTIONS = Counter(
    "transcribe_live_connections",
    "Handshakes of clients, and what broke. outcome: accepted, refused (400 to 499: theirs to mend), failed "
    "(500 and above), broken (accepted, and then our session failed).",
    ("outcome",),
)
ACTIVE = Gauge("transcribe_live_sessions_active", "Live sessions that this process serves.")
STARTED = Counter("transcribe_live_sessions_started", "Live sessions begun; resumes are none.")
RESUMED = Counter("transcribe_live_sessions_resumed", "Clients that came back to their session.")
# Those that are deleted are ended all at once, and not counted.
ENDED_BY = [reason.value for reason in EndReason if reason is not EndReason.DELETED]
ENDED = Counter(
    "transcribe_live_sessions_ended",
    f"Live sessions that ended. reason: {', '.join(ENDED_BY)}.",
    ("reason",),
)
RECONNECTS = Counter(
    "transcribe_live_reconnects",
    "Connections to a provider that were replaced in the middle of a session, by the region that took over.",
    ("region",),
)
RECONNECT_SECONDS = Histogram(
    "transcribe_live_reconnect_duration_seconds",
    "From the loss of a provider's connection to its being replaced.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 30, 60, 120),
)
LATENCY_SECONDS = Histogram(
    "transcribe_live_result_latency_seconds",
    "From the arrival of the last audio that a result covers to its sending. kind: interim, final.",
    ("region", "kind"),
    buckets=(0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 2, 5),
)
DROPPED_INTERIMS = Counter(
    "transcribe_live_interims_dropped",
    "Interim results that a client was not sent, since it did not read those before.",
)
GAP_SECONDS = Counter(
    "transcribe_live_gap_seconds",
    "Audio that was declared lost. What was kept of it is asked for again after the session's end, while it "
    "is one of transcribe_live_holes_open.",
)
BUFFER_BYTES = Gauge(
    "transcribe_live_buffer_bytes",
    "What live sessions of this process hold. buffer: audio (to be sent again), results (for the client).",
    ("buffer",),
)

# What has not happened yet is 0 and not unknown, or its first time would be no rise.
for _outcome in ("accepted", "refused", "failed", "broken"):
    CONNECTIONS.labels(_outcome)
for _reason in ENDED_BY:
    ENDED.labels(_reason)


def expect(region: str) -> None:
    """The same, for what depends on the region."""
    RECONNECTS.labels(region)


def handshake_refused(status: int) -> None:
    CONNECTIONS.labels("failed" if status >= 500 else "refused").inc()


class OfSession:
    """What one relay counts. `options` are the session's, `seconds` of audio were counted by a relay before.

    Labels are looked up with each connection to a provider and not with each result: that costs more than
    counting.
    """

    def __init__(self, options: Mapping[str, Any], seconds: float) -> None:
        self._options = options
        self._seconds = seconds
        self._dropped = 0
        self._lost_at: float | None = None
        self._region: str | None = None

    def connected(self, region: str, now: float) -> None:
        """To a provider; `now` of any monotonic clock, here and below."""
        self._region = region
        self._interim, self._final = (LATENCY_SECONDS.labels(region, kind) for kind in ("interim", "final"))
        if self._lost_at is not None:
            RECONNECTS.labels(region).inc()
            RECONNECT_SECONDS.observe(now - self._lost_at)
            self._lost_at = None

    def lost_provider(self, now: float) -> None:
        """And is to be connected again."""
        if self._lost_at is None:
            self._lost_at = now

    def told(self, latency: float | None, *, is_final: bool) -> None:
        """A result; `latency` in seconds, None if it is not known."""
        if latency is not None and self._region is not None:
            (self._final if is_final else self._interim).observe(latency)

    def progressed(self, seconds: float, dropped: int) -> None:
        """So much audio has come in all, and so many interims were dropped."""
        if self._region is not None:
            came = max(0.0, seconds - self._seconds)
            audio_transcribed(came, mode="streaming", region=self._region, options=self._options)
            self._seconds = seconds
        DROPPED_INTERIMS.inc(dropped - self._dropped)
        self._dropped = dropped
