"""A demo that looks alive: projects, people, jobs of the last thirty days, live sessions and webhooks.

All of it belongs to projects whose names begin with "Demo", so that deleting those takes it away. The audio
of what has ended counts as deleted; what is open has a tone, which workers that are there transcribe.
Addresses end in .invalid, which nobody has (RFC 2606).
"""

from __future__ import annotations

import io
import json
import math
import wave
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from random import Random
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction

from jobs import usage
from jobs.ids import uuid7_of
from jobs.models import (
    ApiKey,
    Attempt,
    Batch,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    DisabledReason,
    Event,
    EventType,
    Membership,
    Mode,
    Priority,
    Project,
    Recording,
    Role,
    Status,
    Transcript,
    TranscriptionJob,
    UsageLine,
    WebhookEndpoint,
)
from jobs.models.delivery import receiver_of
from jobs.models.state import ENDED
from routing.regions import Region, all_regions
from streaming.models import EndReason, FinalResult, Happening, LiveSession, State, TimelineEntry

DAYS = 30
AT_A_TIME = 2000
# Of the newest ones, what a page of one shows besides: words with their times, events and deliveries.
IN_DETAIL = 3000
TONE_SECONDS = 2
PROJECTS = {
    "Demo Support calls": ("call", 40, 700),
    "Demo Sales": ("meeting", 300, 2400),
    "Demo Podcast": ("episode", 900, 3600),
    "Demo Board": ("minutes", 1200, 5400),
    "Demo Dictation": ("note", 8, 120),
}
PEOPLE = {
    "demo-ada": Role.OPERATOR,
    "demo-bo": Role.OPERATOR,
    "demo-chris": Role.REVIEWER,
    "demo-dana": Role.UPLOADER,
    "demo-eli": Role.READER,
}
SENTENCES = (
    "Thank you for calling, how can I help you today?",
    "My order has not arrived and the tracking page says it was delivered on Monday.",
    "Let me look that up for you, could you tell me the order number, please?",
    "It is four seven one nine, and the name is on the account.",
    "I can see it here, the parcel went to the wrong depot and is on its way back.",
    "Could you send a new one today, because we need it by Friday?",
    "I have booked a courier for tomorrow morning before ten.",
    "That would be wonderful, thank you very much.",
    "Before we close, let us go through the numbers of the last quarter.",
    "Revenue grew by eleven percent, and most of that came from renewals.",
    "The new pricing page doubled the number of people who try the product.",
    "We should talk about hiring, since the support team is two people short.",
    "I would rather wait for the budget than promise something we cannot keep.",
    "The patient reports mild headaches since the beginning of the week.",
    "Blood pressure is one hundred and twenty over eighty, no fever.",
    "We agreed to meet again in two weeks and bring the designs along.",
    "Is there anything else that I can do for you?",
    "No, that was everything, have a nice day.",
    "The second chapter is about how the bridge was built in a single winter.",
    "Nobody believed that the river would freeze so early in the year.",
)
# Code, message, the provider's status, and whether it was tried again before.
FAILURES = (
    ("provider_rejected", "Bad Request: failed to process audio: corrupt or unsupported data", 400, False),
    ("provider_error", "The provider answered 503: no available engines.", 503, True),
    ("provider_timeout", "The provider did not answer within the deadline.", None, True),
    ("provider_rate_limited", "The provider answered 429: too many requests.", 429, True),
    ("url_not_found", "The URL's server answered 404.", None, False),
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {"model": "nova-3", "smart_format": True},
    {"model": "nova-3", "smart_format": True, "diarize": True, "utterances": True},
    {"model": "nova-3", "language": "en", "punctuate": True, "keyterm": ["Kowalski"]},
    {"model": "nova-2", "smart_format": True, "redact": ["pci"]},
)
NEVER = "https://hooks.example.invalid/transcription"


@dataclass(slots=True)
class _Cast:
    """Who is there before the first job."""

    projects: list[Project]
    people: list[User]
    keys: dict[UUID, ApiKey]
    batches: dict[UUID, list[Batch]]
    endpoints: dict[UUID, list[WebhookEndpoint]]
    regions: list[Region]


@dataclass(slots=True)
class _Rows:
    """What a stretch of jobs consists of, in the order in which it can be written."""

    recordings: list[Recording] = field(default_factory=list)
    jobs: list[TranscriptionJob] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    transcripts: list[Transcript] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    tries: list[DeliveryAttempt] = field(default_factory=list)
    usage_lines: list[UsageLine] = field(default_factory=list)

    def write(self) -> None:
        with transaction.atomic():
            for name in self.__slots__:
                _insert(getattr(self, name))


