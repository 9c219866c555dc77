"""Telling receivers: at least once, for 75 hours, and each at its own pace.

1. An event and its deliveries are written with what they tell of, so none is forgotten. A delivery is
   attempted under a lease; whoever dies in it leaves it to another, with the same id. Short waits and long
   ones are the row's `run_at`; a Celery message only says "look".
2. There are WEBHOOK_CONCURRENCY slots. In each goes a run of deliveries to the same receiver (scheme, host
   and port), claimed together and attempted one after the other. A receiver has two runs under way at most,
   in whichever processes.
3. A receiver that hangs must not hold up others. An attempt that lasts gives its slot to others and goes on
   beside them; a run ends with the first failure; and to a receiver in trouble, whose last attempt failed or
   took long, goes one delivery at a time until one has worked. So it costs the others a second at most.
4. A receiver that says it is overloaded (429, 502, 504) is left alone for a while.
5. What came of attempts is written down together, many times a second: what a crash makes us send again is
   the little that was not.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Signal
from time import monotonic
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from jobs import metrics
from jobs.database_clock import seconds_from_now
from jobs.models import Delivery, DeliveryAttempt, DisabledReason, Event, EventType, WebhookEndpoint
from jobs.models.delivery import receiver_of
from jobs.webhooks import endpoints
from jobs.webhooks.wire import Outcome, post

# Seconds after each failed attempt; ten attempts over 75.6 hours, as the specification's example has them.
SCHEDULE = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
JITTER = 0.2

# A run and the attempt that it ends with (webhooks.ATTEMPT_SECONDS) fit into the lease.
RUN_LENGTH = 50
RUN_SECONDS = 5.0
LEASE_SECONDS = 30.0
# Of one attempt: after it, the slot is another's, and after more the receiver is in trouble.
SLOW_SECONDS, TROUBLE_SECONDS = 1.0, 5.0
# How many of these may go on beside, for each slot: threads that wait for a socket.
SLOW_PER_SLOT = 5

OVERLOADED = (429, 502, 504)
REST_SECONDS = 10.0
# What one address of a host asks for is no reason to forget about all others there.
MOST_REST_SECONDS = 60.0
TROUBLED_REMEMBERED = 10_000

# While attempts are under way: what is due meanwhile, a retry for example, waits no longer.
LOOK_SECONDS = 1.0
GATHER_SECONDS = 0.02
CLAIM_EVERY_SECONDS = 0.1


class Receivers:
    """What this process has seen of receivers; another learns it for itself. Used by several threads."""

    def __init__(self) -> None:
        self._troubled: dict[str, None] = {}
        self._resting_until: dict[str, float] = {}

    @property
    def troubled(self) -> set[str]:
        """Those whose last attempt failed or took long."""
        return set(self._troubled.copy())

    @property
    def resting(self) -> set[str]:
        """Those to be left alone just now."""
        now = monotonic()
        for receiver, until in self._resting_until.copy().items():
            if until <= now:
                self._resting_until.pop(receiver, None)
        return set(self._resting_until.copy())

    def note(self, outcome: Outcome) -> bool:
        """Whether all is well with the receiver."""
        receiver = outcome.delivery.receiver
        if outcome.log.status_code in OVERLOADED:
            rest = REST_SECONDS if outcome.retry_after is None else outcome.retry_after
            self._resting_until[receiver] = monotonic() + min(rest, MOST_REST_SECONDS)
        if outcome.took_it and outcome.log.duration < TROUBLE_SECONDS:
            self._troubled.pop(receiver, None)
            return True
        self._troubled[receiver] = None
        while len(self._troubled) > TROUBLED_REMEMBERED:
            self._troubled.pop(next(iter(self._troubled)), None)
        return False


class _Run:
    """Deliveries to one receiver, in the order in which they were due, attempted in a thread of their own."""

    def __init__(
        self, deliveries: Sequence[Delivery], receivers: Receivers, look: Signal, stop: Signal
    ) -> None:
        self._left = deque(deliveries)
        self._receivers = receivers
        self._look = look
        self._stop = stop
        self._done: deque[Outcome] = deque()
        self._begun = monotonic()
        self.has_ended = False

    @property
    def is_slow(self) -> bool:
        return monotonic() - self._begun > SLOW_SECONDS

    def drive(self) -> None:
        ends_at = monotonic() + RUN_SECONDS
        try:
            while self._left and not self._stop.is_set() and monotonic() < ends_at:
                self._begun = monotonic()
                outcome = post(self._left.popleft())
                well = self._receivers.note(outcome)
                self._done.append(outcome)
                self._look.set()
                if not well:
                    return
        finally:
            self.has_ended = True
            self._look.set()

    def take_outcomes(self) -> list[Outcome]:
        return [self._done.popleft() for _ in range(len(self._done))]

    def take_untried(self) -> list[Delivery]:
        """What is left of a run that has ended."""
        untried = list(self._left)
        self._left.clear()
        return untried


def deliver_due(
    asked: Signal | None = None, receivers: Receivers | None = None, stop: Signal | None = None
) -> None:
    """Attempt every delivery that is due until none is left or under way, or until `stop` is set.

    Whoever writes a delivery meanwhile sets `asked`, and it need not wait for those under way. `receivers`:
    what is known of them, to be kept from call to call.
    """
    look, known, stopping = asked or Signal(), receivers or Receivers(), stop or Signal()
    slots = settings.WEBHOOK_CONCURRENCY
    most = slots * (1 + SLOW_PER_SLOT)
    runs: list[_Run] = []
    claim_at, woken = 0.0, False
    with ThreadPoolExecutor(most, thread_name_prefix="deliver") as pool:
        while True:
            free = min(slots - sum(not run.is_slow for run in runs), most - len(runs))
            if free > 0 and monotonic() >= claim_at and not stopping.is_set():
                for claimed in Delivery.objects.claim(
                    free,
                    LEASE_SECONDS,
                    length=RUN_LENGTH,
                    leave=known.resting,
                    singly=known.troubled,
                ):
                    run = _Run(claimed, known, look, stopping)
                    pool.submit(run.drive)
                    runs.append(run)
                claim_at, woken = monotonic() + CLAIM_EVERY_SECONDS, False
            if not runs:
                return
            # Whoever woke us before the time to claim is not forgotten until then.
            if look.wait(max(0.0, claim_at - monotonic()) if woken else LOOK_SECONDS):
                woken = True
                # What ends within a moment is written down together.
                time.sleep(GATHER_SECONDS)
            # Before the runs are looked at: one that ends from here on wakes us again.
            look.clear()
            ended = [run for run in runs if run.has_ended]
            outcomes = [outcome for run in runs for outcome in run.take_outcomes()]
            settle(outcomes, [delivery for run in ended for delivery in run.take_untried()])
            if ended or not outcomes:
                claim_at = 0.0
            runs = [run for run in runs if run not in ended]


def deliver_test(endpoint: WebhookEndpoint) -> Delivery:
    """Send the endpoint a `test` event now, even if it is disabled: the delivery, with what came of it.

    Takes up to webhooks.ATTEMPT_SECONDS, without a database connection. One attempt only, which is not held
    against the endpoint.
    """
    with transaction.atomic():
        event = Event.objects.create(
            project=endpoint.project,
            type=EventType.TEST,
            data={"id": str(uuid4()), "endpoint": str(endpoint.pk), "message": "This is a test."},
        )
        delivery = Delivery(
            event=event,
            endpoint=endpoint,
            url=endpoint.url,
            receiver=receiver_of(endpoint.url),
            lease_token=uuid4(),
        )
        vars(delivery).update(lease_until=seconds_from_now(LEASE_SECONDS))
        delivery.save(force_insert=True)
    # As any deliverer reads it: the database has an order of its own for the fields of JSON.
    stored = Delivery.objects.select_related("event__project", "endpoint").get(pk=delivery.pk)
    connection.close()
    settle([post(stored)])
    stored.refresh_from_db()
    return stored


def settle(outcomes: Sequence[Outcome], untried: Sequence[Delivery] = ()) -> None:
    """Write down what came of these deliveries, and give back what was claimed and not attempted.

    Those whose lease is lost are logged, and attempted again; those that were deleted are forgotten.
    """
    if not outcomes and not untried:
        return
    with transaction.atomic():
        settled = [*(outcome.delivery for outcome in outcomes), *untried]
        leases = Delivery.objects.filter(pk__in=[delivery.pk for delivery in settled]).locked()
        existing = [outcome for outcome in outcomes if outcome.delivery.pk in leases]
        held = [each for each in existing if each.delivery.lease_token == leases[each.delivery.pk]]
        untouched = [each.pk for each in untried if leases.get(each.pk) == each.lease_token]
        Delivery.objects.filter(pk__in=untouched).give_back()
        given_up = _note_at_endpoints(held)
        Delivery.objects.filter(pk__in=[each.delivery.pk for each in held if each.took_it]).settle_delivered()
        for outcome in held:
            if not outcome.took_it:
                _after_refusal(outcome, outcome.delivery.endpoint_id in given_up)
        DeliveryAttempt.objects.bulk_create([outcome.log for outcome in existing])
    for outcome in existing:
        metrics.webhook_attempted(outcome.log)
    for outcome in held:
        if outcome.took_it:
            metrics.webhook_delivered(outcome.delivery)


def _note_at_endpoints(outcomes: Iterable[Outcome]) -> set[UUID | None]:
    """Note at endpoints how they do. Those that are told nothing any more."""
    at_endpoints = [
        outcome
        for outcome in outcomes
        if outcome.delivery.endpoint_id and outcome.delivery.event.type != EventType.TEST
    ]
    worked = {outcome.delivery.endpoint_id for outcome in at_endpoints if outcome.took_it}
    failed = Counter(outcome.delivery.endpoint_id for outcome in at_endpoints if not outcome.took_it)
    gone = {outcome.delivery.endpoint_id for outcome in at_endpoints if outcome.is_gone}
    if not at_endpoints:
        return set()
    concerned = WebhookEndpoint.objects.filter(
        Q(pk__in=failed.keys()) | Q(pk__in=worked, failing_since__isnull=False)
    )
    disabled: set[UUID | None] = set()
    # In order, so that nobody waits in a circle.
    for endpoint in concerned.order_by("pk").select_for_update():
        if endpoint.pk in gone:
            endpoints.disable(endpoint, DisabledReason.GONE)
        elif endpoint.pk in worked:
            endpoint.note_success()
        else:
            worn_out = endpoint.wears_out_patience
            endpoint.note_failures(failed[endpoint.pk])
            if worn_out:
                endpoints.disable(endpoint, DisabledReason.FAILING)
        if not endpoint.is_enabled:
            disabled.add(endpoint.pk)
    return disabled


def _after_refusal(outcome: Outcome, is_disabled: bool) -> None:
    delivery = outcome.delivery
    tries = delivery.tries + 1
    is_test = delivery.event.type == EventType.TEST
    if outcome.is_gone or is_disabled or is_test or tries > len(SCHEDULE):
        delivery.give_up()
        transaction.on_commit(metrics.webhook_given_up)
    else:
        pause = SCHEDULE[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 (spreads load)
        delivery.retry_in(max(pause, outcome.retry_after or 0.0))
