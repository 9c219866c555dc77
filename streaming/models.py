"""Live sessions: what is known of each stream of audio, and what was said in it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F, Max, Q
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from jobs.database_clock import seconds_from_now
from jobs.ids import first_id, uuid7
from jobs.json_lists import holding
from jobs.models import ApiKey, Event, Project, Recording, TranscriptionJob
from jobs.transcripts.results import Result, Word, parse

# How long a session waits for its client to come back (docs/live.md, Resuming).
RESUME_SECONDS = 120.0


class State(models.TextChoices):
    CONNECTING = "connecting"
    LIVE = "live"
    INTERRUPTED = "interrupted"
    ENDED = "ended"


OPEN = (State.CONNECTING, State.LIVE, State.INTERRUPTED)
ATTENDED = (State.CONNECTING, State.LIVE)


class EndReason(models.TextChoices):
    """How a session ended: as its rules say (streaming.rules.actions), or as others found it."""

    FINISHED = "finished", "The client ended it and has had everything."
    CLIENT_GONE = "client_gone", "The client vanished and did not come back."
    REFUSED = "refused", "The provider refused what was asked for."
    UNAVAILABLE = "unavailable", "The provider could not be reached for too long."
    BAD_AUDIO = "bad_audio", "The provider cannot decode the audio."
    TOO_SLOW = "too_slow", "The client did not take what it was sent."
    DRAINED = "drained", "The server was stopped."
    LOST = "lost", "The process that served it died, and it was not resumable."
    DELETED = "deleted", "It was deleted, or its project was."


class NotHeld(Exception):
    """The session ended, or is another relay's by now: there is nothing more to be done for it here."""

    code = "not_held"

    def __init__(self, session_id: UUID) -> None:
        super().__init__(f"Live session {session_id} ended, or is another relay's by now.")


class LiveSessionQuerySet(models.QuerySet["LiveSession"]):
    def open(self) -> LiveSessionQuerySet:
        return self.filter(state__in=OPEN)

    def attended(self) -> LiveSessionQuerySet:
        """Those that a relay holds, as far as is known."""
        return self.filter(state__in=ATTENDED)

    def lapsed(self) -> LiveSessionQuerySet:
        """Open ones that nobody looks after any more: to be interrupted, or ended."""
        return self.open().filter(lease_until__lte=Now())

    def to_record(self) -> LiveSessionQuerySet:
        """Those that have ended and whose audio, as far as it was kept, is to become a recording."""
        # Of a project that is deleted nothing goes to anybody any more.
        return self.filter(record=True, recorded_at=None, state=State.ENDED, project__deleted_at=None)

    def renew(self, lease_seconds: float) -> int:
        """Say that their relays are alive; how many are open.

        A relay whose client stays away ends the session itself, once it has the last that was said: which may
        take longer than its client has to come back.
        """
        later = Greatest("lease_until", seconds_from_now(lease_seconds))
        return self.open().update(lease_until=later)

    def interrupt(self) -> int:
        """Their clients are away, and may come back for RESUME_SECONDS; how many are interrupted now."""
        return self.attended().update(
            state=State.INTERRUPTED,
            interrupted_at=timezone.now(),
            lease_until=seconds_from_now(RESUME_SECONDS),
        )

    def end(self, reason: EndReason, error_code: str = "", error_message: str = "") -> int:
        """All in the same way; how many have ended now."""
        return self.open().update(
            state=State.ENDED,
            reason=reason,
            error_code=error_code,
            error_message=error_message,
            ended_at=timezone.now(),
            lease_until=None,
        )

    def end_all(self) -> None:
        """End what is open, telling nobody: their project is deleted."""
        self.open().update(
            state=State.ENDED,
            reason=EndReason.DELETED,
            epoch=F("epoch") + 1,
            ended_at=Now(),
            lease_until=None,
        )

    def with_token(self, token: str) -> LiveSession | None:
        """The session, ended ones too, that this token resumes."""
        return self.select_related("project", "key").filter(token_hash=_hashed(token)).first()

    def tagged(self, tag: str) -> models.QuerySet[LiveSession]:
        return holding(self, "tags", tag)

    def made_after(self, at: datetime) -> LiveSessionQuerySet:
        # As JobQuerySet.made_after: ids are in the order of their making, and indexed.
        return self.filter(created_at__gt=at, id__gte=first_id(at, later=-1))

    def made_before(self, at: datetime) -> LiveSessionQuerySet:
        return self.filter(created_at__lt=at, id__lt=first_id(at, later=1))