def _insert(rows: Sequence[models.Model]) -> None:
    if not rows:
        return
    model, connection = type(rows[0]), connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        model._default_manager.bulk_create(rows)
        return
    # COPY, which is five times as fast.
    fields = [field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    command = f'COPY "{model._meta.db_table}" ({columns}) FROM STDIN'
    with connection.cursor() as cursor, cursor.copy(command) as into:
        for row in rows:
            values = [field.get_db_prep_save(field.pre_save(row, True), connection) for field in fields]
            into.write_row(values)


def seed(count: int, now: datetime, tell: Callable[[int], None] = lambda done: None) -> Counter[str]:
    """`count` jobs that end with `now`, and what belongs to them; how many of what there are now.

    `tell` hears of every stretch how many jobs there are. Running it again adds as many jobs to the same
    projects.
    """
    chance = Random(count)  # noqa: S311 (a demo)
    cast = _cast(chance, now)
    made: Counter[str] = Counter()
    for first in range(0, count, AT_A_TIME):
        rows = _Rows()
        for number in range(first, min(first + AT_A_TIME, count)):
            _add_job(rows, cast, chance, now, number, left=count - number)
        rows.write()
        made.update({name: len(getattr(rows, name)) for name in _Rows.__slots__})
        tell(made["jobs"])
    usage.merge()
    _seal(cast)
    made["live sessions"] = _add_sessions(cast, chance, now)
    return made


def _cast(chance: Random, now: datetime) -> _Cast:
    people = [
        User.objects.get_or_create(username=name, defaults={"email": f"{name}@example.invalid"})[0]
        for name in PEOPLE
    ]
    projects, keys, batches, endpoints = [], {}, {}, {}
    for name in PROJECTS:
        project, new = Project.objects.get_or_create(name=name, deleted_at=None)
        projects.append(project)
        if new:
            _furnish(project, people, now)
        keys[project.pk] = project.keys.filter(name="Backend").latest("id")
        endpoints[project.pk] = list(project.endpoints.filter(disabled_at=None))
        batches[project.pk] = [
            Batch(
                id=uuid7_of(at, f"{project.pk}"), project=project, name=f"Week {at:%V of %G}", created_at=at
            )
            for at in (now - timedelta(days=days) for days in (22, 15, 8, 0.01))
        ]
        Batch.objects.bulk_create(batches[project.pk], ignore_conflicts=True)
    return _Cast(projects, people, keys, batches, endpoints, list(all_regions().values()))


def _furnish(project: Project, people: Sequence[User], now: datetime) -> None:
    """Its members, keys and endpoints, of each kind that a page tells apart."""
    Membership.objects.bulk_create(
        Membership(project=project, user=user, role=role)
        for user, role in zip(people, PEOPLE.values(), strict=True)
    )
    used = now - timedelta(minutes=3)
    ApiKey.objects.issue(project, "Backend", created_by=people[0], last_used_at=used)
    ApiKey.objects.issue(project, "Trial", expires_at=now - timedelta(days=2), created_by=people[1])
    ApiKey.objects.issue(project, "Old laptop", revoked_at=now - timedelta(days=9), created_by=people[1])
    WebhookEndpoint.objects.create(project=project, url=NEVER, description="CRM")
    if project.name == "Demo Sales":
        WebhookEndpoint.objects.create(
            project=project,
            url="https://warehouse.example.invalid/in",
            description="Warehouse",
            failing_since=now - timedelta(hours=7),
            last_failed_at=now - timedelta(minutes=4),
            failures=23,
        )
    if project.name == "Demo Podcast":
        WebhookEndpoint.objects.create(
            project=project,
            url="https://old-site.example.invalid/hook",
            description="Old site",
            disabled_at=now - timedelta(days=3),
            disabled_reason=DisabledReason.GONE,
        )


def _add_job(rows: _Rows, cast: _Cast, chance: Random, now: datetime, number: int, left: int) -> None:
    """The job that is the `left`th from the last. There are more of late, and at some hours of a day."""
    v = (left - chance.random()) / (number + left)
    days = DAYS * v * v
    days += 0.11 * math.sin(2 * math.pi * days)
    at = now - timedelta(days=days)
    project = chance.choice(cast.projects)
    stem, shortest, longest = PROJECTS[project.name]
    audio = round(shortest + (longest - shortest) * chance.random() ** 2, 2)
    region = cast.regions[0] if chance.random() < 0.7 else chance.choice(cast.regions)
    status = _status(chance, left, number + left)
    ended = status in ENDED
    recording = Recording(
        id=uuid7_of(at, f"recording {number} of {now}"),
        project=project,
        filename=f"{stem}-{at:%Y-%m-%d}-{number:05}.wav",
        sha256=f"{chance.getrandbits(256):064x}",
        size=int(audio * 32000) + 44 if ended else len(_TONE),
        media_type="audio/wav",
        codec="pcm_s16le",
        duration=audio,
        channels=1,
        sample_rate=16000,
        created_at=at,
        audio_deleted_at=at + timedelta(days=1) if ended else None,
    )
    by_key = chance.random() < 0.6
    job = TranscriptionJob(
        id=uuid7_of(at, f"job {number} of {now}"),
        project=project,
        key=cast.keys[project.pk] if by_key else None,
        created_by=None if by_key else chance.choice(cast.people),
        recording=recording,
        options=chance.choice(OPTIONS),
        tags=["demo"],
        mode=Mode.SYNC if audio < 60 and ended else Mode.ASYNC,
        receipt=_receipt(audio, region.name),
        region=region.name,
        queue=region.queue,
        priority=chance.choices(list(Priority), (1, 8, 2))[0],
        start_tag=number,
        status=status,
        duration=audio,
        created_at=at,
        deadline_at=at + timedelta(days=1) if ended else now + timedelta(days=1, seconds=-left),
        batch=_batch_of(cast, chance, project, at),
    )
    rows.recordings.append(recording)
    rows.jobs.append(job)
    if ended:
        _end(rows, job, cast, chance, now, detailed=left <= IN_DETAIL)
        return
    stored = Recording.stored_name(recording.pk)
    recording.file.name = storages["default"].save(stored, ContentFile(_TONE))
    if status == Status.WAITING:
        job.run_at = now + timedelta(seconds=60 + 10 * left)
        job.attempts, job.error_code, job.error_message = 1, *FAILURES[1][:2]
        _attempt(rows, job, at + timedelta(seconds=2), 1.5, "retried", FAILURES[1])


def _status(chance: Random, left: int, count: int) -> Status:
    if left <= min(count // 20, 300):
        return Status.WAITING if left % 17 == 0 else Status.QUEUED
    statuses = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.DEAD)
    return chance.choices(statuses, (940, 40, 18, 2))[0]


def _batch_of(cast: _Cast, chance: Random, project: Project, at: datetime) -> Batch | None:
    for batch in cast.batches[project.pk]:
        if timedelta() <= at - batch.created_at < timedelta(hours=2):
            return batch if chance.random() < 0.5 else None
    return None


def _receipt(audio: float, region: str) -> dict[str, Any]:
    mode = "sync" if audio < 60 else "async"
    than = "under 60 s" if mode == "sync" else "over 300 s" if audio > 300 else "between 60 s and 300 s"
    return {
        "requested_mode": "auto",
        "duration": audio,
        "mode": mode,
        "rule": "short" if mode == "sync" else "long",
        "reason": f"It lasts {audio:.0f} s, which is {than}.",
        "alternatives": ["async"] if mode == "sync" else [],
        "region": region,
        "region_reason": "It is the first that may take the job.",
    }


def _end(
    rows: _Rows, job: TranscriptionJob, cast: _Cast, chance: Random, now: datetime, detailed: bool
) -> None:
    """Its attempts and what came of them."""
    begun = job.created_at + timedelta(seconds=chance.expovariate(1 / 4))
    took = 0.6 + (job.duration or 0) * chance.uniform(0.01, 0.04)
    failure = chance.choice(FAILURES)
    if job.status == Status.CANCELLED:
        job.finished_at = job.created_at + timedelta(seconds=took)
    else:
        job.claimed_at = job.started_at = begun
        retries = 2 if job.status == Status.FAILED and failure[3] else chance.random() < 0.05
        for _ in range(retries):
            begun = _attempt(rows, job, begun, took / 3, "retried", FAILURES[1])
            begun += timedelta(seconds=chance.uniform(2, 30))
        outcome = {Status.COMPLETED: "completed", Status.FAILED: "failed"}.get(Status(job.status), "crashed")
        given = failure if outcome == "failed" else ("killed_its_worker", "It ended with signal 9.", None)
        job.finished_at = _attempt(rows, job, begun, took, outcome, None if outcome == "completed" else given)
        job.attempts = retries + 1
        if outcome != "completed":
            job.error_code, job.error_message = given[:2]
    rows.usage_lines += usage.lines_of_job(job, (job.finished_at or now).date())
    if job.status == Status.COMPLETED:
        rows.transcripts.append(_transcript(job, chance, detailed))
    if detailed:
        _tell(rows, job, cast, chance, now)


def _attempt(
    rows: _Rows,
    job: TranscriptionJob,
    begun: datetime,
    took: float,
    outcome: str,
    failure: Sequence[Any] | None,
) -> datetime:
    """One more; when it ended."""
    code, message, status_code = failure[:3] if failure else ("", "", 200)
    ended = begun + timedelta(seconds=took)
    token = uuid7_of(ended, f"{job.pk}")
    rows.attempts.append(
        Attempt(
            job=job,
            run=1,
            lease_token=token,
            region=job.region,
            worker=f"worker-{job.start_tag % 3}:1:1",
            outcome=outcome,
            counted=outcome != "crashed",
            status_code=status_code,
            request_id=f"{token}" if status_code else "",
            error_code=code,
            error_message=message,
            started_at=begun,
            ended_at=ended,
        )
    )
    return ended


def _transcript(job: TranscriptionJob, chance: Random, detailed: bool) -> Transcript:
    """Turns of two speakers, spread over the recording; their words only in detail."""
    said = chance.choices(SENTENCES, k=chance.randint(4, 9))
    each = (job.duration or 1.0) / len(said)
    utterances = []
    for turn, sentence in enumerate(said):
        words = _words(sentence, chance, turn * each, each, turn % 2) if detailed else []
        utterances.append(
            {
                "id": "",
                "start": round(turn * each, 3),
                "end": round(turn * each + each * 0.9, 3),
                "confidence": round(chance.uniform(0.9, 1), 3),
                "channel": 0,
                "transcript": sentence,
                "words": words,
                "speaker": turn % 2,
            }
        )
    return Transcript(
        id=uuid7_of(job.finished_at or job.created_at, f"transcript {job.pk}"),
        job=job,
        run=1,
        version=1,
        text=" ".join(said),
        confidence=round(chance.uniform(0.86, 0.995), 3),
        language="en",
        words=[word for utterance in utterances for word in utterance["words"]],  # type: ignore[attr-defined]
        utterances=utterances,
        created_at=job.finished_at or job.created_at,
    )


def _words(sentence: str, chance: Random, start: float, seconds: float, speaker: int) -> list[dict[str, Any]]:
    words = sentence.split()
    each = seconds * 0.9 / len(words)
    return [
        {
            "word": word.strip(",.?").lower(),
            "punctuated_word": word,
            "start": round(start + place * each, 3),
            "end": round(start + (place + 0.9) * each, 3),
            "confidence": round(1 - chance.random() ** 8 * 0.7, 3),
            "speaker": speaker,
        }
        for place, word in enumerate(words)
    ]


def _tell(rows: _Rows, job: TranscriptionJob, cast: _Cast, chance: Random, now: datetime) -> None:
    """Its event, delivered to each endpoint: at once, after a retry, or not."""
    at = job.finished_at or now
    kind = {Status.COMPLETED: EventType.JOB_COMPLETED, Status.CANCELLED: EventType.JOB_CANCELLED}
    event = Event(
        id=uuid7_of(at, f"event {job.pk}"),
        project=job.project,
        type=kind.get(Status(job.status), EventType.JOB_FAILED),
        job=job,
        data={"id": str(job.pk), "status": job.status, "run": 1, "sequence": 1, "duration": job.duration},
        created_at=at,
    )
    rows.events.append(event)
    for endpoint in cast.endpoints[job.project_id]:
        answers = [500, 500] if endpoint.failing_since else [503, 200] if chance.random() < 0.04 else [200]
        delivery = Delivery(
            id=uuid7_of(at, f"delivery {job.pk} {endpoint.pk}"),
            event=event,
            endpoint=endpoint,
            url=endpoint.url,
            receiver=receiver_of(endpoint.url),
            status=DeliveryStatus.FAILED if endpoint.failing_since else DeliveryStatus.DELIVERED,
            attempts=len(answers),
            run_at=at,
            delivered_at=None if endpoint.failing_since else at + timedelta(seconds=1),
        )
        rows.deliveries.append(delivery)
        rows.tries += [
            DeliveryAttempt(
                delivery=delivery,
                number=number,
                started_at=at + timedelta(seconds=5 * number),
                duration=round(chance.uniform(0.02, 0.4), 3),
                status_code=code,
                address="192.0.2.7",
                response="ok" if code == 200 else "upstream is not there",
            )
            for number, code in enumerate(answers, start=1)
        ]


def _seal(cast: _Cast) -> None:
    """The latest of each project stays open."""
    old = [batch.pk for batches in cast.batches.values() for batch in batches[:-1]]
    since = models.F("created_at")
    Batch.objects.filter(pk__in=old).update(sealed_at=since, finished_at=since + timedelta(hours=3))


def _add_sessions(cast: _Cast, chance: Random, now: datetime) -> int:
    """Forty that have ended, and three that go on."""
    reasons = cycle((EndReason.FINISHED, EndReason.FINISHED, EndReason.FINISHED, EndReason.CLIENT_GONE))
    sessions, finals, entries = [], [], []
    for place in range(43):
        on_air = place >= 40
        began = now - timedelta(minutes=2 + place) if on_air else now - timedelta(hours=1 + 16 * (40 - place))
        project = chance.choice(cast.projects)
        spoken = chance.choices(SENTENCES, k=6 if on_air else 20)
        lasted = 5.0 * len(spoken)
        drops = chance.choice((0, 0, 0, 1, 3))
        session = LiveSession(
            id=uuid7_of(began, f"session {place} of {now}"),
            project=project,
            key=cast.keys[project.pk],
            options={"model": "nova-3", "encoding": "linear16", "sample_rate": "16000"},
            state=State.LIVE if on_air else State.ENDED,
            relay="demo:1:1",
            lease_until=now + timedelta(hours=1) if on_air else None,
            region=cast.regions[0].name,
            request_id=f"{uuid7_of(began, 'request')}",
            last_seq=len(spoken),
            duration=lasted,
            connections=1 + drops,
            reconnects=drops,
            latency=_latency(chance, len(spoken)),
            created_at=began,
            connected_at=began + timedelta(seconds=0.3),
            ended_at=None if on_air else began + timedelta(seconds=lasted),
            reason="" if on_air else next(reasons),
        )
        sessions.append(session)
        entries.append(_happened(session, Happening.CONNECTED, 0.3, connection=1))
        for drop in range(drops):
            at = lasted * (drop + 1) / (drops + 1)
            entries.append(_happened(session, Happening.CONNECTION_LOST, at, code=1011))
            entries.append(_happened(session, Happening.CONNECTED, at + 0.8, connection=drop + 2))
        finals += list(_finals(session, spoken, chance))
    with transaction.atomic():
        LiveSession.objects.bulk_create(sessions)
        FinalResult.objects.bulk_create(finals)
        TimelineEntry.objects.bulk_create(entries)
        UsageLine.objects.bulk_create(
            line
            for session in sessions
            if session.ended_at
            for line in usage.lines_of(
                session, session.ended_at.date(), mode="streaming", seconds=session.duration, failed=False
            )
        )
    return len(sessions)


def _latency(chance: Random, results: int) -> dict[str, float]:
    typical = chance.uniform(180, 320)
    return {"p50_ms": typical, "p95_ms": typical * 1.7, "p99_ms": typical * 2.4, "results": results}


def _happened(session: LiveSession, what: Happening, after: float, **details: Any) -> TimelineEntry:
    at = session.created_at + timedelta(seconds=after)
    return TimelineEntry(
        id=uuid7_of(at, f"{what} {session.pk}"), session=session, type=what, at=at, details=details
    )


def _finals(session: LiveSession, spoken: Sequence[str], chance: Random) -> Iterator[FinalResult]:
    for place, sentence in enumerate(spoken):
        message = {
            "type": "Results",
            "channel_index": [0, 1],
            "start": place * 5.0,
            "duration": 5.0,
            "is_final": True,
            "speech_final": True,
            "channel": {
                "alternatives": [
                    {
                        "transcript": sentence,
                        "confidence": 0.97,
                        "words": _words(sentence, chance, place * 5.0, 5.0, 0),
                    }
                ]
            },
        }
        yield FinalResult.parsed(session.pk, place + 1, json.dumps(message))


def _tone() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 8000, 0, "NONE", ""))
        for sample in range(TONE_SECONDS * 8000):
            writer.writeframesraw(int(8000 * math.sin(sample / 3)).to_bytes(2, "little", signed=True))
    return file.getvalue()


_TONE = _tone()
