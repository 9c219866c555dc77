"""Counting what ended before usage was: a day at a time, from the first one that has usage back.

So the table itself tells how far it has come: doing it again, or after a kill, counts nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from itertools import chain, islice

from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Max, Min, QuerySet

from jobs.database_turns import Turn, wait_for
from jobs.models import TranscriptionJob, UsageLine
from jobs.models.state import ENDED
from jobs.models.usage import today
from jobs.usage import lines_of, lines_of_job
from streaming.models import LiveSession

AT_A_TIME = 1000
_WHOSE = ("project", "created_by", "key", "options", "tags")


def fill_a_day() -> tuple[date, int] | None:
    """Count the last day that has no usage yet, and how many lines that were; None: there is none left.

    Of a job its last run is counted: of earlier ones not enough is kept. Costs are by today's prices.
    """
    with transaction.atomic():
        wait_for(Turn.FILLING_USAGE, DEFAULT_DB_ALIAS)
        first = UsageLine.objects.aggregate(day=Min("day"))["day"] or today()
        counted_from = datetime.combine(first, time.min, UTC)
        jobs = TranscriptionJob.objects.filter(status__in=ENDED, finished_at__lt=counted_from)
        sessions = LiveSession.objects.filter(ended_at__lt=counted_from)
        ends = jobs.aggregate(at=Max("finished_at"))["at"], sessions.aggregate(at=Max("ended_at"))["at"]
        last = max(filter(None, ends), default=None)
        if last is None:
            return None
        day = last.astimezone(UTC).date()
        begin = datetime.combine(day, time.min, UTC)
        lines = chain(
            _of_jobs(jobs.filter(finished_at__gte=begin), day),
            _of_sessions(sessions.filter(ended_at__gte=begin), day),
        )
        count = 0
        while some := list(islice(lines, AT_A_TIME)):
            count += len(UsageLine.objects.bulk_create(some))
        UsageLine.objects.merge(day)
    return day, count


def _of_jobs(jobs: QuerySet[TranscriptionJob], day: date) -> Iterator[UsageLine]:
    for job in jobs.only(*_WHOSE, "mode", "status", "duration").iterator(AT_A_TIME):
        yield from lines_of_job(job, day)


def _of_sessions(sessions: QuerySet[LiveSession], day: date) -> Iterator[UsageLine]:
    for session in sessions.only(*_WHOSE, "duration", "error_code").iterator(AT_A_TIME):
        failed = bool(session.error_code)
        yield from lines_of(session, day, mode="streaming", seconds=session.duration, failed=failed)