class LiveSession(models.Model):
    """One stream of audio, from whichever connections its client and we needed for it.

        connecting -> live -> ended
        connecting, live -> interrupted (the client is away) -> connecting (it resumes) | ended
        connecting, live -> connecting (it resumes before its absence is noticed)

    A relay holds it by its `epoch`, which each resume raises: what an older relay writes finds no row. Its
    process renews `lease_until`; interrupted and held by nobody, that is when the client comes too late.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Its index: session_of_project.
    project = models.ForeignKey(
        Project, db_index=False, on_delete=models.CASCADE, related_name="live_sessions"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, db_index=False, related_name="+"
    )
    key = models.ForeignKey(
        ApiKey, null=True, on_delete=models.SET_NULL, db_index=False, related_name="live_sessions"
    )

    # What was asked for
    options = models.JSONField(default=dict, help_text="Deepgram's parameters, as they were allowed.")
    tags = models.JSONField(default=list)
    resumable = models.BooleanField(default=False)
    record = models.BooleanField(default=False, help_text="The audio is kept, and transcribed once more.")
    interim_throttle = models.FloatField(
        default=0.0, db_default=0.0, help_text="Seconds between interim results of a channel, at the least."
    )

    # Who holds it
    state = models.CharField(max_length=11, choices=State, default=State.CONNECTING)
    epoch = models.PositiveIntegerField(default=1, help_text="1, and one more with each resume.")
    token_hash = models.CharField(max_length=64, null=True, unique=True, editable=False)  # noqa: DJ001
    relay = models.CharField(max_length=120, help_text="The process that serves it, or served it last.")
    lease_until = models.DateTimeField(null=True)

    # How it goes
    region = models.CharField(max_length=50, blank=True)
    request_id = models.CharField(max_length=100, blank=True, help_text="As its results name it.")
    policy = models.JSONField(null=True, help_text="The project's, when it was opened or resumed last.")
    acked_bytes = models.BigIntegerField(default=0, help_text="Of the client's: final and stored.")
    acked_seconds = models.FloatField(default=0.0, help_text="The same, in seconds of audio.")
    prelude = models.BinaryField(default=b"", help_text="The header of audio in a container.")
    last_seq = models.BigIntegerField(default=0, help_text="Of the last result that is stored.")
    duration = models.FloatField(default=0.0, help_text="seconds of audio")
    counted = models.FloatField(default=0.0, help_text="Of these, what was counted against the quota.")
    connections = models.PositiveIntegerField(default=0, help_text="To the provider; the last one's number.")
    reconnects = models.PositiveIntegerField(default=0, help_text="Of those, how many replaced another.")
    latency = models.JSONField(default=dict, help_text="p50_ms, p95_ms, p99_ms and how many results.")
    client_latency = models.JSONField(default=dict, help_text="The same, as the browser saw it.")
    traceparent = models.CharField(
        max_length=55, blank=True, default="", db_default="", help_text="Of its opening."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    connected_at = models.DateTimeField(null=True, help_text="When the provider was first reached.")
    interrupted_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    # How it ended
    reason = models.CharField(max_length=12, choices=EndReason, blank=True)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    event = models.OneToOneField(Event, null=True, on_delete=models.SET_NULL, related_name="live_session")
    recorded_at = models.DateTimeField(null=True, help_text="When its recording was made, or given up.")
    recording = models.ForeignKey(
        Recording, null=True, on_delete=models.SET_NULL, related_name="live_sessions"
    )
    job = models.ForeignKey(
        TranscriptionJob, null=True, on_delete=models.SET_NULL, related_name="live_sessions"
    )

    objects: ClassVar[LiveSessionQuerySet] = LiveSessionQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(state__in=State.values), name="session_state_is_known"),
            models.CheckConstraint(
                condition=Q(state=State.ENDED, ended_at__isnull=False, lease_until=None, reason__gt="")
                | ~Q(state=State.ENDED) & Q(ended_at=None, lease_until__isnull=False, reason=""),
                name="session_is_leased_until_it_ended",
            ),
            models.CheckConstraint(
                condition=Q(resumable=True) | ~Q(state=State.INTERRUPTED), name="session_waits_if_resumable"
            ),
        )
        indexes = (
            # LiveSessionQuerySet.lapsed
            models.Index(fields=("lease_until",), condition=~Q(state=State.ENDED), name="session_leased"),
            # LiveSessionQuerySet.to_record
            models.Index(
                fields=("id",), condition=Q(record=True, recorded_at=None), name="session_to_record"
            ),
            # How many a key has open
            models.Index(fields=("key",), condition=~Q(state=State.ENDED), name="session_open_of_key"),
            # The API's and the admin's lists, newest first
            models.Index(fields=("project", "-id"), name="session_of_project"),
            models.Index(fields=("key", "-id"), name="session_of_key"),
            models.Index(fields=("state", "-id"), name="session_by_state"),
        )

    def __str__(self) -> str:
        return f"{self.id}"

    @property
    def is_ended(self) -> bool:
        return self.state == State.ENDED

    def insert(self, lease_seconds: float) -> None:
        """Save a new session, held so long."""
        # An expression, until the database has evaluated it.
        vars(self).update(lease_until=seconds_from_now(lease_seconds))
        self.save(force_insert=True)
        vars(self).pop("lease_until")

    def issue_token(self) -> str:
        """Make an unsaved session resumable by whoever has the token, which is returned and never stored.

        It stays the same for the session's life: were it replaced by each resume, a client whose connection
        breaks before the answer arrives could not come back.
        """
        token = secrets.token_urlsafe(32)
        self.resumable, self.token_hash = True, _hashed(token)
        return token

    def take_over(self, relay: str, lease_seconds: float) -> None:
        """Hold it from now on in the place of whichever relay did, whether or not that is known to be gone.

        NotHeld if it ended.
        """
        row = LiveSession.objects.open().filter(pk=self.pk, resumable=True)
        if not row.update(
            state=State.CONNECTING,
            epoch=F("epoch") + 1,
            relay=relay,
            policy=self.project.policy,
            interrupted_at=None,
            lease_until=seconds_from_now(lease_seconds),
        ):
            raise NotHeld(self.pk)
        self.refresh_from_db()

    def lapse(self) -> None:
        """Nobody looks after it: its client has RESUME_SECONDS to come back, if it can and they are not over.

        NotHeld if somebody does by now.
        """
        row = LiveSession.objects.filter(
            pk=self.pk, epoch=self.epoch, state=self.state, lease_until__lte=Now()
        )
        if self.resumable and self.state in ATTENDED:
            left, moved = State.INTERRUPTED, row.interrupt()
        else:
            away = self.state == State.INTERRUPTED
            left, moved = State.ENDED, row.end(EndReason.CLIENT_GONE if away else EndReason.LOST)
        if not moved:
            raise NotHeld(self.pk)
        self.state = left


def _hashed(token: str) -> str:
    # Fast, since nobody can try 256 random bits.
    return hashlib.sha256(token.encode()).hexdigest()


class MessageField(models.TextField):  # type: ignore[type-arg]  # not subscriptable when it runs
    """JSON as it was sent.

    Django inserts many rows as arrays, of which psycopg escapes every quote in Python: of messages, which are
    full of quotes, that costs twice what all else of storing them does. A field with placeholders of its own
    is inserted as a value of its own.
    """

    def get_placeholder(self, value: object, compiler: object, connection: object) -> str:
        return "%s"

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _, arguments, named = super().deconstruct()
        return name, "django.db.models.TextField", arguments, named


class FinalResultQuerySet(models.QuerySet["FinalResult"]):
    def tail(self, seconds: float) -> FinalResultQuerySet:
        """Those that end within `seconds` of the end of their channel, the oldest first."""
        ends = self.order_by().values("channel").annotate(last=Max("end")).values_list("last", flat=True)
        return self.filter(end__gte=min(ends, default=0.0) - seconds).order_by("seq")


class FinalResult(models.Model):
    """What was recognised of a part of the audio for good, as its message to the client says it.

    `raw` is that message (a Results object, deepgram.com/docs/live). `start` and `end` are seconds of the
    session's audio, whichever connection to the provider it took.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(
        LiveSession,
        on_delete=models.CASCADE,
        related_name="finals",
        db_index=False,  # final_result_once
    )
    seq = models.BigIntegerField()
    channel = models.PositiveSmallIntegerField(default=0)
    start = models.FloatField(help_text="seconds")
    end = models.FloatField(help_text="seconds")
    text = models.TextField(blank=True)
    speech_final = models.BooleanField(default=False)
    late = models.BooleanField(default=False, help_text="It fills a hole that the live connection left.")
    connection = models.PositiveIntegerField(
        default=1, help_text="To the provider: speaker numbers restart with each."
    )
    raw = MessageField()
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[FinalResultQuerySet] = FinalResultQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("seq",)
        constraints = (models.UniqueConstraint(fields=("session", "seq"), name="final_result_once"),)

    def __str__(self) -> str:
        return f"{self.seq} of {self.session_id}"

    @property
    def words(self) -> list[Word]:
        return heard(json.loads(self.raw)).words

    @classmethod
    def parsed(cls, session_id: UUID, seq: int, raw: str, **fields: Any) -> FinalResult:
        """From a final Results message as it goes to the client; not saved. ValueError if it is none."""
        message = json.loads(raw)
        try:
            start = message["start"]
            end = round(start + message["duration"], 6)  # as the messages of ours are
            channel = message["channel_index"][0]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"no final result: {error!r}") from None
        return cls(
            session_id=session_id,
            seq=seq,
            channel=channel,
            start=start,
            end=end,
            text=heard(message).text,
            speech_final=message.get("speech_final") is True,
            raw=raw,
            **fields,
        )


def heard(message: Mapping[str, Any]) -> Result:
    """What a Results message says, in the shapes of a transcript. MalformedAnswer, a ValueError."""
    # Live, there is one of them where an answer to a recording has a list.
    return parse({"results": {"channels": [message.get("channel")]}})


class Happening(models.TextChoices):
    CONNECTED = "connected"
    CONNECTION_LOST = "connection_lost"
    INTERRUPTED = "interrupted"
    RESUMED = "resumed"
    GAP = "gap"
    NOT_RECORDED = "not_recorded"


class TimelineEntry(models.Model):
    """Something that happened to a session. `details` are codes, ids and numbers, nothing that was said."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(LiveSession, on_delete=models.CASCADE, related_name="timeline")
    type = models.CharField(max_length=20, choices=Happening)
    at = models.DateTimeField(default=timezone.now)
    details = models.JSONField(default=dict)

    class Meta:
        # Ids of one millisecond come in any order.
        ordering = ("at",)
        verbose_name_plural = "timeline entries"

    def __str__(self) -> str:
        return f"{self.type} at {self.at}"


class AudioPart(models.Model):
    """Some of the audio of a session that is recorded, stored by itself until the session has ended.

    `offset` counts the bytes of the client's payload. What a relay of a later epoch keeps is in place of all
    that older ones kept from there on: it was sent again.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(
        LiveSession,
        on_delete=models.CASCADE,
        related_name="parts",
        db_index=False,  # audio_part_once
    )
    epoch = models.PositiveIntegerField()
    offset = models.BigIntegerField()
    size = models.PositiveIntegerField()

    class Meta:
        ordering = ("epoch", "offset")
        constraints = (
            models.UniqueConstraint(fields=("session", "epoch", "offset"), name="audio_part_once"),
        )

    def __str__(self) -> str:
        return self.stored_name

    @property
    def stored_name(self) -> str:
        return f"live/{self.session_id}/{self.epoch}-{self.offset}"


