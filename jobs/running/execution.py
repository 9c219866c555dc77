"""Running one claimed job: audio out of storage, the provider's answer kept, the transcript committed.

A job that came by a URL is given its recording first (jobs.audio.ingestion).

1. No database connection is held while the provider is called.
2. The raw answer is stored before anything is committed, and a later attempt of the same run uses it, so that
   a crash between the two is not billed twice.
3. Every outcome is one call of jobs.lifecycle, made again while the database cannot be reached and the lease
   lasts. Whoever has lost the lease meanwhile (InvalidTransition) leaves nothing but a line in the log.
4. What nobody foresaw is an attempt that failed, and not the worker's death; only memory that runs out is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q
from structlog.contextvars import bind_contextvars, bound_contextvars

from jobs import lifecycle
from jobs.audio.ingestion import FetchFailed, fetch
from jobs.forgetting.deletion import remove_unattached
from jobs.lifecycle import CallReport
from jobs.models import InvalidTransition, Recording, TranscriptionJob
from jobs.models.state import OPEN
from jobs.running.leases import LeaseKeeper
from jobs.transcripts.options import to_query
from jobs.transcripts.results import MalformedAnswer, Result, parse
from routing import tracing
from routing.backoff import ErrorKind, GiveUp, Retry, RetryPolicy
from routing.breaker import breaker_of
from routing.provider import (
    Answer,
    AudioFile,
    AudioUnreadable,
    CallAborted,
    ProviderError,
    ProviderUnavailable,
    provider_for,
)
from routing.regions import Region, UnknownRegion, region_named
from routing.transport import Call

logger = logging.getLogger(__name__)

DATABASE_REST_SECONDS = 0.5
UNKNOWN_REGION_REST_SECONDS = 60.0
# Of the audio's length: what a call may take beside PROVIDER_SLOW_SECONDS until it is slow.
SLOW_SHARE = 0.1
UNREADABLE = "The stored audio cannot be read; why is in the service's log."

Outcome = Callable[[TranscriptionJob], object]
"""What is to be written of an attempt: a function of jobs.lifecycle, but for the job."""


def execute(
    job: TranscriptionJob,
    keeper: LeaseKeeper,
    call: Call | None = None,
    answered: Callable[[], None] = lambda: None,
) -> None:
    """Run `job`, claimed by this process, to the end of this attempt. Raises nothing that is the job's.

    `answered` is called when the provider is done with it, and may take the next.
    """
    call = call or Call(longest_attempt(job))
    # The last is bound when it is known.
    ids = {**job.log_ids, "provider_request_id": ""}
    told = {"mode": job.mode, "region": job.region, "model": str(job.options.get("model", ""))}
    span = tracing.span("job.attempt", kind="consumer", parent=job.traceparent, **ids, **told)
    with span, bound_contextvars(**ids), keeper.hold(job, call):
        try:
            _write(_attempt(job, call, answered), job, call)
        except InvalidTransition:
            span.fail("taken_over")
            logger.info("Job %s ended or was taken over while it ran here.", job.pk)
            _forget_unwanted_answer(job)
        except CallAborted:
            span.fail("lease_lost")
            logger.info("The call for job %s was abandoned: its lease is lost.", job.pk)


def longest_attempt(job: TranscriptionJob) -> float:
    """Seconds that an attempt may take. What fetching leaves of its own is the provider's."""
    fetching = settings.FETCH_DEADLINE_SECONDS if job.recording_id is None else 0.0
    return float(settings.PROVIDER_DEADLINE_SECONDS + fetching)


@dataclass(frozen=True, slots=True)
class Heard:
    """What the provider answered; `answer_name`: where its own bytes are stored, "" if they could not be."""

    result: Result
    report: CallReport
    answer_name: str


