"""One webhook on the wire: Standard Webhooks 1.0.0.

`webhook-id` is the event's, the same for all attempts; `webhook-timestamp` is the attempt's; the signature
covers id, timestamp and body. While a secret is being replaced there are two signatures, of which a receiver
needs to know either. What is sent when, and what follows from it: jobs.webhooks.deliverer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from time import monotonic

import httpx
from django.conf import settings
from django.utils import timezone
from standardwebhooks import Webhook
from structlog.contextvars import bound_contextvars

from jobs.gateway import callbacks
from jobs.models import Delivery, DeliveryAttempt, Event, EventType
from jobs.models.event import as_json
from jobs.models.signing import Signing
from routing import tracing
from routing.addresses import ForbiddenURL
from routing.backoff import parse_retry_after
from routing.encryption import SecretUnreadable
from routing.transport import (
    Call,
    CallInterrupted,
    ResponseTooLarge,
    guarded_client,
    peer_address,
    read_limited,
)

logger = logging.getLogger(__name__)

ATTEMPT_SECONDS = 15.0
# What a receiver that is down for long may ask for; the schedule of retries has such pauses too.
MOST_RETRY_AFTER = 86_400.0
KEPT_RESPONSE_BYTES = 4096
READ_RESPONSE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one POST. `retry_after`: seconds, as the receiver asked."""

    delivery: Delivery
    log: DeliveryAttempt
    retry_after: float | None

    @property
    def took_it(self) -> bool:
        return self.log.took_it

    @property
    def is_gone(self) -> bool:
        return self.log.status_code == httpx.codes.GONE


def post(delivery: Delivery) -> Outcome:
    """POST a delivery that is leased to the caller, once.

    Touches no database, unless it is a callback as Deepgram makes it, which carries the result.
    """
    event = delivery.event
    ids = {"delivery_id": str(delivery.pk)} | ({"job_id": str(event.job_id)} if event.job_id else {})
    span = tracing.span("webhook.attempt", kind="client", parent=event.traceparent, **ids, event=event.type)
    with bound_contextvars(**ids), span:
        outcome = _post(delivery)
        span.tell(**{"http.response.status_code": outcome.log.status_code}, attempt=outcome.log.number)
        if not outcome.took_it:
            span.fail(str(outcome.log.status_code or outcome.log.error.partition(":")[0]))
    return outcome


def _post(delivery: Delivery) -> Outcome:
    log = DeliveryAttempt(delivery=delivery, number=delivery.attempts + 1, started_at=timezone.now())
    retry_after: float | None = None
    begun = monotonic()
    if _is_told_nothing(delivery):
        log.error, log.duration = "endpoint_disabled: it was disabled while this was on its way", 0.0
        return Outcome(delivery, log, None)
    try:
        method, body, extra = _message(delivery)
        tracing.tell(**{"http.request.method": method})
        headers = {**signed_headers(delivery.event, body, delivery.signing), **extra}
        # Ids alone: who called us with a trace of its own finds the webhook in it.
        if traceparent := tracing.traceparent():
            headers["traceparent"] = traceparent
        with (
            Call(ATTEMPT_SECONDS),
            _client().stream(method, delivery.url, content=body, headers=headers) as response,
        ):
            log.address = peer_address(response) or ""
            retry_after = parse_retry_after(response.headers.get("retry-after"), at_most=MOST_RETRY_AFTER)
            answer = read_limited(response, READ_RESPONSE_BYTES)
            log.response = answer[:KEPT_RESPONSE_BYTES].decode(errors="replace").replace("\0", "")
            log.status_code = response.status_code
    except ResponseTooLarge:
        # Who says so much has at least answered.
        log.status_code = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, ForbiddenURL, CallInterrupted) as error:
        log.error = f"{type(error).__name__}: {error}"[:200]
    except SecretUnreadable as error:
        # Tried again like others: a key that is missing may be put back.
        log.error = f"{error.code}: no key of ENCRYPTION_KEYS opens the webhook secret"
        logger.error("Delivery %s of project %s: %s", delivery.pk, delivery.event.project_id, log.error)
    except Exception as error:
        # Of this one alone: those of other receivers go on.
        logger.exception("An attempt of delivery %s failed on our side.", delivery.pk)
        log.error = f"internal_error: {type(error).__name__}"
    log.duration = monotonic() - begun
    return Outcome(delivery, log, retry_after)


def _is_told_nothing(delivery: Delivery) -> bool:
    endpoint = delivery.endpoint
    return endpoint is not None and not endpoint.is_enabled and delivery.event.type != EventType.TEST


def _message(delivery: Delivery) -> tuple[str, bytes, dict[str, str]]:
    """Method, body, and headers beside the signature's."""
    job = delivery.event.job
    if delivery.endpoint_id is None and job is not None and job.callback_method:
        return job.callback_method, callbacks.body_of(job, delivery.event), callbacks.headers_of(job)
    return "POST", payload(delivery.event), {}


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, but for what is of each attempt: its signature, and when that was made."""

    method: str
    headers: list[tuple[str, str]]
    body: bytes


def described(delivery: Delivery) -> Request:
    """As an attempt made now would send it."""
    method, body, extra = _message(delivery)
    of_each = {"webhook-timestamp": "when it is sent", "webhook-signature": "made anew for each attempt"}
    return Request(method, [*{**_headers(delivery.event), **of_each, **extra}.items()], body)


def payload(event: Event) -> bytes:
    """The body: `{type, timestamp, data}`; the same bytes in every attempt."""
    happened = event.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return as_json({"type": event.type, "timestamp": happened, "data": event.data})


def signed_headers(event: Event, body: bytes, signing: Signing) -> dict[str, str]:
    """The headers of one attempt, made now."""
    now, text = timezone.now(), body.decode()
    signatures = [Webhook(secret).sign(event.message_id, now, text) for secret in signing.webhook_secrets()]
    return {
        **_headers(event),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _headers(event: Event) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "user-agent": "transcription-webhooks/1",
        "webhook-id": event.message_id,
    }


@cache
def _client() -> httpx.Client:
    return guarded_client(allow_private=settings.WEBHOOK_ALLOW_PRIVATE)
