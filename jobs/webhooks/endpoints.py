"""What is done with webhook endpoints: added, given up, told what they missed, deleted, forgotten.

Sending one a test is the deliverer's (jobs.webhooks.deliverer).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from smtplib import SMTPException
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from jobs.audit import record
from jobs.ids import first_id
from jobs.models import (
    Delivery,
    DeliveryStatus,
    DisabledReason,
    Event,
    Project,
    WebhookEndpoint,
)
from jobs.models.audit import Action
from jobs.models.delivery import receiver_of
from jobs.models.endpoint import GIVEN_UP
from jobs.queues import WEBHOOK_QUEUE
from jobs.refusal import Refusal
from jobs.running.wakeups import wake

logger = logging.getLogger(__name__)

# Of a project.
MOST_ENDPOINTS = 50
# To be replayed at once.
TOO_MANY = 10_001
# Longer than anybody takes from reading an endpoint to writing a delivery to it.
DELETED_FOR = timedelta(hours=1)
AT_A_TIME = 500


class TooManyEndpoints(Refusal):
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "too_many_endpoints", f"A project has {MOST_ENDPOINTS} endpoints at most: delete one first."
        )


class NotReplayed(Refusal):
    """`code` is stable (endpoint_disabled, range_too_large, under_way), the message says what to do."""

    status = 409


def add(endpoint: WebhookEndpoint, *, enabled: bool = True) -> None:
    """Save a new one; TooManyEndpoints, and nothing saved, if its project has as many as it may."""
    with transaction.atomic():
        # Two that count at once would both find room.
        Project.objects.select_for_update(no_key=True).get(pk=endpoint.project_id)
        if WebhookEndpoint.objects.existing().filter(project=endpoint.project_id).count() >= MOST_ENDPOINTS:
            raise TooManyEndpoints
        endpoint.save(force_insert=True)
        if not enabled:
            endpoint.disable(DisabledReason.BY_HAND)


def disable(endpoint: WebhookEndpoint, reason: DisabledReason) -> None:
    """Tell the endpoint nothing more. What is on its way fails, to be replayed once it is enabled again.

    If it was not people who decided, the operators of its project are told.
    """
    with transaction.atomic():
        if not endpoint.disable(reason):
            return
        endpoint.deliveries.waiting().update(status=DeliveryStatus.FAILED)
        if reason in GIVEN_UP:
            record(Action.WEBHOOK_DISABLED, about=endpoint, reason=reason)
            transaction.on_commit(partial(_tell_operators, endpoint))


def change(endpoint: WebhookEndpoint, fields: dict[str, Any]) -> None:
    """Change its fields, with `is_enabled` among them; a new address holds for what is on its way too."""
    enabled = fields.pop("is_enabled", None)
    with transaction.atomic():
        if "url" in fields:
            # Also what is attempted just now, which is tried again. Before the endpoint, as they are settled.
            pending = endpoint.deliveries.pending()
            pending.locked()
            pending.update(url=fields["url"], receiver=receiver_of(fields["url"]))
        for name, value in fields.items():
            setattr(endpoint, name, value)
        endpoint.save(update_fields=list(fields))
        if enabled:
            endpoint.enable()
        elif enabled is not None:
            disable(endpoint, DisabledReason.BY_HAND)


def replay(delivery: Delivery) -> None:
    """Deliver it again, whatever has come of it; NotReplayed if that cannot be."""
    if delivery.endpoint is not None:
        _require_enabled(delivery.endpoint)
    if not Delivery.objects.filter(pk=delivery.pk).replay():
        raise NotReplayed("under_way", "It is being delivered just now: look again in a moment.")
    transaction.on_commit(partial(wake, WEBHOOK_QUEUE))


def replay_range(
    endpoint: WebhookEndpoint, after: datetime, before: datetime, *, failed_only: bool = True
) -> int:
    """Deliver the events of that time again: how many they are.

    Those that the endpoint hears of, also if it was disabled or did not exist at the time; of those that were
    delivered to it none, unless `failed_only` is false. NotReplayed, and nothing done, for more than 10,000
    and for an endpoint that is disabled.
    """
    with transaction.atomic():
        # Nobody disables it meanwhile.
        endpoint = WebhookEndpoint.objects.select_for_update().get(pk=endpoint.pk)
        _require_enabled(endpoint)
        events = endpoint.heard().filter(id__gte=first_id(after), id__lt=first_id(before))
        missed = list(events.exclude(deliveries__endpoint=endpoint).values_list("pk", flat=True)[:TOO_MANY])
        again = endpoint.deliveries.filter(event__in=events).exclude(status=DeliveryStatus.PENDING)
        if failed_only:
            again = again.filter(status=DeliveryStatus.FAILED)
        if len(missed) + again[:TOO_MANY].count() >= TOO_MANY:
            limit = f"More than {TOO_MANY - 1} events at a time are not replayed: ask for a shorter time."
            raise NotReplayed("range_too_large", limit)
        replayed = again.replay()
        receiver = receiver_of(endpoint.url)
        Delivery.objects.bulk_create(
            (Delivery(event_id=pk, endpoint=endpoint, url=endpoint.url, receiver=receiver) for pk in missed),
            batch_size=AT_A_TIME,
        )
        transaction.on_commit(partial(wake, WEBHOOK_QUEUE))
    return len(missed) + replayed


def forget() -> None:
    """Remove what the log has of longer ago than WEBHOOK_LOG_DAYS, and deleted endpoints: some at a time."""
    old = first_id(timezone.now() - timedelta(days=settings.WEBHOOK_LOG_DAYS))
    deleted = WebhookEndpoint.objects.filter(
        disabled_reason=DisabledReason.DELETED, disabled_at__lt=Now() - DELETED_FOR
    )
    ended = Delivery.objects.filter(pk__lt=old).exclude(status=DeliveryStatus.PENDING)
    for deliveries in (ended, Delivery.objects.filter(endpoint__in=deleted)):
        pks = list(deliveries.order_by("pk").values_list("pk", flat=True)[:AT_A_TIME])
        Delivery.objects.filter(pk__in=pks).delete()
    deleted.filter(deliveries=None).delete()
    # A job's events stay with it.
    Event.objects.filter(pk__lt=old, job=None, deliveries=None).delete()


def _require_enabled(endpoint: WebhookEndpoint) -> None:
    if not endpoint.is_enabled:
        raise NotReplayed("endpoint_disabled", "The endpoint is disabled: enable it first.")


def _tell_operators(endpoint: WebhookEndpoint) -> None:
    """A line in the log, and a mail where Django's e-mail is set up. Nobody waits for the mail server."""
    why = DisabledReason(endpoint.disabled_reason).label
    logger.warning(
        "Webhook endpoint %s of project %s is disabled: %s.", endpoint.pk, endpoint.project_id, why
    )
    told = sorted(endpoint.project.operator_addresses())
    if told:
        threading.Thread(target=_mail, args=(endpoint, why, told), name="mail", daemon=True).start()


def _mail(endpoint: WebhookEndpoint, why: str, told: Sequence[str]) -> None:
    # Without the path of its address, which may be a secret.
    host = urlsplit(endpoint.url).hostname
    page = f"{settings.PUBLIC_URL}/admin/jobs/webhookendpoint/{endpoint.pk}/change/"
    text = (
        f"{endpoint.description or 'The webhook endpoint'} at {host}, of {endpoint.project}, {why} and is"
        f" told nothing any more. Once it works again, enable it and replay what it missed:\n{page}\n"
    )
    try:
        send_mail(f"Webhook endpoint at {host} is disabled", text, None, told)
    except (OSError, SMTPException) as error:
        logger.warning("No mail about endpoint %s could be sent: %s", endpoint.pk, error)
