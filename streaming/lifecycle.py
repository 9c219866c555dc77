"""The moves of a live session together with all that is written with them. Synchronous: call it in a thread.

A relay opens a session, or takes one over by its token; it stores what it has, now and then, for all sessions
of its process at once; and it ends it. Each function is one transaction, and asks for the session's epoch
first: whoever has lost the session to another relay (NotHeld) writes nothing at all.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from jobs import quotas, usage
from jobs.events import emit
from jobs.ids import uuid7
from jobs.models import ApiKey, EventType, Project
from jobs.running.leases import process_name
from routing import tracing
from streaming import metrics, news
from streaming.models import (
    EndReason,
    FinalResult,
    Happening,
    LiveSession,
    NotHeld,
    TimelineEntry,
)

logger = logging.getLogger(__name__)

# Of final results, for whoever goes on with the session (streaming.rules.session.ResumePoint).
TAIL_SECONDS = 15.0


class NotResumable(Exception):
    """No session goes on with this token. `code` is stable, the message says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooManySessions(Exception):
    """The key has as many sessions open as it may."""

    code = "too_many_streams"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The key may have {limit} live sessions at once, and has them: end one first.")
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Final:
    """A final Results message, as it goes to the client; `connection` counts those to the provider from 1.

    `late`: it fills a hole that the live connection left.
    """

    seq: int
    raw: str
    connection: int = 1
    late: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """Something to be remembered in a session's timeline: codes, ids and numbers, nothing that was said."""

    type: Happening
    details: dict[str, Any] = field(default_factory=dict)
    id: UUID = field(default_factory=uuid7)
    at: datetime = field(default_factory=timezone.now)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a session is, and what came since that was stored last.

    `acked_bytes`, `acked_seconds`: where in the client's audio to go on from, all before which is final.
    `last_seq`: of the last of all `finals` ever stored. `duration`: seconds of audio received. `connections`:
    the number of the last one to the provider; `reconnects`: how many of them replaced another. `latency`: of
    all results so far (streaming.latency.LatencyMeter.summary).
    """

    session_id: UUID
    epoch: int
    acked_bytes: int
    acked_seconds: float
    last_seq: int
    duration: float
    connections: int = 1
    reconnects: int = 0
    latency: Mapping[str, Any] = field(default_factory=dict)
    finals: Sequence[Final] = ()
    moments: Sequence[Moment] = ()


@dataclass(frozen=True, slots=True)
class Resumed:
    """A session that has been taken over. Messages are in their order.

    `missed`: what its client has not seen. `tail`: the last finals of each channel, TAIL_SECONDS of them.
    """

    session: LiveSession
    missed: list[str]
    tail: list[str]


def open_session(
    project: Project,
    *,
    options: dict[str, Any],
    tags: list[str],
    key: ApiKey | None = None,
    user: User | None = None,
    resumable: bool = False,
    record: bool = False,
    limit: int | None = None,
) -> tuple[LiveSession, str | None]:
    """A session that this process serves, and the token that resumes it if it is to be resumable.

    `limit`: how many the key may have open; TooManySessions if it has them.
    """
    session = LiveSession(
        project=project,
        key=key,
        created_by=user,
        options=options,
        tags=tags,
        record=record,
        relay=process_name(),
        traceparent=tracing.traceparent(),
    )
    token = session.issue_token() if resumable else None
    with transaction.atomic():
        if key is not None and limit is not None:
            # Those of one key go one after the other: none is let in too many.
            ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk)
            if LiveSession.objects.open().filter(key=key).count() >= limit:
                raise TooManySessions(limit)
        session.insert(settings.LEASE_SECONDS)
        transaction.on_commit(metrics.STARTED.inc)
    return session, token


def connected(session: LiveSession, region: str, request_id: str) -> None:
    """The provider is there, for the first time since the session was opened or resumed.

    Later connections are moments of its progress. NotHeld if the session is another's by now.
    """
    with transaction.atomic():
        session.go_live(region, request_id, settings.LEASE_SECONDS)
        _remember(session, Happening.CONNECTED, region=region, request_id=request_id)


# SQLite returns no column by its table's name, so that of the two tables only one may have an `id`.
_STORE = """
WITH given (session, held, bytes, seconds, seq, length, last, lost, measured) AS (VALUES {rows})
UPDATE streaming_livesession
SET acked_bytes = bytes, acked_seconds = seconds, last_seq = seq, duration = length, connections = last,
    reconnects = lost, latency = {measured}
