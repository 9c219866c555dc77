"""Webhook endpoints: how they do, and what people do with them."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from jobs.admin.look import Checkboxes, action, display
from jobs.admin.secrets import SigningAdmin
from jobs.admin.urls import CallableURLField
from jobs.admin.wording import span
from jobs.audit import audited
from jobs.models import DisabledReason, WebhookEndpoint
from jobs.models.audit import Action
from jobs.models.endpoint import SUBSCRIBABLE, EndpointQuerySet
from jobs.webhooks import endpoints
from jobs.webhooks.deliverer import deliver_test

# A test waits for its receiver, and people for its outcome.
TESTED_AT_ONCE = 3


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]
    url = CallableURLField(label="URL", private="WEBHOOK_ALLOW_PRIVATE")
    event_types = forms.MultipleChoiceField(
        choices=SUBSCRIBABLE, required=False, widget=Checkboxes, help_text="None ticked means all."
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("project", "url", "description", "event_types")


@admin.register(WebhookEndpoint)
class EndpointAdmin(SigningAdmin):
    form = EndpointForm
    signs = "to this endpoint"
    list_display = ("state", "name", "project", "hears_of", "failing_since", "created_at")
    list_display_links = ("name",)
    when_empty = "There are no endpoints yet: one is told of all that happens in its project."
    list_filter = ("project", "disabled_reason")
    list_select_related = ("project",)
    search_fields = ("url", "description")
    autocomplete_fields = ("project",)
    readonly_fields = ("state", "failing_since", "failures", "log_link", "secret_link", "created_at")
    actions = ("test_selected", "enable_selected", "disable_selected")

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        return cast(EndpointQuerySet, super().get_queryset(request)).existing()

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        asked_for = ("project", "url", "description", "event_types")
        return (*asked_for, *self.readonly_fields) if obj else asked_for

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        return (*self.readonly_fields, "project") if obj else ()

    @display(
        description="state",
        label={"enabled": "success", "failing": "warning", **dict.fromkeys(DisabledReason.labels, "danger")},
    )
    def state(self, endpoint: WebhookEndpoint) -> str:
        if not endpoint.is_enabled:
            return str(DisabledReason(endpoint.disabled_reason).label)
        return "failing" if endpoint.failing_since else "enabled"

    @display(description="endpoint")
    def name(self, endpoint: WebhookEndpoint) -> str:
        return str(endpoint)

    @display(description="is told of")
    def hears_of(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.event_types) or "everything"

    @display(description="log")
    def log_link(self, endpoint: WebhookEndpoint) -> str:
        log = reverse("admin:jobs_delivery_changelist")
        return format_html('<a class="job-link" href="{}?endpoint={}">Deliveries</a>', log, endpoint.pk)

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        changed = sorted(form.changed_data)
        if not change:
            with audited(Action.WEBHOOK_ADDED, request, obj):
                endpoints.add(obj)
        elif changed:
            with audited(Action.WEBHOOK_CHANGED, request, obj, changed=changed):
                endpoints.change(obj, {name: form.cleaned_data[name] for name in changed})

    def delete_model(self, request: HttpRequest, obj: WebhookEndpoint) -> None:
        with audited(Action.WEBHOOK_DELETED, request, obj):
            endpoints.disable(obj, DisabledReason.DELETED)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            self.delete_model(request, endpoint)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        along = "With each goes the log of its deliveries."
        return [*map(str, objs), along], {"webhook endpoints": len(objs)}, set(), []

    @action(description="Send a test", permissions=["change"])
    def test_selected(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in chosen[:TESTED_AT_ONCE]:
            attempt = deliver_test(endpoint).log.get()
            answer = f"answered {attempt.status_code}" if attempt.status_code else attempt.error
            told = messages.success if attempt.took_it else messages.warning
            told(request, f"{endpoint}: {answer}, {span(attempt.duration)}")
        if chosen.count() > TESTED_AT_ONCE:
            messages.warning(request, f"Only {TESTED_AT_ONCE} are tested at once; choose the rest again.")

    @action(description="Enable", permissions=["change"])
    def enable_selected(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        self._switch(request, chosen, enabled=True)

    @action(description="Disable", permissions=["change"])
    def disable_selected(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        self._switch(request, chosen, enabled=False)

    def _switch(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint], *, enabled: bool) -> None:
        done = "enabled" if enabled else "disabled"
        switched = [endpoint for endpoint in chosen if endpoint.is_enabled != enabled]
        for endpoint in switched:
            with audited(Action.WEBHOOK_CHANGED, request, endpoint, changed=["enabled"]):
                endpoints.change(endpoint, {"is_enabled": enabled})
            self.log_change(request, endpoint, f"{done.capitalize()}.")
        messages.success(request, f"{done.capitalize()}: {len(switched)}.")
