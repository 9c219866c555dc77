"""What came of a job, as Deepgram answers it: the provider's own bytes as they are stored, or a refusal."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from django.core.files.storage import storages

from jobs.gateway import refusals
from jobs.gateway.bodies import NOT_ROUTABLE
from jobs.gateway.refusals import Refused
from jobs.models import Attempt, Status, Transcript, TranscriptionJob

JOB_HEADER = "Transcription-Job"
# The codes of jobs.audio.probe that are about the file.
NOT_AUDIO = ("unsupported_media", "corrupt_media", "media_too_long", "probe_timeout", "probe_crashed")
# Deepgram's codes for what a provider may have answered, by status.
CODE_OF_STATUS = {
    400: "Bad Request",
    404: "NOT_FOUND",
    408: "SLOW_UPLOAD",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    500: "INTERNAL_SERVER_ERROR",
    502: "BAD_GATEWAY",
    504: "GATEWAY_TIMEOUT",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`is_final`: the job has ended, and this will not change."""

    status: int
    body: bytes = field(repr=False)
    headers: dict[str, str]
    is_final: bool


def accepted(job_id: UUID) -> Answer:
    """For who does not wait: the id that the result will have."""
    body = json.dumps({"request_id": str(job_id)}).encode()
    return Answer(200, body, _headers(str(job_id), job_id), is_final=False)


def refused(
    error: Refused, request_id: UUID | str, job_id: UUID | None = None, *, final: bool = True
) -> Answer:
    headers = _headers(str(request_id), job_id) | error.headers
    return Answer(error.status, error.body(request_id), headers, final)


def answer_for(job_id: UUID) -> Answer:
    """What whoever waits for the job is told now."""
    request_id = str(job_id)
    try:
        job, attempt = _job_and_last_attempt(job_id)
        if not job.is_ended:
            goes_on = f"The job takes longer and goes on. Its result will be that of /api/v1/jobs/{job_id}/."
            return refused(refusals.timed_out(goes_on), job_id, job_id, final=False)
        request_id = (attempt and attempt.request_id) or request_id
        if job.status != Status.COMPLETED:
            raise why_not(job.status, job.error_code, job.error_message, attempt)
        body = result_of(job, attempt)
    except TranscriptionJob.DoesNotExist:
        return refused(refusals.cancelled(), job_id, job_id)
    except Exception as error:  # noqa: BLE001 (logged where it is judged)
        return refused(refusals.refusal_of(error), request_id, job_id)
    return Answer(200, body, _headers(request_id, job_id), is_final=True)


def _job_and_last_attempt(job_id: UUID) -> tuple[TranscriptionJob, Attempt | None]:
    """The last of its run, if that was begun. Of both, no more is read than answers need."""
    attempt = Attempt.objects.filter(job=job_id).select_related("job").only(*_TOLD).last()
    if attempt is None:
        return TranscriptionJob.objects.get(pk=job_id), None
    return attempt.job, attempt if attempt.run == attempt.job.run else None


_TOLD = [
    *("job", "run", "status_code", "request_id", "provider_code"),
    *("job__status", "job__run", "job__error_code", "job__error_message"),
]


def last_attempt(job: TranscriptionJob, run: int) -> Attempt | None:
    return job.history.filter(run=run).last()


def result_of(job: TranscriptionJob, attempt: Attempt | None) -> bytes:
    """The provider's bytes of the run that this attempt completed; Refused if they are kept no longer."""
    run = attempt.run if attempt else job.run
    # Its words, which may be many, only where they have to be written anew.
    transcript = job.transcripts.filter(run=run, author="").only("answer", "job_id").first()
    if transcript is None:
        raise Refused(404, "NOT_FOUND", "The transcript is kept no longer.")
    if transcript.answer:
        with suppress(OSError), storages["default"].open(transcript.answer) as file:
            return bytes(file.read())
    return _written_anew(job, transcript, attempt)


def why_not(status: str, code: str, message: str, attempt: Attempt | None) -> Refused:
    """The refusal that a job's end is, by its status and error. `attempt`: the last of its run."""
    answered = attempt.status_code if attempt else None
    if status == Status.CANCELLED:
        return refusals.cancelled()
    if code in NOT_ROUTABLE:
        return refusals.not_routable()
    if code.startswith("url_"):
        return refusals.remote_content(message)
    if code in NOT_AUDIO:
        return refusals.corrupt_audio()
    if code in ("provider_timeout", "deadline_exceeded"):
        return refusals.timed_out(message)
    if answered == 503:
        return refusals.unavailable()
    if attempt and answered and answered >= 400:
        named = attempt.provider_code or CODE_OF_STATUS.get(answered, "Bad Request")
        return Refused(answered, named, message)
    return refusals.failed_upstream(message)


def _written_anew(job: TranscriptionJob, transcript: Transcript, attempt: Attempt | None) -> bytes:
    """As much as the transcript has, where the provider's bytes could not be stored, or read."""
    channels = [
        {"alternatives": [{name: channel[told] for name, told in _OF_ALTERNATIVES.items()}]}
        for channel in transcript.channels
    ]
    metadata = {
        "request_id": (attempt and attempt.request_id) or str(job.pk),
        "duration": job.duration,
        "channels": len(channels),
    }
    results = {"channels": channels, "utterances": transcript.utterances}
    return json.dumps({"metadata": metadata, "results": results}).encode()


_OF_ALTERNATIVES = {"transcript": "text", "confidence": "confidence", "words": "words"}


def _headers(request_id: str, job_id: UUID | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "dg-request-id": request_id}
    return headers if job_id is None else {**headers, JOB_HEADER: str(job_id)}