FROM given WHERE id = session AND epoch = held AND state <> 'ended'
RETURNING id
"""
_ROW = "(%s, %s, %s, %s, %s, %s, %s, %s, %s)"


def store(progress: Sequence[Progress]) -> set[UUID]:
    """Store what sessions have come to, all of them or none; those that are not their relay's any more.

    Of such, nothing is stored. Doing it again, because it is not known whether it was done, changes nothing.
    """
    if not progress:
        return set()
    with transaction.atomic():
        held = _advance(progress)
        kept = [each for each in progress if each.session_id in held]
        FinalResult.objects.bulk_create(
            (final for each in kept for final in _finals(each)), ignore_conflicts=True
        )
        TimelineEntry.objects.bulk_create(
            (
                TimelineEntry(
                    id=moment.id,
                    session_id=each.session_id,
                    type=moment.type,
                    at=moment.at,
                    details=moment.details,
                )
                for each in kept
                for moment in each.moments
            ),
            ignore_conflicts=True,
        )
        news.tell([each.session_id for each in kept if each.finals])
    return {each.session_id for each in progress} - held


def _finals(progress: Progress) -> Iterator[FinalResult]:
    for final in progress.finals:
        try:
            yield FinalResult.parsed(
                progress.session_id, final.seq, final.raw, connection=final.connection, late=final.late
            )
        except ValueError:
            # Or it would keep all others from being stored, again and again.
            logger.exception("Result %d of live session %s is none.", final.seq, progress.session_id)


def _advance(progress: Sequence[Progress]) -> set[UUID]:
    """Those whose epoch still is theirs: by one statement, since a process has a thousand of them."""
    postgresql = connection.vendor == "postgresql"
    values: list[Any] = []
    for each in progress:
        values += [
            each.session_id if postgresql else each.session_id.hex,
            each.epoch,
            each.acked_bytes,
            each.acked_seconds,
            each.last_seq,
            each.duration,
            each.connections,
            each.reconnects,
            json.dumps(each.latency),
        ]
    rows = ", ".join([_ROW] * len(progress))
    with connection.cursor() as cursor:
        measured = "measured::jsonb" if postgresql else "measured"
        cursor.execute(_STORE.format(rows=rows, measured=measured), values)
        return {found if postgresql else UUID(found) for (found,) in cursor.fetchall()}


def keep_prelude(session: LiveSession, prelude: bytes) -> None:
    """The header of audio in a container, without which none of it can be understood after a resume."""
    LiveSession.objects.filter(pk=session.pk, epoch=session.epoch).update(prelude=prelude)


def interrupt(session: LiveSession, *, client_latency: dict[str, float] | None = None) -> None:
    """The client of a resumable session is away."""
    fields = {"client_latency": client_latency} if client_latency else {}
    with transaction.atomic():
        session.interrupt(**fields)
        _remember(session, Happening.INTERRUPTED)


def resume(token: str, last_seq: int) -> Resumed:
    """Take a session over, from whichever relay has it, with what its client has not seen yet.

    NotResumable if there is none with this token, or not any more.
    """
    session = LiveSession.objects.with_token(token)
    if session is None or session.project.deleted_at or (session.key and session.key.revoked_at):
        raise NotResumable("unknown_token", "No session goes on with this token: begin a new one.")
    try:
        with transaction.atomic():
            session.take_over(process_name(), settings.LEASE_SECONDS)
            transaction.on_commit(metrics.RESUMED.inc)
            _remember(session, Happening.RESUMED, epoch=session.epoch, relay=session.relay)
    except NotHeld:
        raise NotResumable(
            "session_ended", "The session ended before its client came back: begin a new one."
        ) from None
    missed = session.finals.filter(seq__gt=last_seq).order_by("seq")
    # Nothing is added to them any more: whoever could is fenced off.
    return Resumed(
        session,
        list(missed.values_list("raw", flat=True)),
        list(session.finals.filter(late=False).tail(TAIL_SECONDS).values_list("raw", flat=True)),
    )


def end(
    session: LiveSession,
    reason: EndReason,
    *,
    client_latency: dict[str, float] | None = None,
    error_code: str = "",
    error_message: str = "",
) -> None:
    """The session ended: told once, by whoever ends it. NotHeld if it had ended, or is another's by now.

    What is not stored yet goes to `store` before.
    """
    fields: dict[str, Any] = {"error_code": error_code, "error_message": error_message}
    fields |= {"client_latency": client_latency} if client_latency else {}
    with transaction.atomic():
        session.end(reason, **fields)
        _tell(session)


def lapse(session: LiveSession) -> None:
    """The sweeper's finding: nobody looks after it any more. NotHeld if somebody does."""
    with transaction.atomic():
        session.lapse()
        if session.is_ended:
            _tell(session)
        else:
            _remember(session, Happening.INTERRUPTED, relay=session.relay)


def count(sessions: QuerySet[LiveSession]) -> None:
    """Count what these have heard since they were counted last, where their project has a quota."""
    heard = sessions.filter(project__daily_minutes__isnull=False, duration__gt=F("counted"))
    with transaction.atomic():
        rows = list(heard.select_for_update(of=("self",)).only("project_id", "duration", "counted"))
        for row in rows:
            quotas.count(row.project_id, row.duration - row.counted)
        LiveSession.objects.filter(pk__in=[row.pk for row in rows]).update(counted=F("duration"))


def bill(session: LiveSession) -> None:
    """Its audio goes into the usage report: once, by whoever ends it or deletes it while it is open."""
    usage.add(session, mode="streaming", seconds=session.duration, failed=bool(session.error_code))


def _tell(session: LiveSession) -> None:
    """That it ended: by the webhooks, and to whoever follows it."""
    session.refresh_from_db(from_queryset=LiveSession.objects.select_related("project"))
    if session.project.daily_minutes is not None:
        count(LiveSession.objects.filter(pk=session.pk))
    bill(session)
    transaction.on_commit(metrics.ENDED.labels(session.reason).inc)
    url = f"{settings.PUBLIC_URL}/api/v1/streams/{session.pk}/"
    data = {
        "id": str(session.pk),
        "project": str(session.project_id),
        "state": session.state,
        "reason": session.reason,
        "error": {"code": session.error_code, "message": session.error_message}
        if session.error_code
        else None,
        "duration": session.duration,
        "reconnects": session.reconnects,
        "resumes": session.epoch - 1,
        "sequence": 1,
        "tags": session.tags,
        "url": url,
        "transcript_url": f"{url}transcript.json",
    }
    event = emit(session.project_id, EventType.STREAM_ENDED, data, traceparent=session.traceparent)
    LiveSession.objects.filter(pk=session.pk).update(event=event)
    news.tell([session.pk])


def _remember(session: LiveSession, what: Happening, **details: Any) -> None:
    TimelineEntry.objects.create(session=session, type=what, details=details)
    news.tell([session.pk])
