"""What other thresholds would have changed: jobs are routed once more, by what their receipts say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from jobs.models import TranscriptionJob
from jobs.speed import estimated_seconds
from routing.modes import Thresholds, choose_mode, conditions_of


class Choice(NamedTuple):
    mode: str
    rule: str


class Simulated(NamedTuple):
    """How many jobs were routed by which choice, and would be by which: (before, after) -> how many."""

    changes: Counter[tuple[Choice, Choice]]

    @property
    def moved(self) -> Counter[tuple[Choice, Choice]]:
        """Those of another mode."""
        return Counter({each: many for each, many in self.changes.items() if each[0].mode != each[1].mode})

    def by_mode(self, *, after: bool) -> Counter[str]:
        found: Counter[str] = Counter()
        for each, many in self.changes.items():
            found[each[after].mode] += many
        return found


def simulate(jobs: Iterable[TranscriptionJob], thresholds: Thresholds) -> Simulated:
    """Choose once more for each job. What only other thresholds need to know is told by recent speed."""
    changes: Counter[tuple[Choice, Choice]] = Counter()
    for job in jobs:
        given = conditions_of(job.receipt)
        if given.estimate is None and thresholds.leave_open(given.duration):
            estimate = estimated_seconds(given.duration, job.region, job.options)
            given = replace(given, estimate=estimate)
        choice = choose_mode(given, thresholds)
        before = Choice(job.receipt["mode"], job.receipt["rule"])
        changes[before, Choice(choice.mode, choice.rule)] += 1
    return Simulated(changes)
