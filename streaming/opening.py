"""Opening a live session, or going on with one: who asks, for what, and the row it is written to.

Synchronous, in one go, since all of it asks the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings

from jobs import quotas
from jobs.quotas import QuotaExceeded
from routing import tracing
from routing.choice import Capability, Work
from routing.health import choose_region
from streaming import lifecycle
from streaming.as_recording import can_be_recorded
from streaming.authentication import authenticate, check_origin, offered_scheme
from streaming.models import LiveSession
from streaming.refusals import Refused, bad_request, refusal_of, too_many_requests, unavailable
from streaming.rules.actions import AudioMark
from streaming.rules.parameters import BadParameter, Terms, read
from streaming.rules.session import Identity, ResumePoint

RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Opening:
    """What a relay needs to know. `missed`: messages that a client who came back has not seen."""

    row: LiveSession
    terms: Terms
    residency: Sequence[str]
    subprotocol: str | None = None
    identity: Identity | None = None
    resumed: ResumePoint | None = None
    missed: Sequence[str] = ()

    @property
    def query(self) -> list[tuple[str, str]]:
        """The provider's. What becomes of the audio there is the project's to say, and not the client's."""
        return self.row.project.imposed_on(self.terms.forwarded)


def opened(scope: Any) -> Opening:
    """Raises Refused."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    try:
        terms = read(query)
    except BadParameter as error:
        raise bad_request(error.message) from None
    if terms.resume:
        return _resumed(scope, terms)
    given = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
    with tracing.span("live.open", kind="server", parent=given):
        return _begun(scope, terms, query)


def _begun(scope: Any, terms: Terms, query: list[tuple[str, str]]) -> Opening:
    if terms.record and not can_be_recorded(terms.encoding):
        raise bad_request(f"Audio in {terms.encoding} cannot be recorded: leave record out.")
    caller = authenticate(scope, dict(query).get("project"))
    try:
        quotas.check(caller.project)
    except QuotaExceeded as error:
        raise refusal_of(error) from None
    if choose_region(Work(Capability.LIVE, residency=caller.project.residency)) is None:
        raise unavailable(RETRY_SECONDS)
    try:
        row, token = lifecycle.open_session(
            caller.project,
            options=terms.options,
            tags=list(terms.tags),
            key=caller.key,
            user=caller.user,
            resumable=terms.resumable,
            record=terms.record,
            interim_throttle=terms.interim_throttle,
            limit=settings.KEY_LIVE_SESSIONS or None,
        )
    except lifecycle.TooManySessions:
        raise too_many_requests(RETRY_SECONDS) from None
    identity = Identity(str(row.pk), token) if token else None
    return Opening(row, terms, caller.project.residency, caller.subprotocol, identity)


def _resumed(scope: Any, asked: Terms) -> Opening:
    """The token is all that is needed; what was asked for at first still holds."""
    token = asked.resume or ""
    known = LiveSession.objects.with_token(token)
    if known is not None:
        # Before it is taken from whoever has it.
        check_origin(scope, known.key)
    try:
        resumed = lifecycle.resume(token, asked.last_seq)
    except lifecycle.NotResumable as error:
        raise Refused(404 if error.code == "unknown_token" else 410, error.code.upper(), str(error)) from None
    row = resumed.session
    terms = read([*_pairs(row.options), ("resume", token), ("last_seq", str(asked.last_seq))])
    terms = replace(terms, interim_throttle=row.interim_throttle)
    point = ResumePoint(
        seq=max(row.last_seq, asked.last_seq),
        tail=tuple(resumed.tail),
        audio=AudioMark(row.acked_bytes, row.acked_seconds),
        request_id=row.request_id,
        connection=row.connections,
        prelude=bytes(row.prelude),
    )
    identity = Identity(str(row.pk), token)
    return Opening(row, terms, row.project.residency, offered_scheme(scope), identity, point, resumed.missed)


def _pairs(options: dict[str, str | list[str]]) -> Iterator[tuple[str, str]]:
    for name, value in options.items():
        for each in [value] if isinstance(value, str) else value:
            yield name, each
