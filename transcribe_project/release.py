"""Whether a release holds, by what Prometheus has seen since: for automatic rollbacks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import httpx

ASK_SECONDS = 10.0

# `since`: seconds.
_LATENCY = """histogram_quantile(0.95, sum by (le) (
    increase(transcribe_live_result_latency_seconds_bucket[{since}s])))"""
_RESULTS = "sum(increase(transcribe_live_result_latency_seconds_count[{since}s]))"
_FAILED = 'sum(increase(transcribe_live_connections_total{{outcome=~"failed|broken"}}[{since}s]))'
_CONNECTIONS = 'sum(increase(transcribe_live_connections_total{{outcome=~"accepted|failed"}}[{since}s]))'


class PrometheusUnavailable(Exception):
    """It cannot be asked, or does not answer as it should."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Of live audio since then. `latency`: p95 in seconds, NaN without results; the others are counts."""

    latency: float
    results: float
    failed: float
    connections: float

    @property
    def failing(self) -> float:
        """The share of connections that failed; 0 without any."""
        return self.failed / self.connections if self.connections else 0.0

    def __str__(self) -> str:
        latency = f", p95 {1000 * self.latency:.0f} ms" if self.results else ""
        return (
            f"{self.connections:.0f} live connections, {self.failing:.1%} failed; "
            f"{self.results:.0f} results{latency}"
        )


def seen_since(prometheus: str, seconds: float) -> Seen:
    """What this Prometheus (an address like http://prometheus:9090) has seen. PrometheusUnavailable."""
    since = max(1, math.ceil(seconds))
    with httpx.Client(base_url=prometheus, timeout=ASK_SECONDS, trust_env=False) as client:
        latency, results, failed, connections = (
            _ask(client, query.format(since=since)) for query in (_LATENCY, _RESULTS, _FAILED, _CONNECTIONS)
        )
    return Seen(latency, *(0.0 if math.isnan(each) else each for each in (results, failed, connections)))


def _ask(client: httpx.Client, query: str) -> float:
    """The value of a query that has one at the most; NaN if it has none."""
    try:
        answer = client.get("/api/v1/query", params={"query": query}).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return float(found[0]["value"][1]) if found else math.nan
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise PrometheusUnavailable(f"{type(error).__name__}: {error}") from None
