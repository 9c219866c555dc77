"""Telling receivers: at least once, signed, for 75 hours.

1. An event and its deliveries are written with the job's move, so none is forgotten.
2. An attempt is made under a lease; whoever dies in it leaves the delivery to another, with the same id.
3. Short waits and long ones are the row's `run_at`; a Celery message only says "look".
4. What is claimed is attempted at once, in a thread that is free for it, and a receiver is given two at a
   time: one that hangs holds up nobody else. Many of them (WEBHOOK_CONCURRENCY / 2) do.
5. The wire is Standard Webhooks 1.0.0: `webhook-id` is the event's id, the same for all attempts;
   `webhook-timestamp` is the attempt's; the signature covers id, timestamp and body.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from threading import Event as Signal
from time import monotonic

import httpx
from cryptography.fernet import InvalidToken
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from standardwebhooks import Webhook

from jobs.models import Delivery, DeliveryAttempt, Event
from jobs.models.webhook import as_json
from routing.addresses import ForbiddenURL
from routing.backoff import parse_retry_after
from routing.transport import Call, CallInterrupted, ResponseTooLarge, guarded_client, read_limited

logger = logging.getLogger(__name__)

# Seconds after each failed attempt; ten attempts over 75.6 hours, as the specification's example has them.
SCHEDULE = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
JITTER = 0.2
ATTEMPT_SECONDS = 15.0
# An attempt begins with the claim and is written down at its end.
LEASE_SECONDS = 60.0
KEPT_RESPONSE_BYTES = 4096
READ_RESPONSE_BYTES = 64 * 1024
# While attempts are under way: what is due meanwhile, a retry for example, waits no longer.
LOOK_SECONDS = 1.0
SETTLED_EVERY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one POST. `retry_after`: seconds, as the receiver asked."""

    delivery: Delivery
    log: DeliveryAttempt
    retry_after: float | None

    @property
    def took_it(self) -> bool:
        return self.log.status_code is not None and 200 <= self.log.status_code < 300


def deliver_due(asked: Signal | None = None) -> None:
    """Attempt every delivery that is due, WEBHOOK_CONCURRENCY at a time, until none is left or under way.

    Whoever writes a delivery meanwhile sets `asked`, and it need not wait for those under way.
    """
    look = asked or Signal()
    pending: set[Future[Outcome]] = set()
    with ThreadPoolExecutor(settings.WEBHOOK_CONCURRENCY, thread_name_prefix="deliver") as pool:
        while True:
            look.clear()
            free = settings.WEBHOOK_CONCURRENCY - len(pending)
            for delivery in Delivery.objects.claim(free, LEASE_SECONDS):
                attempt = pool.submit(post, delivery)
                attempt.add_done_callback(lambda _: look.set())
                pending.add(attempt)
            if not pending:
                return
            look.wait(LOOK_SECONDS)
            # What ends within a moment is written down together.
            done, pending = wait(pending, timeout=SETTLED_EVERY_SECONDS)
            settle([attempt.result() for attempt in done])


def post(delivery: Delivery) -> Outcome:
    """POST a claimed delivery once. Touches no database."""
    body = payload(delivery.event)
    log = DeliveryAttempt(delivery=delivery, number=delivery.attempts + 1, started_at=timezone.now())
    retry_after: float | None = None
    begun = monotonic()
    try:
        with (
            Call(ATTEMPT_SECONDS),
            _client().stream(
                "POST", delivery.url, content=body, headers=signed_headers(delivery.event, body)
            ) as response,
        ):
            retry_after = parse_retry_after(response.headers.get("retry-after"))
            answer = read_limited(response, READ_RESPONSE_BYTES)
            log.response = answer[:KEPT_RESPONSE_BYTES].decode(errors="replace").replace("\0", "")
            log.status_code = response.status_code
    except ResponseTooLarge:
        # Who says so much has at least answered.
        log.status_code = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, ForbiddenURL, CallInterrupted) as error:
        log.error = f"{type(error).__name__}: {error}"[:200]
    except InvalidToken:
        # Tried again like others: a key that is missing may be put back.
        log.error = "secret_unreadable: no key of ENCRYPTION_KEYS opens the project's webhook secret"
        logger.error("Delivery %s of project %s: %s", delivery.pk, delivery.event.project_id, log.error)
    log.duration = monotonic() - begun
    return Outcome(delivery, log, retry_after)


def settle(outcomes: Sequence[Outcome]) -> None:
    """Write down what came of these deliveries.

    Those whose lease is lost are logged, and attempted again; those that were deleted are forgotten.
    """
    if not outcomes:
        return
    with transaction.atomic():
        leases = Delivery.objects.filter(pk__in=[outcome.delivery.pk for outcome in outcomes]).locked()
        existing = [outcome for outcome in outcomes if outcome.delivery.pk in leases]
        held = [each for each in existing if each.delivery.lease_token == leases[each.delivery.pk]]
        taken = [outcome.delivery.pk for outcome in held if outcome.took_it]
        Delivery.objects.filter(pk__in=taken).settle_delivered()
        for outcome in held:
            if not outcome.took_it:
                _after_refusal(outcome)
        DeliveryAttempt.objects.bulk_create([outcome.log for outcome in existing])


def _after_refusal(outcome: Outcome) -> None:
    number = outcome.log.number
    if outcome.log.status_code == httpx.codes.GONE or number > len(SCHEDULE):
        outcome.delivery.give_up()
    else:
        pause = SCHEDULE[number - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (spreads load)
        outcome.delivery.retry_in(max(pause, outcome.retry_after or 0.0))


def payload(event: Event) -> bytes:
    """The body: `{type, timestamp, data}`; the same bytes in every attempt."""
    happened = event.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return as_json({"type": event.type, "timestamp": happened, "data": event.data})


def signed_headers(event: Event, body: bytes) -> dict[str, str]:
    """The headers of one attempt, made now."""
    message_id, now = f"evt_{event.pk.hex}", timezone.now()
    return {
        "content-type": "application/json",
        "user-agent": "transcription-webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(event.project.webhook_secret).sign(message_id, now, body.decode()),
    }


@cache
def _client() -> httpx.Client:
    return guarded_client(allow_private=settings.WEBHOOK_ALLOW_PRIVATE)
