"""Regions: where work may be done, how each does, and the switch that takes it out of service."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest

from jobs.admin.history import SeenByStaff
from jobs.admin.look import Password, display
from jobs.admin.options_form import LinesField
from jobs.audit import audited, record
from jobs.backlog import in_line
from jobs.models import TranscriptionJob
from jobs.models.audit import Action
from routing import limits
from routing.choice import Capability, Provider
from routing.coordination import State
from routing.health import Report, obstacle, report_of
from routing.limits import Kind
from routing.models import RegionRow
from routing.regions import Region, all_regions

SECRETS = ("api_key", "broker_url")
SAID = {
    Provider.OK: "answers",
    Provider.SLOW: "answers slowly",
    Provider.FLAPPING: "comes and goes",
    Provider.ERRING: "fails",
    Provider.REFUSING: "refuses our key",
    Provider.LEFT_ALONE: "left alone for a while",
    Provider.UNKNOWN: "unknown",
}
# Of breakers, where there is something to say.
BREAKERS = {
    State.OPEN: "Breaker of {} open: nothing is called for a while",
    State.HALF_OPEN: "Breaker of {} half-open: one call at a time is let through",
}
CONDITIONS = {"all": "success", "some": "warning", "nothing": "danger"}


def condition(row: Region | RegionRow) -> str:
    """What a region can do now: "all", "some" or "nothing"."""
    health = report_of(row.name).health
    able = [capability for capability in Capability if row.enabled and not health.obstacle(capability)]
    return "all" if len(able) == len(Capability) else "some" if able else "nothing"


def obstacle_in_words(region: str, capability: Capability) -> str:
    """Why it can't do this, and since when; empty if it can."""
    why = obstacle(region, capability)
    since = report_of(region).since.get(capability)
    return f"{why}, since {since:%Y-%m-%d %H:%M:%S} UTC" if why and since else why


def provider_in_words(report: Report) -> str:
    told = " / ".join(dict.fromkeys((SAID[report.health.recordings], SAID[report.health.live])))
    if report.probed is None:
        return told
    return f"{told}, {report.probed.error or f'{report.probed.seconds * 1000:.0f} ms'}"


def workers_in_words(report: Report) -> str:
    if report.health.slots is None:
        return "unknown"
    return f"{report.workers} with {report.health.slots} slots" if report.workers else "all gone"


def breakers_in_words(report: Report) -> list[str]:
    """Of those that are not closed."""
    of = zip(("recordings", "live audio"), report.breakers, strict=True)
    return [BREAKERS[state].format(name) for name, state in of if state in BREAKERS]


def limits_in_words(region: Region) -> list[str]:
    """What its provider has to do for us, of what it takes at once: "recordings 3 of 10".

    What has no limit is not counted.
    """
    in_use = limits.in_use(region)
    rooms = {kind: limits.room(region, kind) for kind in Kind}
    return [
        f"{kind}: no limit" if room is None else f"{kind} {in_use[kind]} of {room}"
        for kind, room in rooms.items()
    ]


class SecretField(forms.CharField):
    """Written and never shown. Left empty, what is kept stays."""

    def __init__(self, **kwargs: Any) -> None:
        unseen = Password(attrs={"autocomplete": "new-password"})
        super().__init__(required=False, widget=unseen, **kwargs)


