"""Webhook endpoints: how they do, and what people do with them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from jobs.admin.look import Checkboxes, Moment, Switch, action, display
from jobs.admin.secrets import SigningAdmin
from jobs.admin.urls import CallableURLField
from jobs.admin.wording import span
from jobs.audit import audited, record
from jobs.ids import first_id
from jobs.models import DeliveryStatus, DisabledReason, WebhookEndpoint
from jobs.models.audit import Action
from jobs.models.endpoint import SUBSCRIBABLE, EndpointQuerySet
from jobs.webhooks import endpoints
from jobs.webhooks.deliverer import deliver_test
from jobs.webhooks.endpoints import NotReplayed

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


class ReplayForm(forms.Form):
    """Which events an endpoint is told of again. Times are UTC."""

    since = forms.DateTimeField(widget=Moment, label="Since")
    until = forms.DateTimeField(widget=Moment, label="Until")
    everything = forms.BooleanField(
        required=False, widget=Switch, help_text="Also those that it took. Else what it missed or refused."
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if "since" in given and "until" in given and given["since"] >= given["until"]:
            self.add_error("until", "Name a time after the first.")
        return given


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
    readonly_fields = (
        "state",
        "health",
        "failing_since",
        "failures",
        "log_link",
        "secret_link",
        "created_at",
    )
    actions = ("test_selected", "enable_selected", "disable_selected")
    change_form_outer_before_template = "admin/jobs/_endpoint_buttons.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        return cast(EndpointQuerySet, super().get_queryset(request)).existing()

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        asked_for = ("project", "url", "description", "event_types")
        if obj is None:
            return asked_for
        of_failing = () if obj.failing_since else ("failing_since", "failures")
        return (*asked_for, *(name for name in self.readonly_fields if name not in of_failing))

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

    @display(description="last 24 hours")
    def health(self, endpoint: WebhookEndpoint) -> str:
        """Of the events of the last day; of a new endpoint nothing."""
        today = endpoint.deliveries.filter(id__gte=first_id(timezone.now() - timedelta(days=1)))
        counted = today.aggregate(
            all=Count("id"),
            delivered=Count("id", filter=Q(status=DeliveryStatus.DELIVERED)),
            failed=Count("id", filter=Q(status=DeliveryStatus.FAILED)),
        )
        if not counted["all"]:
            return "Nothing was to be told."
        on_the_way = counted["all"] - counted["delivered"] - counted["failed"]
        told = f"{counted['delivered']} of {counted['all']} delivered"
        return f"{told}, {counted['failed']} failed, {on_the_way} on the way."

    @display(description="log")
    def log_link(self, endpoint: WebhookEndpoint) -> str:
        log = reverse("admin:jobs_delivery_changelist")
        return format_html('<a class="job-link" href="{}?endpoint={}">Deliveries</a>', log, endpoint.pk)

    def get_urls(self) -> list[URLPattern]:
        own = {"replay": self._replay, "test": self._test, "switch": self._switch_one}
        return [
            path(f"<uuid:pk>/{name}/", self.admin_site.admin_view(view), name=f"jobs_webhookendpoint_{name}")
            for name, view in own.items()
        ] + super().get_urls()

    def _replay(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Tell the endpoint again of what happened in a stretch of time."""
        endpoint = self._changeable(request, pk)
        now = timezone.now().replace(second=0, microsecond=0)
        asked = {"since": now - timedelta(days=1), "until": now + timedelta(minutes=1)}
        form = ReplayForm(request.POST or None, initial=asked)
        if form.is_valid():
            since, until = form.cleaned_data["since"], form.cleaned_data["until"]
            try:
                only_failed = not form.cleaned_data["everything"]
                with transaction.atomic():
                    count = endpoints.replay_range(endpoint, since, until, failed_only=only_failed)
                    details = {"since": since.isoformat(), "until": until.isoformat(), "count": count}
                    record(Action.WEBHOOK_REPLAYED, request, endpoint, **details)
            except NotReplayed as refusal:
                form.add_error(None, refusal.message)
            else:
                messages.success(request, f"On their way again: {count}.")
                return self._page_of(endpoint)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Replay to {endpoint}",
            "opts": self.opts,
            "endpoint": endpoint,
            "form": form,
        }
        return TemplateResponse(request, "admin/jobs/replay.html", context)

    def _test(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        endpoint = self._changeable(request, pk)
        self._send_test(request, endpoint)
        return self._page_of(endpoint)

    def _switch_one(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        endpoint = self._changeable(request, pk)
        self._switch(request, [endpoint], enabled=bool(request.POST.get("enable")))
        return self._page_of(endpoint)

    def _changeable(self, request: HttpRequest, pk: UUID) -> WebhookEndpoint:
        endpoint = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_change_permission(request, endpoint):
            raise PermissionDenied
        return endpoint

    def _page_of(self, endpoint: WebhookEndpoint) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:jobs_webhookendpoint_change", args=(endpoint.pk,)))

    def _send_test(self, request: HttpRequest, endpoint: WebhookEndpoint) -> None:
        attempt = deliver_test(endpoint).log.get()
        record(Action.WEBHOOK_TESTED, request, endpoint, status_code=attempt.status_code)
        answer = f"answered {attempt.status_code}" if attempt.status_code else attempt.error
        told = messages.success if attempt.took_it else messages.warning
        told(request, f"{endpoint}: {answer}, {span(attempt.duration)}")

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
            self._send_test(request, endpoint)
        if chosen.count() > TESTED_AT_ONCE:
            messages.warning(request, f"Only {TESTED_AT_ONCE} are tested at once; choose the rest again.")

    @action(description="Enable", permissions=["change"])
    def enable_selected(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        self._switch(request, chosen, enabled=True)

    @action(description="Disable", permissions=["change"])
    def disable_selected(self, request: HttpRequest, chosen: QuerySet[WebhookEndpoint]) -> None:
        self._switch(request, chosen, enabled=False)

    def _switch(self, request: HttpRequest, chosen: Iterable[WebhookEndpoint], *, enabled: bool) -> None:
        done = "enabled" if enabled else "disabled"
        switched = [endpoint for endpoint in chosen if endpoint.is_enabled != enabled]
        for endpoint in switched:
            with audited(Action.WEBHOOK_CHANGED, request, endpoint, changed=["enabled"]):
                endpoints.change(endpoint, {"is_enabled": enabled})
            self.log_change(request, endpoint, f"{done.capitalize()}.")
        messages.success(request, f"{done.capitalize()}: {len(switched)}.")
