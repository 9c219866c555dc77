"""The moves of a live session together with all that is written with them. Synchronous: call it in a thread.

A relay opens a session, or takes one over by its token; it stores what it has come to, the end included, for
all sessions of its process at once. Each function is one transaction, and asks for the session's epoch first:
of a session that another relay has by now, nothing at all is written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from jobs import quotas, usage
from jobs.events import emit_all, event_of
from jobs.ids import uuid7
from jobs.models import ApiKey, EventType, Project, UsageLine
from jobs.models.usage import today
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
class Ending:
    """How a session ended; the error's code is stable, and empty if there was none."""

    reason: EndReason
    error_code: str = ""
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a session is, and what came since that was stored last.

    `acked_bytes`, `acked_seconds`: where in the client's audio to go on from, all before which is final.
    `last_seq`: of the last of all `finals` ever stored. `duration`: seconds of audio received. `connections`:
    the number of the last one to the provider; `reconnects`: how many of them replaced another. `latency`: of
    all results so far (streaming.latency.LatencyMeter.summary); `client_latency`: as the client saw it.
    `region`, `request_id`, `connected_at`: of this relay's first connection, once there is one. `prelude`:
    the header of audio in a container, without which none of it can be understood after a resume, unless that
    is stored. `is_away`: its client is, and may come back. `ending`: the session is over.
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
    client_latency: Mapping[str, Any] = field(default_factory=dict)
    region: str = ""
    request_id: str = ""
    connected_at: datetime | None = None
    prelude: bytes = b""
    finals: Sequence[Final] = ()
    moments: Sequence[Moment] = ()
    is_away: bool = False
    ending: Ending | None = None


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
    interim_throttle: float = 0.0,
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
        interim_throttle=interim_throttle,
        relay=process_name(),
        policy=project.policy,
        traceparent=tracing.traceparent(),
    )
    token = session.issue_token() if resumable else None
    if key is None or limit is None:
        session.insert(settings.LEASE_SECONDS)
    else:
        with transaction.atomic():
            # Those of one key go one after the other: none is let in too many.
            ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk)
            if LiveSession.objects.open().filter(key=key).count() >= limit:
                raise TooManySessions(limit)
            session.insert(settings.LEASE_SECONDS)
    transaction.on_commit(metrics.STARTED.inc)
    return session, token


# What one session's relay tells of it changes each row by itself, so that one statement does for all of them.
# It is the same however many they are: placeholders are taken apart in Python, and cost more than all else.
_COLUMNS = {
    "session": "uuid",
    "held": "integer",
    "bytes": "bigint",
    "seconds": "double precision",
    "seq": "bigint",
    "length": "double precision",
    "last": "integer",
    "lost": "integer",
    "measured": "jsonb",
    "seen": "jsonb",
    "place": "text",
    "request": "text",
    "reached": "timestamptz",
}
_TYPED = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
_TAKEN = ", ".join(f"value ->> '{name}' AS {name}" for name in _COLUMNS)
_GIVEN = {
    "postgresql": f"SELECT * FROM json_to_recordset(%s) AS told ({_TYPED})",  # noqa: S608 (our names)
    "sqlite": f"SELECT {_TAKEN} FROM json_each(%s)",  # noqa: S608 (as above)
}
# SQLite returns no column by its table's name: of the two tables only one may have an `id`.
_STORE = """
WITH given AS ({given})
UPDATE streaming_livesession
SET acked_bytes = bytes, acked_seconds = seconds, last_seq = seq, duration = length, connections = last,
    reconnects = lost, latency = measured, client_latency = seen,
    region = coalesce(nullif(place, ''), region), request_id = coalesce(nullif(request_id, ''), request),
    connected_at = coalesce(connected_at, reached),
    state = CASE WHEN state = 'connecting' AND place <> '' THEN 'live' ELSE state END
FROM given WHERE id = session AND epoch = held AND state <> 'ended'
RETURNING id
"""


def store(progress: Sequence[Progress]) -> set[UUID]:
    """Store what sessions have come to, all of them or none; those that are not their relay's any more.

    Of such, nothing is stored. Doing it again, because it is not known whether it was done, changes nothing
    but that one that has ended is not its relay's any more. An end is told once: to the webhooks, in the
    usage report, and to whoever follows the session.
    """
    if not progress:
        return set()
    with transaction.atomic():
        held = _advance(progress)
        kept = [each for each in progress if each.session_id in held]
        for each in kept:
            if each.prelude:
                LiveSession.objects.filter(pk=each.session_id).update(prelude=each.prelude)
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
        if away := [each.session_id for each in kept if each.is_away]:
            LiveSession.objects.filter(pk__in=away).interrupt()
        news.tell([each.session_id for each in kept if each.finals or each.moments])
        _end({each.session_id: each.ending for each in kept if each.ending})
    return {each.session_id for each in progress} - held


