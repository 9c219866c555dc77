"""A run as JSON, to be kept beside the code, and what another says otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.models import EvaluationRun
from jobs.quality.manifest import Manifest
from jobs.quality.scores import RATES, Counts, Difference, Rate, difference, normalised
from jobs.transcripts.options import to_query

# Which recording it is, and what is said in it: without either being the same there is nothing to compare.
Scored = Mapping[tuple[str, str], Counts]

WORST_SHOWN = 5


class NoReport(ValueError):
    """The file is no report of `evaluate`."""


def report(run: EvaluationRun) -> dict[str, Any]:
    return {
        "id": str(run.pk),
        "name": run.name,
        "manifest": run.manifest,
        "manifest_digest": run.manifest_digest,
        "live": run.is_live,
        "options": run.options,
        "region": run.region,
        "noise": run.noise,
        "snr": run.snr,
        "created_at": run.created_at.isoformat(),
        "finished_at": run.finished_at and run.finished_at.isoformat(),
        "scores": run.scores,
        "recordings": [
            {
                "source": recording.source,
                "said": recording.said,
                "heard": None if recording.errors is None else recording.heard,
                "counts": recording.counts or None,
                "error": recording.error or None,
                "region": recording.region or None,
                "tags": recording.tags,
            }
            for recording in run.recordings.all()
        ],
    }


def lines(run: EvaluationRun) -> Iterator[str]:
    """What a finished run comes to, for people."""
    scores = run.scores
    way = "live" if run.is_live else "batch"
    noise = f", noise at {run.snr:g} dB" if run.noise else ""
    options = " ".join(f"{name}={value}" for name, value in to_query(run.options))
    failed = f", {scores['failed']} failed" if scores["failed"] else ""
    yield f"{run} ({way}, {options}{noise}): {scores['recordings']} recordings{failed}"
    if scores["recordings"]:
        for name in RATES:
            rate = Rate(**scores[name])
            yield f"  {name.upper()}  {rate.value:7.2%}   {rate.low:.2%} to {rate.high:.2%}"
    for worst in run.recordings.scored().filter(errors__gt=0).order_by("-errors")[:WORST_SHOWN]:
        yield f"       {worst.errors:7.2%}   {worst.source}"


def in_words(found: Difference) -> str:
    points = (f"{100 * points:+.2f}" for points in (found.value, found.low, found.high))
    rates = f"WER {found.first:.2%} -> {found.second:.2%} of {found.recordings} recordings"
    return "{}: {} points ({} to {})".format(rates, *points)


def scored_in(run: EvaluationRun) -> Scored:
    rows = run.recordings.scored().values_list("source", "said", "counts")
    return _scored(rows)


def read(path: Path) -> Scored:
    """What a report written before says of its (first) run. NoReport, OSError."""
    try:
        rows = json.loads(path.read_text())["runs"][0]["recordings"]
        return _scored((row["source"], row["said"], row["counts"]) for row in rows if row["counts"])
    except (ValueError, LookupError, TypeError) as error:
        raise NoReport(f"{path} is no report of evaluate ({error}).") from None


def share(before: Scored, listed: Manifest) -> bool:
    """Whether a run of this manifest could be compared at all."""
    return any((entry.source, normalised(entry.text)) in before for entry in listed.entries)


def compared(before: Scored, after: Scored, rate: str = "wer") -> Difference | None:
    """Of the recordings that both have; None if there are none."""
    both = [key for key in after if key in before]
    if not both:
        return None
    return difference([before[key] for key in both], [after[key] for key in both], rate)


def _scored(rows: Iterable[tuple[str, str, dict[str, int]]]) -> Scored:
    return {(source, normalised(said)): Counts(**counts) for source, said, counts in rows}
