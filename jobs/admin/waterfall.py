"""When each entry of a timeline was, as bars under each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.timeline import Entry

# What happens in an instant is seen all the same.
NARROWEST = 0.8
# What receivers are told may go on for days: what is later than the run stands at the right edge.
_AFTER_THE_RUN = ("delivery", "next_delivery")
# Nothing was done in the time before them: that is shown as waiting.
_BEGUN = ("attempt", "running")


@dataclass(frozen=True, slots=True)
class Bar:
    """In per cent of the run's time: `waited` up to `x`, and then so wide."""

    waited: float
    x: float
    width: float

    @property
    def start(self) -> float:
        """Where the waiting began."""
        return self.x - self.waited


def bars(entries: Sequence[Entry], now: datetime) -> list[Bar]:
    """One for each entry, each run on a scale of its own, from its first entry to its last."""
    scales = {run: _scale([each for each in entries if each["run"] == run], now) for run in _runs(entries)}
    return [_bar(entry, entries[:place], *scales[entry["run"]], now) for place, entry in enumerate(entries)]


def _runs(entries: Sequence[Entry]) -> set[int]:
    return {entry["run"] for entry in entries}


def _end(entry: Entry, now: datetime) -> datetime:
    if entry["kind"] in ("running", "waiting"):
        return now
    if entry["kind"] == "delivery":
        return entry["at"] + timedelta(seconds=entry["details"]["seconds"])
    return entry["ended_at"] or entry["at"]


def _scale(entries: Sequence[Entry], now: datetime) -> tuple[datetime, float]:
    """When the run began, and how many seconds it took."""
    began = min(entry["at"] for entry in entries)
    of_run = [entry for entry in entries if entry["kind"] not in _AFTER_THE_RUN] or entries
    seconds = max((_end(entry, now) - began).total_seconds() for entry in of_run)
    # A first message to a receiver comes right behind.
    return began, max(seconds * 1.1, 0.001)


def _bar(entry: Entry, before: Sequence[Entry], began: datetime, seconds: float, now: datetime) -> Bar:
    def place(at: datetime) -> float:
        return max(0.0, min((at - began).total_seconds() / seconds * 100, 100 - NARROWEST))

    x, end = place(entry["at"]), place(_end(entry, now))
    waited = 0.0
    if entry["kind"] in _BEGUN:
        ends = [_end(each, now) for each in before if each["run"] == entry["run"]]
        waited = x - place(max(ends)) if ends else x
    return Bar(round(max(waited, 0.0), 2), round(x, 2), round(max(end - x, NARROWEST), 2))