def _attempt(job: TranscriptionJob, call: Call, answered: Callable[[], None]) -> Outcome:
    try:
        region = region_named(job.region)
    except UnknownRegion as error:
        unknown = CallReport(error_code="unknown_region", error_message=str(error))
        return partial(lifecycle.wait, seconds=UNKNOWN_REGION_REST_SECONDS, report=unknown, counted=False)
    began_at = time.monotonic()
    try:
        heard = _kept_answer(job) or _ask(job, region, call, answered)
    except CallAborted:
        raise
    except FetchFailed as error:
        return _after_fetching(error, job, region)
    except ProviderError as error:
        _tell_breaker(error, region, began_at)
        return _after(error, job, region, may_leave=True)
    except (AudioUnreadable, OSError) as error:
        logger.warning("The stored audio of job %s cannot be read: %s", job.pk, error)
        return _after(ProviderUnavailable("audio_unreadable", UNREADABLE), job, region)
    except MalformedAnswer as error:
        _discard_answer(job)
        malformed = ProviderUnavailable(error.code, error.message)
        _tell_breaker(malformed, region, began_at)
        return _after(malformed, job, region, may_leave=True)
    except (OperationalError, InterfaceError) as error:
        # Nothing was asked yet, so nothing is to be held against the job.
        logger.warning("Job %s could not be begun without the database: %s", job.pk, error)
        return lifecycle.release
    except MemoryError:
        raise
    except Exception as error:
        logger.exception("An attempt of job %s failed on our side.", job.pk)
        internal = f"The attempt failed on our side ({type(error).__name__}); the log says more."
        return _after(ProviderUnavailable("internal_error", internal), job, region)
    finally:
        # What a call came to, the breaker has been told; if none was made, the next job may make it.
        breaker_of(region.name).returned()
    return partial(
        lifecycle.complete, result=heard.result, report=heard.report, answer_name=heard.answer_name
    )


def _write(outcome: Outcome, job: TranscriptionJob, call: Call) -> None:
    """Write the outcome down, if need be again and again until the lease is lost.

    A commit whose confirmation was lost is found made the next time: InvalidTransition.
    """
    while True:
        try:
            # Of a copy, since a move that is rolled back has changed the object nevertheless.
            outcome(copy(job))
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if call.aborted:
                raise CallAborted from error
            logger.warning("The outcome of job %s cannot be written yet: %s", job.pk, error)
            time.sleep(DATABASE_REST_SECONDS)
        else:
            return


def _ask(job: TranscriptionJob, region: Region, call: Call, answered: Callable[[], None]) -> Heard:
    if job.recording_id is None:
        # Others may call meanwhile: whoever has the audio may take longer than a breaker waits.
        breaker_of(region.name).returned()
        _ingest(job, call)
    provider = provider_for(region.endpoint)
    with ExitStack() as opened:
        recording = cast(Recording, job.recording)
        audio = opened.enter_context(storages["default"].open(str(recording.file.name)))
        source = AudioFile(cast(BinaryIO, audio), recording.size)
        query = job.project.imposed_on(to_query(job.options))
        connection.close()
        began_at = time.monotonic()
        answer: Answer = provider.transcribe(source, query, call=call, content_type=recording.media_type)
        answered()
    expected = settings.PROVIDER_SLOW_SECONDS + SLOW_SHARE * (job.duration or 0.0)
    breaker_of(region.name).succeeded(began_at, at_most=expected)
    bind_contextvars(provider_request_id=answer.request_id or "")
    kept = _keep(job, answer.body)
    report = CallReport(status_code=answer.status, request_id=answer.request_id or "")
    return Heard(parse(answer.body), report, kept)


def _ingest(job: TranscriptionJob, call: Call) -> None:
    """Make what the job's URL leads to its recording."""
    connection.close()
    recording = fetch(job, call)
    try:
        _write(partial(lifecycle.attach, recording=recording), job, call)
    except InvalidTransition:
        remove_unattached(job.pk, job.lease_token)
        raise
    job.recording, job.duration = recording, recording.duration


