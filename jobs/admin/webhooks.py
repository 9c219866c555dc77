"""Deliveries: what receivers were told, attempt by attempt."""

from __future__ import annotations

import json

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from jobs.admin.history import HistoryAdmin, HistoryInline
from jobs.admin.look import action, display
from jobs.admin.wording import span, title
from jobs.models import Delivery, DeliveryAttempt
from jobs.webhooks import endpoints
from jobs.webhooks.endpoints import NotReplayed

REPLAYED_AT_ONCE = 1000


class AttemptsOfDelivery(HistoryInline):
    model = DeliveryAttempt
    fields = readonly_fields = (
        "number",
        "started_at",
        "took",
        "status_code",
        "error",
        "address",
        "response",
    )
    verbose_name_plural = "attempts"

    @display(description="took")
    def took(self, attempt: DeliveryAttempt) -> str:
        return span(attempt.duration)


@admin.register(Delivery)
class DeliveryAdmin(HistoryAdmin):
    list_display = ("labelled_status", "type", "job", "address", "attempts", "run_at", "delivered_at")
    list_display_links = ("type",)
    when_empty = "No webhook was due yet: there is one when a job ends that has a callback or a subscriber."
    list_filter = ("status", "event__type", "event__project")
    list_select_related = ("event__job__recording", "endpoint")
    actions = ("replay_selected",)
    search_fields = ("url",)
    search_help_text = "Address"
    sortable_by = ()
    ordering = ("-id",)
    fields = (
        ("labelled_status", "type"),
        ("job", "address"),
        ("attempts", "run_at"),
        "delivered_at",
        "sent",
    )
    inlines = (AttemptsOfDelivery,)

    @display(description="URL")
    def address(self, delivery: Delivery) -> str:
        return delivery.shown_url

    @display(description="status", label={"pending": "info", "delivered": "success", "failed": "danger"})
    def labelled_status(self, delivery: Delivery) -> str:
        return delivery.status

    @display(description="event")
    def type(self, delivery: Delivery) -> str:
        return delivery.event.type

    @display(description="job")
    def job(self, delivery: Delivery) -> str:
        job = delivery.event.job
        if job is None:
            return ""
        return format_html(
            '<a class="job-link" href="{}">{}</a>',
            reverse("admin:jobs_transcriptionjob_change", args=(job.pk,)),
            title(job),
        )

    @display(description="what is sent (data)")
    def sent(self, delivery: Delivery) -> str:
        return format_html('<pre class="job-pre">{}</pre>', json.dumps(delivery.event.data, indent=2))

    @action(description="Deliver again")
    def replay_selected(self, request: HttpRequest, deliveries: QuerySet[Delivery]) -> None:
        replayed, refused = 0, []
        for delivery in deliveries.select_related("endpoint")[:REPLAYED_AT_ONCE]:
            try:
                endpoints.replay(delivery)
            except NotReplayed as error:
                refused.append(error.message)
            else:
                replayed += 1
        if replayed:
            messages.success(request, f"On their way again: {replayed}.")
        for message in sorted(set(refused)):
            messages.warning(request, f"{refused.count(message)} not: {message}")
