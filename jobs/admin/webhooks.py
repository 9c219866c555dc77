"""Deliveries: what receivers were told, attempt by attempt."""

from __future__ import annotations

import json
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from jobs.admin.history import HistoryAdmin, HistoryInline
from jobs.admin.look import action, display
from jobs.admin.wording import span, title
from jobs.audit import audited
from jobs.models import Delivery, DeliveryAttempt
from jobs.models.audit import Action
from jobs.webhooks import endpoints, wire
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
    list_tabs = "status"
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
    change_form_outer_before_template = "admin/jobs/_delivery_buttons.html"
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

    @display(description="request")
    def sent(self, delivery: Delivery) -> str:
        request = wire.described(delivery)
        body = json.dumps(json.loads(request.body), indent=2, ensure_ascii=False)
        lines = [
            f"{request.method} {delivery.shown_url}",
            *(f"{name}: {text}" for name, text in request.headers),
        ]
        return format_html('<pre class="job-pre">{}\n\n{}</pre>', "\n".join(lines), body)

    @action(description="Deliver again")
    def replay_selected(self, request: HttpRequest, deliveries: QuerySet[Delivery]) -> None:
        replayed, refused = 0, []
        for delivery in deliveries.select_related("endpoint", "event")[:REPLAYED_AT_ONCE]:
            try:
                self._replay(request, delivery)
            except NotReplayed as error:
                refused.append(error.message)
            else:
                replayed += 1
        if replayed:
            messages.success(request, f"On their way again: {replayed}.")
        for message in sorted(set(refused)):
            messages.warning(request, f"{refused.count(message)} not: {message}")

    def get_urls(self) -> list[URLPattern]:
        again = self.admin_site.admin_view(self._again)
        return [path("<uuid:pk>/replay/", again, name="jobs_delivery_replay"), *super().get_urls()]

    def _again(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        delivery = get_object_or_404(Delivery.objects.select_related("endpoint", "event"), pk=pk)
        try:
            self._replay(request, delivery)
        except NotReplayed as refusal:
            messages.warning(request, refusal.message)
        else:
            messages.success(request, "It is on its way again.")
        return HttpResponseRedirect(reverse("admin:jobs_delivery_change", args=(pk,)))

    def _replay(self, request: HttpRequest, delivery: Delivery) -> None:
        """NotReplayed if that cannot be."""
        with audited(Action.WEBHOOK_REPLAYED, request, delivery):
            endpoints.replay(delivery)
