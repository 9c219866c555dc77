"""Running one claimed job: audio out of storage, the provider's answer kept, the transcript committed.

1. No database connection is held while the provider is called.
2. The raw answer is stored before anything is committed, and a later attempt of the same run uses it, so that
   a crash between the two is not billed twice.
3. Every outcome is one call of jobs.lifecycle, made again while the database cannot be reached and the lease
   lasts. Whoever has lost the lease meanwhile (InvalidTransition) leaves nothing but a line in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from copy import copy
from functools import partial
from typing import BinaryIO, cast

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import InterfaceError, OperationalError, connection

from jobs import lifecycle
from jobs.leases import LeaseKeeper
from jobs.lifecycle import CallReport
from jobs.models import InvalidTransition, Recording, TranscriptionJob
from jobs.options import to_query
from jobs.results import MalformedAnswer, Result, parse
from routing.backoff import GiveUp, RetryPolicy
from routing.provider import (
    Answer,
    AudioFile,
    AudioUnreadable,
    AudioURL,
    CallAborted,
    ProviderEndpoint,
    ProviderError,
    ProviderUnavailable,
    provider_for,
)
from routing.regions import Region, region_named
from routing.transport import Call

logger = logging.getLogger(__name__)

DATABASE_REST_SECONDS = 0.5

Outcome = Callable[[TranscriptionJob], object]
"""What is to be written of an attempt: a function of jobs.lifecycle, but for the job."""


def execute(job: TranscriptionJob, keeper: LeaseKeeper, call: Call | None = None) -> None:
    """Run `job`, claimed by this process, to the end of this attempt. Raises nothing that is the job's."""
    call = call or Call(settings.PROVIDER_DEADLINE_SECONDS)
    with keeper.hold(job, call):
        try:
            _write(_attempt(job, call), job, call)
        except InvalidTransition:
            logger.info("Job %s ended or was taken over while it ran here.", job.pk)
        except CallAborted:
            logger.info("The call for job %s was abandoned: its lease is lost.", job.pk)


def _attempt(job: TranscriptionJob, call: Call) -> Outcome:
    region = region_named(job.region)
    try:
        body, report = _kept_answer(job) or _ask(job, region, call)
        result = parse(body)
    except ProviderError as error:
        return _after(error, job, region)
    except (AudioUnreadable, OSError) as error:
        unreadable = ProviderUnavailable("audio_unreadable", f"The stored audio cannot be read: {error}")
        return _after(unreadable, job, region)
    except MalformedAnswer as error:
        _discard_answer(job)
        return _after(ProviderUnavailable(error.code, error.message), job, region)
    except (OperationalError, InterfaceError) as error:
        # Nothing was asked yet, so nothing is to be held against the job.
        logger.warning("Job %s could not be begun without the database: %s", job.pk, error)
        return lifecycle.release
    return partial(lifecycle.complete, result=result, report=report)


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
                raise
            logger.warning("The outcome of job %s cannot be written yet: %s", job.pk, error)
            time.sleep(DATABASE_REST_SECONDS)
        else:
            return


def _ask(job: TranscriptionJob, region: Region, call: Call) -> tuple[bytes, CallReport]:
    provider = provider_for(ProviderEndpoint(region.base_url, region.api_key))
    with ExitStack() as opened:
        source: AudioFile | AudioURL
        if job.recording_id is None:
            source, media_type, may_train = AudioURL(job.url), None, job.project.improve_provider_models
        else:
            # Just what is needed, and in one query: a worker does this for every job.
            name, size, media_type, may_train = Recording.objects.values_list(
                "file", "size", "media_type", "project__improve_provider_models"
            ).get(pk=job.recording_id)
            source = AudioFile(cast(BinaryIO, opened.enter_context(storages["default"].open(name))), size)
        query = [*to_query(job.options), ("mip_opt_out", "false" if may_train else "true")]
        connection.close()
        answer: Answer = provider.transcribe(source, query, call=call, content_type=media_type)
    storages["default"].save(job.answer_name, ContentFile(answer.body))
    return answer.body, CallReport(status_code=answer.status, request_id=answer.request_id or "")


def _kept_answer(job: TranscriptionJob) -> tuple[bytes, CallReport] | None:
    """What an earlier attempt of this run was answered, if it got as far as storing it."""
    if job.claimed_at == job.started_at:
        # Its first claim in this run.
        return None
    try:
        with storages["default"].open(job.answer_name) as file:
            body = file.read()
    except FileNotFoundError:
        return None
    try:
        result: Result = parse(body)
    except MalformedAnswer:
        # Cut short by the crash that made this attempt necessary.
        _discard_answer(job)
        return None
    return body, CallReport(request_id=result.request_id or "")


def _discard_answer(job: TranscriptionJob) -> None:
    storages["default"].delete(job.answer_name)


def _after(error: ProviderError, job: TranscriptionJob, region: Region) -> Outcome:
    """What follows an error of the provider's."""
    report = CallReport(
        status_code=error.status,
        request_id=error.request_id or "",
        error_code=error.code,
        error_message=error.message,
        outcome_unknown=getattr(error, "outcome_unknown", False),
    )
    logger.info("Job %s: %s (%s)", job.pk, error.code, error.status)
    policy = RetryPolicy(region.max_attempts, settings.RETRY_BASE_SECONDS, settings.RETRY_MAX_SECONDS)
    decision = policy.decide(
        job.attempts + error.kind.counts_as_attempt,
        error.kind,
        getattr(error, "retry_after", None),
        deferrals=job.deferrals,
    )
    if isinstance(decision, GiveUp):
        return partial(lifecycle.fail, report=report)
    return partial(
        lifecycle.wait, seconds=decision.delay, report=report, counted=error.kind.counts_as_attempt
    )
