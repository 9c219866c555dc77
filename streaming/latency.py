"""How long results take: from the arrival of the last audio that a result covers to its sending.

That is the provider's time and ours, without the networks on the client's side. A result says how far it
covers by the seconds of its audio, so it is remembered when each second arrived.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from math import exp, log1p
from typing import Any

import orjson

FIGURES = ("p50_ms", "p95_ms", "p99_ms", "results")
LONGEST_MS = 1e9

# Arrivals remembered: minutes of 100 ms messages. Results cover no audio older than that.
REMEMBERED = 2048
# Buckets grow by 5 %, so that is how exact a percentile is.
_PER_E_FOLD = 20
# A result ends where audio does, but for what arithmetic with floats adds.
_ROUNDING = 1e-4


# How a resumable client begins to tell what it has seen itself.
REPORT = '{"type":"ClientLatency"'


def reported(text: str) -> dict[str, float] | None:
    """What a client says of the latency that it has seen, the networks included; None if that is nonsense."""
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    figures = {name: said.get(name) for name in FIGURES}
    sound = all(type(value) in (int, float) and 0 <= value < LONGEST_MS for value in figures.values())
    return figures if sound else None


class LatencyMeter:
    """Of one session, whose relays before have come to `summary`.

    `seconds` are of its audio, `now` of one clock.
    """

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self._ends: list[float] = []
        self._arrivals: list[float] = []
        self._counts = {int(bucket): count for bucket, count in summary.get("counts", {}).items()}
        self.results = sum(self._counts.values())

    def heard(self, seconds: float, now: float) -> None:
        """All audio up to there has arrived by now."""
        if len(self._ends) == REMEMBERED:
            del self._ends[: REMEMBERED // 2]
            del self._arrivals[: REMEMBERED // 2]
        self._ends.append(seconds)
        self._arrivals.append(now)

    def told(self, seconds: float, now: float) -> float | None:
        """A result is sent that covers the audio up to there: the seconds it took, if they are known."""
        place = bisect_left(self._ends, seconds - _ROUNDING)
        if place == len(self._ends):
            # More than was heard: containers, whose seconds are known only roughly.
            if not place:
                return None
            place -= 1
        took = now - self._arrivals[place]
        bucket = int(log1p(took * 1000) * _PER_E_FOLD)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.results += 1
        return took

    def summary(self) -> dict[str, Any]:
        """FIGURES, and as `counts` how many results each bucket has; empty without any results."""
        if not self.results:
            return {}
        counts = dict(sorted(self._counts.items()))
        buckets, reached = list(counts), list(accumulate(counts.values()))

        def milliseconds(part: float) -> float:
            bucket = buckets[bisect_left(reached, part * self.results)]
            return round(exp((bucket + 0.5) / _PER_E_FOLD) - 1, 2)

        figures = (milliseconds(0.50), milliseconds(0.95), milliseconds(0.99), self.results)
        return {**dict(zip(FIGURES, figures, strict=True)), "counts": counts}
