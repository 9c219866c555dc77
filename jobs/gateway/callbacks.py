"""Callbacks as Deepgram makes them (developers.deepgram.com/docs/callback): the result itself is posted.

They are deliveries like any other: signed beside Deepgram's `dg-token`, which is no signature, and attempted
for 75 hours. A failure is posted as well, as the refusal that it would have been.
"""

from __future__ import annotations

from django.db import connection

from jobs.gateway import answers
from jobs.gateway.refusals import Refused
from jobs.models import Event, EventType, TranscriptionJob


def body_of(job: TranscriptionJob, event: Event) -> bytes:
    """What is posted at the end of the run that `event` tells of. Asks the database."""
    try:
        attempt = answers.last_attempt(job, event.sequence)
        if event.type != EventType.JOB_COMPLETED:
            error = event.data["error"] or {"code": "", "message": ""}
            return answers.why_not(event.data["status"], error["code"], error["message"], attempt).body(
                job.pk
            )
        body = answers.result_of(job, attempt)
    except Refused as error:
        return error.body(job.pk)
    finally:
        connection.close()
    if attempt and attempt.request_id:
        # The id that the request was answered with: receivers have no other.
        return body.replace(attempt.request_id.encode(), str(job.pk).encode())
    return body


def headers_of(job: TranscriptionJob) -> dict[str, str]:
    """`dg-token` is the identifier of the key that submitted the request."""
    return {"dg-token": str(job.key_id)} if job.key_id else {}
