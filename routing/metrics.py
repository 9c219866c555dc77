"""What is counted of providers. Labels are few: regions, operations, and outcomes that are codes of ours."""

from __future__ import annotations

from itertools import product

from prometheus_client import Counter, Histogram

CALLS = Counter(
    "transcribe_provider_calls",
    "Calls of a provider. outcome: ok, or why not; provider_rate_limited is a 429. operation: transcribe, "
    "grant, models (which probes ask for), or live, the handshake of a live connection.",
    ("region", "operation", "outcome"),
)
CALL_SECONDS = Histogram(
    "transcribe_provider_call_duration_seconds",
    "From asking a provider to the last byte of its answer, whatever it was.",
    ("region", "operation"),
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200),
)
FIRST_BYTE_SECONDS = Histogram(
    "transcribe_provider_first_byte_seconds",
    "From asking a provider to the first byte of its answer, where there was one.",
    ("region", "operation"),
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200),
)

# Of what alerts are about (docker/prometheus).
_WATCHED = (
    "ok",
    "provider_unreachable",
    "provider_timeout",
    "provider_error",
    "provider_malformed_answer",
    "provider_rate_limited",
    "provider_unauthorized",
    "provider_payment_required",
    "provider_forbidden",
)


def expect(region: str) -> None:
    """What has not happened there yet is 0 and not unknown, or its first time would be no rise."""
    for operation, outcome in product(("transcribe", "live"), _WATCHED):
        CALLS.labels(region, operation, outcome)