class RegionForm(forms.ModelForm):  # type: ignore[type-arg]
    residency = LinesField(
        required=False, help_text="Labels, one a line, by which projects may name it: eu, gdpr."
    )
    api_key = SecretField(label="API key", help_text="Never shown. Empty: what is kept, or DEEPGRAM_API_KEY.")
    broker_url = SecretField(
        label="Broker URL", help_text="redis://host:6379/0, never shown. Empty: what is kept, or REDIS_URL."
    )

    class Meta:
        model = RegionRow
        fields = (
            "name",
            "enabled",
            "base_url",
            "live_url",
            "api_key",
            "queue",
            "broker_url",
            "weight",
            "residency",
            "profile",
            "concurrency",
            "max_attempts",
            "max_recordings",
            "max_live",
            "max_calls",
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in SECRETS:
            if not cleaned.get(name) and not self.instance._state.adding:
                # As it is in the database, opened or not.
                cleaned[name] = self.instance.__dict__[name]
        return cleaned


@admin.register(RegionRow)
class RegionAdmin(SeenByStaff):
    form = RegionForm
    list_display = (
        "name",
        "switch",
        "condition",
        "provider",
        "workers",
        "broker",
        "weight",
        "labels",
        "queued",
    )
    when_empty = "There are no regions yet. The first use of REGIONS or DEEPGRAM_BASE_URL makes them."
    fieldsets = (
        (None, {"fields": ("name", "enabled", "weight", "residency")}),
        ("Provider", {"fields": ("base_url", "live_url", "api_key")}),
        ("Workers", {"fields": ("queue", "broker_url", "profile", "concurrency", "max_attempts")}),
        ("Limits", {"fields": ("max_recordings", "max_live", "max_calls")}),
    )
    health = (
        "can_recordings",
        "can_queue",
        "can_live",
        "provider",
        "workers",
        "broker",
        "in_use",
        "changed_at",
    )

    def get_fieldsets(self, request: HttpRequest, obj: RegionRow | None = None) -> Any:
        return (("Health", {"fields": self.health}), *self.fieldsets) if obj else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: RegionRow | None = None) -> Any:
        # Jobs, sessions and receipts carry its name, and jobs its queue.
        return (*self.health, "name", "queue") if obj else ()

    @display(description="", label={"on": "success", "off": "danger"})
    def switch(self, row: RegionRow) -> str:
        return "on" if row.enabled else "off"

    @display(description="can do", label=CONDITIONS)
    def condition(self, row: RegionRow) -> str:
        return condition(row)

    @display(description="provider")
    def provider(self, row: RegionRow) -> str:
        report = report_of(row.name)
        return ". ".join([provider_in_words(report), *breakers_in_words(report)])

    @display(description="workers")
    def workers(self, row: RegionRow) -> str:
        return workers_in_words(report_of(row.name))

    @display(description="broker")
    def broker(self, row: RegionRow) -> str:
        return report_of(row.name).health.broker.replace("_", " ")

    @display(description="in use at once")
    def in_use(self, row: RegionRow) -> str:
        region = all_regions().get(row.name)
        return ", ".join(limits_in_words(region)) if region else ""

    @display(description="for recordings")
    def can_recordings(self, row: RegionRow) -> str:
        return self._told(row, Capability.SYNC)

    @display(description="by its workers")
    def can_queue(self, row: RegionRow) -> str:
        return self._told(row, Capability.ASYNC)

    @display(description="for live audio")
    def can_live(self, row: RegionRow) -> str:
        return self._told(row, Capability.LIVE)

    def _told(self, row: RegionRow, capability: Capability) -> str:
        return obstacle_in_words(row.name, capability) or "able"

    @display(description="residency")
    def labels(self, row: RegionRow) -> str:
        return ", ".join(row.residency) or "—"

    @display(description="jobs in line")
    def queued(self, row: RegionRow) -> int:
        return in_line(row.queue)

    def save_model(self, request: HttpRequest, obj: RegionRow, form: Any, change: bool) -> None:
        action = Action.REGION_CHANGED if change else Action.REGION_ADDED
        with audited(action, request, obj, changed=sorted(form.changed_data)):
            super().save_model(request, obj, form, change)
        all_regions.cache_clear()

    def has_delete_permission(self, request: HttpRequest, obj: RegionRow | None = None) -> bool:
        """Not while jobs of it are open: nobody would run them."""
        if obj is not None and TranscriptionJob.objects.open().filter(region=obj.name).exists():
            return False
        return super().has_delete_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: RegionRow) -> None:
        with transaction.atomic():
            # First: what is removed has no name any more.
            record(Action.REGION_REMOVED, request, obj)
            super().delete_model(request, obj)
        all_regions.cache_clear()

    def get_actions(self, request: HttpRequest) -> Any:
        """One by one only: each is asked whether it has open jobs."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions
