"""Looking after live sessions that no relay does: what workers do along with jobs (jobs.companions)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from structlog.contextvars import bound_contextvars

from jobs import metrics
from jobs.forgetting.deletion import delete_events, delete_jobs, delete_unused_recordings
from jobs.models import Erasure, Project
from streaming import holes, lifecycle, news, recorded
from streaming.models import FinalResult, Hole, LiveSession, NotHeld, State

logger = logging.getLogger(__name__)

SWEPT_AT_A_TIME = 500
FORGOTTEN_AT_A_TIME = 2000
ERASED_AT_A_TIME = 100

# monotonic(): while the database is away nobody can renew a lease, and relays need a moment once it is back.
_leases_count_from = 0.0


def sweep(stopping: Callable[[], bool]) -> None:
    """Interrupt or end the sessions whose relay is gone or whose client stays away; fill holes; record."""
    global _leases_count_from
    try:
        if monotonic() >= _leases_count_from:
            _lapse(stopping)
        holes.fill_those_left(stopping)
        recorded.make_recordings(stopping)
    except (OperationalError, InterfaceError):
        _leases_count_from = monotonic() + settings.HEARTBEAT_SECONDS
        raise


def _lapse(stopping: Callable[[], bool]) -> None:
    for session in LiveSession.objects.lapsed().select_related("project")[:SWEPT_AT_A_TIME]:
        # Its client has left, and not come back in time: nothing is wrong then.
        what = "abandoned_stream" if session.state == State.INTERRUPTED else "lapsed_stream"
        try:
            lifecycle.lapse(session)
        except NotHeld:
            continue
        metrics.RESCUES.labels(what).inc()
        with bound_contextvars(session_id=str(session.pk)):
            logger.warning("Nobody looks after live session %s: it is %s now.", session.pk, session.state)
        if stopping():
            return


def forget(project: Project) -> Counter[str]:
    """Results, and holes never filled, go `transcript_days` after their session ended; its row stays.

    Its recording is jobs' to delete.
    """
    if project.keeps_transcript_days is None:
        return Counter()
    past = _past(project, project.keeps_transcript_days)
    ids = list(FinalResult.objects.filter(past).order_by().values_list("pk", flat=True)[:FORGOTTEN_AT_A_TIME])
    FinalResult.objects.filter(pk__in=ids).delete()
    left = Hole.objects.unsettled().filter(past).order_by()
    sessions = list(left.values_list("session", flat=True)[:FORGOTTEN_AT_A_TIME])
    holes.discard(sessions)
    return +Counter(results=len(ids), holes=len(sessions))


def would_forget(project: Project, days: int) -> int:
    return FinalResult.objects.filter(_past(project, days)).count()


def _past(project: Project, days: int) -> Q:
    return Q(session__project=project, session__ended_at__lt=Now() - timedelta(days=days))


def end_all(project: Project) -> None:
    mine = LiveSession.objects.filter(project=project)
    lifecycle.bill(mine.open().select_for_update())
    mine.end_all()


def erase(project: Project) -> Iterator[Counter[str]]:
    mine = LiveSession.objects.filter(project=project).order_by()
    while ids := list(mine.values_list("pk", flat=True)[:ERASED_AT_A_TIME]):
        with transaction.atomic():
            recorded.discard(ids)
            holes.discard(ids)
            LiveSession.objects.filter(pk__in=ids).delete()
        yield Counter(streams=len(ids))


def tables() -> list[tuple[str, QuerySet[Any]]]:
    return [("streams", LiveSession.objects.all())]


def erase_part(erasure: Erasure) -> Iterator[Counter[str]]:
    """One at a time: a relay may be at any of them, and its recording's job goes with each."""
    come_to = UUID(int=0)
    mine = erasure.of(LiveSession.objects.all()).order_by("pk")
    while session := mine.filter(pk__gt=come_to).first():
        come_to = session.pk
        yield delete(session)


def delete(session: LiveSession) -> Counter[str]:
    """Delete the session with its results, what webhooks were told of it, and its recording's job; how many.

    A relay that still holds it finds nothing to write to, and closes it.
    """
    with transaction.atomic():
        locked = LiveSession.objects.select_for_update().filter(pk=session.pk).first()
        if locked is None:
            return Counter()
        if locked.event_id is not None:
            delete_events([locked.event_id])
        if not locked.is_ended:
            lifecycle.bill([locked])
        recorded.discard([locked.pk])
        holes.discard([locked.pk])
        locked.delete()
        news.tell([session.pk])
        # The recording has the session's id, and whoever makes it may have come to that and not to its job.
        deleted = delete_jobs([locked.job_id] if locked.job_id else [])
        return deleted + Counter(streams=1, recordings=delete_unused_recordings([session.pk]))
