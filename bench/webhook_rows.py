"""The deliveries of bench.webhooks: `webhook_rows COUNT URL…` makes them, for each URL in turn."""

from __future__ import annotations

import sys

import django

django.setup()

from django.db import transaction  # noqa: E402

from jobs.models import Delivery, Event, EventType, Project, WebhookEndpoint  # noqa: E402
from jobs.models.delivery import receiver_of  # noqa: E402

DATA = {"id": "01a1fe1f-44f8-701f-8198-1f8b08b1015d", "status": "completed", "metadata": {"note": "x" * 300}}


def make(count: int, urls: list[str]) -> None:
    project = Project.objects.create(name="bench")
    endpoints = [WebhookEndpoint.objects.create(project=project, url=url) for url in urls]
    events = [Event(project=project, type=EventType.JOB_COMPLETED, data=DATA) for _ in range(count)]
    deliveries = [
        Delivery(event=event, endpoint=endpoint, url=endpoint.url, receiver=receiver_of(endpoint.url))
        for number, event in enumerate(events)
        for endpoint in [endpoints[number % len(endpoints)]]
    ]
    with transaction.atomic():
        Event.objects.bulk_create(events, batch_size=1000)
        Delivery.objects.bulk_create(deliveries, batch_size=1000)


if __name__ == "__main__":
    make(int(sys.argv[1]), sys.argv[2:])