def _end(endings: Mapping[UUID, Ending]) -> None:
    for ending in set(endings.values()):
        alike = [pk for pk, each in endings.items() if each == ending]
        LiveSession.objects.filter(pk__in=alike).end(ending.reason, ending.error_code, ending.error_message)
    if endings:
        _tell(LiveSession.objects.filter(pk__in=list(endings)))


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
    has_uuids = connection.features.has_native_uuid_field
    told = [
        {
            "session": each.session_id if has_uuids else each.session_id.hex,
            "held": each.epoch,
            "bytes": each.acked_bytes,
            "seconds": each.acked_seconds,
            "seq": each.last_seq,
            "length": each.duration,
            "last": each.connections,
            "lost": each.reconnects,
            "measured": each.latency,
            "seen": each.client_latency,
            "place": each.region,
            "request": each.request_id,
            "reached": connection.ops.adapt_datetimefield_value(each.connected_at),
        }
        for each in progress
    ]
    given = orjson.dumps(told, option=orjson.OPT_NON_STR_KEYS).decode()
    with connection.cursor() as cursor:
        cursor.execute(_STORE.format(given=_GIVEN[connection.vendor]), [given])
        return {UUID(str(found)) for (found,) in cursor.fetchall()}


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


def lapse(session: LiveSession) -> None:
    """The sweeper's finding: nobody looks after it any more. NotHeld if somebody does."""
    with transaction.atomic():
        session.lapse()
        if session.is_ended:
            _tell(LiveSession.objects.filter(pk=session.pk))
        else:
            _remember(session, Happening.INTERRUPTED, relay=session.relay)


def count(sessions: QuerySet[LiveSession]) -> None:
    """Count what these have heard since they were counted last, where their project has a quota."""
    heard = sessions.filter(project__daily_minutes__isnull=False, duration__gt=F("counted"))
    with transaction.atomic():
        # In the order of projects: of two processes that count, none waits for the other in a circle.
        heard = heard.select_for_update(of=("self",)).order_by("project_id")
        rows = list(heard.only("project_id", "duration", "counted"))
        for row in rows:
            quotas.count(row.project_id, row.duration - row.counted)
        LiveSession.objects.filter(pk__in=[row.pk for row in rows]).update(counted=F("duration"))


def bill(sessions: Iterable[LiveSession]) -> None:
    """Their audio goes into the usage report: once, by whoever ends them, or deletes them while open."""
    day = today()
    UsageLine.objects.bulk_create(
        line
        for session in sessions
        for line in usage.lines_of(
            session, day, mode="streaming", seconds=session.duration, failed=bool(session.error_code)
        )
    )


def _tell(ended: QuerySet[LiveSession]) -> None:
    """That they ended: by the webhooks, and to whoever follows them."""
    sessions = list(ended.select_related("project"))
    if any(session.project.daily_minutes is not None for session in sessions):
        count(ended)
    bill(sessions)
    events = []
    for session in sessions:
        told = _told_of(session)
        event = event_of(session.project_id, EventType.STREAM_ENDED, told, traceparent=session.traceparent)
        # By its id, or each would hold on to the other.
        session.event_id = event.pk
        events.append(event)
        transaction.on_commit(metrics.ENDED.labels(session.reason).inc)
    emit_all(events)
    LiveSession.objects.bulk_update(sessions, ["event"])
    news.tell([session.pk for session in sessions])


def _told_of(session: LiveSession) -> dict[str, Any]:
    url = f"{settings.PUBLIC_URL}/api/v1/streams/{session.pk}/"
    error = {"code": session.error_code, "message": session.error_message}
    return {
        "id": str(session.pk),
        "project": str(session.project_id),
        "state": session.state,
        "reason": session.reason,
        "error": error if session.error_code else None,
        "duration": session.duration,
        "reconnects": session.reconnects,
        "resumes": session.epoch - 1,
        "sequence": 1,
        "tags": session.tags,
        "url": url,
        "transcript_url": f"{url}transcript.json",
    }


def _remember(session: LiveSession, what: Happening, **details: Any) -> None:
    TimelineEntry.objects.create(session=session, type=what, details=details)
    news.tell([session.pk])
