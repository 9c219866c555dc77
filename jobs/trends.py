"""What became of the jobs that were accepted lately, by the time of their acceptance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db import connection

from jobs.ids import first_id
from jobs.models import Status
from jobs.remembered import remembered

# For each stretch and status one range of the index job_by_status: nothing of the table itself is read.
_COUNTED = """
SELECT stretch.number, status.name, (
    SELECT count(*) FROM jobs_transcriptionjob
    WHERE status = status.name AND id >= stretch.first AND id < stretch.after
)
FROM ({stretches}) AS stretch CROSS JOIN ({statuses}) AS status
"""


@dataclass(frozen=True, slots=True)
class Window:
    """A time up to now, in stretches of equal length."""

    name: str
    stretch: timedelta
    count: int


HOUR = Window("hour", timedelta(minutes=5), 12)
DAY = Window("day", timedelta(hours=1), 24)
WEEK = Window("week", timedelta(hours=6), 28)
WINDOWS = (HOUR, DAY, WEEK)


def by_status(window: Window, now: datetime) -> list[Counter[str]]:
    """How many of the jobs accepted in each stretch of the window, the oldest first, are in which status."""
    return remembered(f"trend:{window.name}", lambda: _count(window, now))


def _count(window: Window, now: datetime) -> list[Counter[str]]:
    edges = [now - window.stretch * left for left in range(window.count, -1, -1)]
    # What is accepted just now belongs to the last.
    edges[-1] += window.stretch
    kind, as_kept = ("uuid", str) if connection.vendor == "postgresql" else ("text", lambda pk: pk.hex)
    values: list[Any] = []
    for number, (first, after) in enumerate(pairwise(edges)):
        values += [number, as_kept(first_id(first)), as_kept(first_id(after))]
    stretch = f"SELECT %s AS number, CAST(%s AS {kind}) AS first, CAST(%s AS {kind}) AS after"
    statement = _COUNTED.format(
        stretches=" UNION ALL ".join([stretch] * window.count),
        statuses=" UNION ALL ".join(["SELECT CAST(%s AS text) AS name"] * len(Status.values)),
    )
    counted = [Counter[str]() for _ in range(window.count)]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, *Status.values])
        for number, status, count in cursor.fetchall():
            counted[number][status] = count
    return counted