class HoleQuerySet(models.QuerySet["Hole"]):
    def unsettled(self) -> HoleQuerySet:
        return self.filter(settled_at=None)

    def due(self) -> HoleQuerySet:
        """Those that nobody fills while their session is live any more, and that may be tried now."""
        kept = self.filter(session__state=State.ENDED, session__project__deleted_at=None)
        return kept.unsettled().filter(run_at__lte=Now())


class Hole(models.Model):
    """A stretch of a session's audio that was left out live, to be transcribed by the batch path.

    Its audio is stored until it is settled: its results are among the session's, or it is given up.
    `results` are messages of type Results, as the batch path heard the whole of that audio; until then too.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(LiveSession, on_delete=models.CASCADE, related_name="holes")
    start = models.FloatField(help_text="seconds")
    end = models.FloatField(help_text="seconds")
    heard_from = models.FloatField(help_text="Where its audio begins, in seconds; it goes on after the end.")
    size = models.PositiveIntegerField(help_text="bytes of audio")
    attempts = models.PositiveIntegerField(default=0)
    run_at = models.DateTimeField(db_default=Now())
    results = models.JSONField(null=True)
    settled_at = models.DateTimeField(null=True)

    objects: ClassVar[HoleQuerySet] = HoleQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("start",)
        indexes = (
            # HoleQuerySet.due
            models.Index(fields=("run_at",), condition=Q(settled_at=None), name="hole_due"),
        )

    def __str__(self) -> str:
        return f"{self.start:.3f} to {self.end:.3f} s of {self.session_id}"

    @property
    def stored_name(self) -> str:
        return f"live/{self.session_id}/hole-{self.id}"

    def begin(self, lease_seconds: float) -> bool:
        """Try to fill it, and be the only one who does for so long; whether it was to be had."""
        free = Hole.objects.filter(pk=self.pk, settled_at=None, run_at__lte=Now())
        return bool(free.update(run_at=seconds_from_now(lease_seconds), attempts=F("attempts") + 1))

    def put_off(self, seconds: float) -> None:
        Hole.objects.filter(pk=self.pk).update(run_at=seconds_from_now(seconds))
