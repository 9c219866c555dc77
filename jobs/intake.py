"""Accepting work: an upload becomes a Recording, a recording or a URL becomes a job with a routing receipt.

file (jobs.audio.received, hashed on its way) -> probed -> stored (jobs.audio.keeping) -> Recording
Recording or URL -> region -> mode -> TranscriptionJob: queued, or running here (jobs.running.sync)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from structlog.contextvars import bound_contextvars

from jobs import metrics, quotas
from jobs.database_clock import seconds_from_now
from jobs.forgetting.deletion import delete_if_unused
from jobs.ids import uuid7
from jobs.models import (
    ApiKey,
    Batch,
    BatchSealed,
    IdempotencyKey,
    Mode,
    Priority,
    Project,
    Recording,
    TranscriptionJob,
)
from jobs.placing import Place, place
from jobs.refusal import NotAccepted
from jobs.running import sync
from jobs.running.leases import keeper
from jobs.running.wakeups import wake
from jobs.speed import estimated_seconds
from routing import tracing
from routing.choice import Capability
from routing.modes import Choice, Conditions, RequestedMode, Thresholds, choose_mode, receipt
from routing.regions import UnknownRegion

logger = logging.getLogger(__name__)

INSERTED_AT_A_TIME = 500


class NoRegionAble(NotAccepted):
    """A caller who would wait would wait for nothing."""

    status = 503

    def __init__(self, why: str) -> None:
        super().__init__("no_region_able", f"{why} Submit again later, or as async: it is done when one can.")


class TooManyOpenJobs(NotAccepted):
    """The key's limit is reached until one of its jobs ends."""

    status = 429

    def __init__(self, limit: int) -> None:
        super().__init__(
            "too_many_open_jobs",
            f"The key may have {limit} jobs that have not ended, and has them. Submit again when one has.",
        )
        self.limit = limit


class TooManyForKey(NotAccepted):
    """More at once than the key may ever have."""

    def __init__(self, jobs: int, limit: int) -> None:
        super().__init__(
            "too_many_for_key",
            f"These are {jobs} jobs, and the key may have {limit} that have not ended. Submit fewer at once.",
        )


@dataclass(frozen=True, slots=True)
class Remote:
    """One of many URLs, with what is its own."""

    url: str
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for, beside the audio. `options` have been validated.

    `callback_method`: POST or PUT, for a callback as Deepgram makes it (jobs.gateway.callbacks).
    `of_archive`: it comes of an archive that the batch had before it was sealed, and is let in.
    `is_counted`: its audio counts against the project's quota; if not, it was counted before.
    `deadline`: seconds within which it must be begun; JOB_DEADLINE_SECONDS if None.
    `patience`: seconds that the caller waits, from the making of the order; SYNC_DEADLINE_SECONDS at most.
    """

    project: Project
    options: dict[str, Any]
    mode: RequestedMode = "auto"
    region: str = ""
    priority: Priority = Priority.NORMAL
    callback_url: str = ""
    callback_method: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    deadline: float | None = None
    batch: Batch | None = None
    of_archive: bool = False
    is_counted: bool = True
    user: User | None = None
    key: ApiKey | None = None
    patience: float | None = None
    respond_async: bool = False
    idempotency: IdempotencyKey | None = None
    made_at: float = field(default_factory=monotonic)

    @property
    def may_wait(self) -> bool:
        """Whether it may run while its caller waits."""
        return self.mode == "sync" or (self.mode == "auto" and not self.respond_async)

    @property
    def is_limited(self) -> bool:
        """Whether what it goes into is counted or may be closed, to be asked with the job's row."""
        by_key = self.key is not None and self.key.open_jobs_limit is not None
        by_quota = self.is_counted and self.project.daily_minutes is not None
        return by_key or by_quota or (self.batch is not None and not self.of_archive)

    @property
    def waits(self) -> float:
        """Seconds that the caller is kept waiting from now at most."""
        longest = float(settings.SYNC_DEADLINE_SECONDS)
        patience = longest if self.patience is None else min(self.patience, longest)
        return max(0.0, self.made_at + patience - monotonic())


class AlreadyAccepted(Exception):
    """The same submission, under the same key, was accepted a moment before."""

    def __init__(self, earlier: IdempotencyKey) -> None:
        super().__init__("It was accepted a moment before.")
        self.earlier = earlier


def place_for(order: Order, capability: Capability, *, avoid: str = "") -> Place:
    """Where the order would best be done now; where it is to be avoided only if no other can.

    NotAccepted if no region may take it, UnknownRegion if there is none of the name that was asked for.
    """
    return place(order.project, capability, pinned=order.region, avoid=avoid)


def first_place_for(order: Order) -> Place:
    """The same, for a caller who waits if one may; NoRegionAble if one insists and no region can."""
    found = place_for(order, Capability.SYNC if order.may_wait else Capability.ASYNC)
    if order.mode == "sync" and not found.able:
        raise NoRegionAble(found.reason)
    return found


def check_room(key: ApiKey | None, jobs: int = 1) -> None:
    """TooManyOpenJobs if the key may not have so many open jobs more now, TooManyForKey if it never may."""
    limit = None if key is None else key.open_jobs_limit
    if limit is None:
        return
    if jobs > max(limit, 1):
        raise TooManyForKey(jobs, limit)
    mine = TranscriptionJob.objects.open().filter(key=key)
    if mine.reach(limit - jobs + 1):
        raise TooManyOpenJobs(limit)


def thresholds() -> Thresholds:
    return Thresholds(settings.SYNC_MAX_SECONDS, settings.ASYNC_MIN_SECONDS)


def choose(
    order: Order, duration: float | None, estimate: float | None, *, patience: float, slot_free: bool
) -> tuple[Conditions, Choice]:
    """The mode of a job that is so long and should take so long, and what the choice was made on."""
    given = Conditions(
        requested=order.mode,
        duration=duration,
        estimate=estimate,
        patience=round(patience, 1),
        slot_free=slot_free,
        respond_async=order.respond_async,
        low_priority=order.priority == Priority.LOW,
    )
    return given, choose_mode(given, thresholds())


def submit(order: Order, *, recording: Recording | None = None, url: str = "") -> TranscriptionJob:
    """Make the job. One that runs sync is running when this returns, in a thread of this process.

    NotAccepted or UnknownRegion if no region may take it, NoRegionAble if it has to run sync and none can,
    TooManyOpenJobs if its key has as many as it may, QuotaExceeded if it is too long for what is left of the
    project's quota, LongerThanQuota if it is for all of it, BatchSealed if its batch takes no more;
    AlreadyAccepted, or KeyReused, if its idempotency key was used meanwhile. The recording is deleted then,
    if it is not another job's.
    """
    with tracing.span("job.submit"):
        return _submitted(order, recording, url)


def _submitted(order: Order, recording: Recording | None, url: str) -> TranscriptionJob:
    try:
        where = first_place_for(order)
    except (NotAccepted, UnknownRegion):
        if recording is not None:
            delete_if_unused(recording)
        raise
    duration = recording.duration if recording else None
    patience = order.waits
    with sync.Slot(wait=patience if order.mode == "sync" else 0.0, wanted=order.mode != "async") as slot:
        job = _planned(order, where, duration, patience, slot_free=slot.is_taken and where.able)
        if job.mode == Mode.SYNC and not slot.may_call(where.region):
            # What is known of regions is a second old. If there is none that takes it, it waits in the queue.
            where = place_for(order, Capability.SYNC, avoid=where.region.name)
            free = where.able and slot.may_call(where.region)
            job = _planned(order, where, duration, patience, slot_free=free)
        if job.mode == Mode.ASYNC and order.may_wait:
            _send(job, place_for(order, Capability.ASYNC))
        job.recording, job.url = recording, url
        job.receipt["duplicate_of"] = _duplicate_of(recording)
        # Also of one that runs here: should it go back to the queue, this is its place.
        job.start_tag, now = TranscriptionJob.objects.next_place(order.project, job.queue, job.priority)
        if job.mode == Mode.SYNC:
            job.lease_to(keeper().name, settings.LEASE_SECONDS, now)
            _insert(job, order)
            slot.run(job)
        else:
            _insert(job, order)
            transaction.on_commit(partial(wake, job.queue))
    return job


def _duplicate_of(recording: Recording | None) -> str | None:
    """The last job that this very audio was submitted with before, in its project."""
    found = recording and TranscriptionJob.objects.duplicate_of(recording)
    return str(found) if found else None


def _insert(job: TranscriptionJob, order: Order) -> None:
    """Save the job, and with it what keeps it from being one too many, or one that there is already."""
    if not order.is_limited and order.idempotency is None:
        job.insert()
        _accepted(job)
        return
    try:
        with transaction.atomic():
            _admit(order, 1, job.duration)
            job.insert()
            if order.idempotency is not None:
                order.idempotency.insert(job=job)
            _accepted(job)
    except (NotAccepted, BatchSealed, IntegrityError) as error:
        if job.recording is not None:
            delete_if_unused(job.recording)
        earlier = order.idempotency and order.idempotency.earlier()
        if isinstance(error, IntegrityError) and earlier:
            raise AlreadyAccepted(earlier) from None
        raise


def _accepted(job: TranscriptionJob, count: int = 1) -> None:
    transaction.on_commit(partial(_told, job, count))


def _told(job: TranscriptionJob, count: int) -> None:
    metrics.SUBMITTED.labels(job.mode, job.region).inc(count)
    tracing.tell(job_id=str(job.pk), mode=job.mode, region=job.region)
    with bound_contextvars(**job.log_ids):
        logger.info("Accepted (%d): %s in %s", count, job.mode, job.region)


def _admit(order: Order, jobs: int, duration: float | None = None) -> None:
    """Those of one key with a limit, one project with a quota, or one batch go one after the other.

    None is so let in too many. `duration`: of the one job, if it is known.
    """
    if order.key is not None and order.key.open_jobs_limit is not None:
        ApiKey.objects.select_for_update(no_key=True).get(pk=order.key.pk)
        check_room(order.key, jobs)
    if order.is_counted:
        quotas.charge(order.project, duration)
    if order.batch is not None and not order.of_archive:
        order.batch.admit()


def queue_all(order: Order, remotes: Sequence[Remote]) -> None:
    """Queue a job for each of these URLs, in this order, in one transaction; whatever the order's mode.

    NotAccepted if no region may take them, the key has no room for all or the quota is used up; BatchSealed
    if the batch takes no more.
    """
    where = place_for(order, Capability.ASYNC)
    queue = where.region.queue
    queued = replace(order, mode="async")
    jobs = []
    # Ids of one millisecond come in any order.
    for job_id, remote in zip(sorted(uuid7() for _ in remotes), remotes, strict=True):
        job = _planned(queued, where, None, 0.0, slot_free=False)
        job.pk, job.url, job.metadata, job.tags = job_id, remote.url, remote.metadata, remote.tags
        jobs.append(job)
    if not jobs:
        return
    with tracing.span("job.submit", jobs=len(jobs)), transaction.atomic():
        for job in jobs:
            job.traceparent = tracing.traceparent()
        _admit(order, len(jobs))
        first, now = TranscriptionJob.objects.next_place(order.project, queue, order.priority)
        # Not as an expression: ten thousand of them take their time, while SQLite lets nobody else write.
        deadline_at = now + timedelta(seconds=order.deadline or settings.JOB_DEADLINE_SECONDS)
        for place, job in enumerate(jobs, first):
            job.start_tag, job.deadline_at = place, deadline_at
        TranscriptionJob.objects.bulk_create(jobs, batch_size=INSERTED_AT_A_TIME)
        _accepted(jobs[0], len(jobs))
    transaction.on_commit(partial(wake, queue))


def _planned(
    order: Order, where: Place, duration: float | None, patience: float, *, slot_free: bool
) -> TranscriptionJob:
    """A job with its mode chosen, neither saved nor given what it is to transcribe."""
    needed = thresholds().leave_open(duration)
    estimate = estimated_seconds(duration, where.region.name, order.options) if needed else None
    given, choice = choose(order, duration, estimate, patience=patience, slot_free=slot_free)
    return TranscriptionJob(
        project=order.project,
        created_by=order.user,
        key=order.key,
        batch=order.batch,
        options=order.options,
        metadata=order.metadata,
        tags=order.tags,
        callback_url=order.callback_url,
        callback_method=order.callback_method,
        mode=Mode.SYNC if choice.mode == "sync" else Mode.ASYNC,
        receipt=receipt(given, choice, where.region.name, where.reason)
        | {"duplicate_of": None, "policy": order.project.policy},
        region=where.region.name,
        pinned=bool(order.region),
        queue=where.region.queue,
        priority=order.priority,
        duration=duration,
        deadline_at=seconds_from_now(order.deadline or settings.JOB_DEADLINE_SECONDS),
        traceparent=tracing.traceparent(),
    )


def _send(job: TranscriptionJob, where: Place) -> None:
    """Perhaps to another region than planned: what workers need is not what callers who wait do."""
    job.region, job.queue = where.region.name, where.region.queue
    job.receipt |= {"region": where.region.name, "region_reason": where.reason}