def _keep(job: TranscriptionJob, body: bytes) -> str:
    """Store the answer; "" if that cannot be done: it is better committed than asked for again."""
    try:
        return storages["default"].save(job.answer_name, ContentFile(body))
    except OSError as error:
        logger.error("The answer to job %s cannot be stored: %s", job.pk, error)
        with suppress(OSError):
            _discard_answer(job)
        return ""


def _kept_answer(job: TranscriptionJob) -> Heard | None:
    """What an earlier attempt of this run was answered, if it got as far as storing it."""
    if job.claimed_at == job.started_at:
        # Its first claim in this run.
        return None
    try:
        with storages["default"].open(job.answer_name) as file:
            result = parse(file.read())
    except FileNotFoundError:
        return None
    except MalformedAnswer:
        # Cut short by the crash that made this attempt necessary.
        _discard_answer(job)
        return None
    return Heard(result, CallReport(request_id=result.request_id), job.answer_name)


def _discard_answer(job: TranscriptionJob) -> None:
    storages["default"].delete(job.answer_name)


def _forget_unwanted_answer(job: TranscriptionJob) -> None:
    """Of a run that ended otherwise meanwhile, or a job that was deleted: nobody will look for it."""
    wanted = Q(status__in=OPEN, run=job.run) | Q(transcripts__answer=job.answer_name)
    with suppress(OperationalError, InterfaceError, OSError):
        if not TranscriptionJob.objects.filter(wanted, pk=job.pk).exists():
            _discard_answer(job)


def _tell_breaker(error: ProviderError, region: Region, began_at: float) -> None:
    """What others may expect of the provider after an error of its."""
    match error.kind:
        case ErrorKind.UNAVAILABLE:
            breaker_of(region.name).failed(began_at)
        case ErrorKind.REJECTED:
            # It answered.
            breaker_of(region.name).succeeded(began_at)


def _after(
    error: ProviderError, job: TranscriptionJob, region: Region, *, may_leave: bool = False
) -> Outcome:
    """What follows an error of the provider's, or of our own that is like one."""
    report = CallReport(
        status_code=error.status,
        request_id=error.request_id or "",
        error_code=error.code,
        error_message=error.message,
        provider_code=error.provider_code,
        outcome_unknown=error.outcome_unknown,
    )
    bind_contextvars(provider_request_id=error.request_id or "")
    logger.info("Job %s: %s (%s)", job.pk, error.code, error.status)
    decision = _decision(job, region, error.kind, error.retry_after)
    if isinstance(decision, Retry) and error.kind in (ErrorKind.BUSY, ErrorKind.CREDENTIALS):
        # The next job would be told the same.
        breaker_of(region.name).open(decision.delay)
    return _outcome(decision, error.kind, report, may_leave=may_leave)


def _after_fetching(error: FetchFailed, job: TranscriptionJob, region: Region) -> Outcome:
    """The same of an error of the server that has the audio, which says nothing about the provider."""
    report = CallReport(error_code=error.code, error_message=error.message)
    return _outcome(_decision(job, region, error.kind, error.retry_after), error.kind, report)


def _decision(
    job: TranscriptionJob, region: Region, kind: ErrorKind, retry_after: float | None
) -> Retry | GiveUp:
    policy = RetryPolicy(region.max_attempts, settings.RETRY_BASE_SECONDS, settings.RETRY_MAX_SECONDS)
    attempts = job.attempts + kind.counts_as_attempt
    return policy.decide(attempts, kind, retry_after, deferrals=job.deferrals)


def _outcome(
    decision: Retry | GiveUp, kind: ErrorKind, report: CallReport, *, may_leave: bool = False
) -> Outcome:
    if isinstance(decision, GiveUp):
        return partial(lifecycle.fail, report=report)
    return partial(
        lifecycle.wait,
        seconds=decision.delay,
        report=report,
        counted=kind.counts_as_attempt,
        may_leave=may_leave,
    )
