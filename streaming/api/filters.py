"""By what the list of live sessions may be narrowed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django_filters import rest_framework as filters

from jobs.api.filters import InstantFilter, Narrowing
from streaming.models import EndReason, LiveSession, LiveSessionQuerySet, State


class StreamFilter(Narrowing):
    state = filters.MultipleChoiceFilter(choices=State.choices, help_text="May be repeated.")
    reason = filters.MultipleChoiceFilter(
        choices=[(value, value) for value in EndReason.values], help_text="How it ended. May be repeated."
    )
    tag = filters.CharFilter(method="with_tag")
    key = filters.UUIDFilter(field_name="key_id", help_text="The id of the key that opened it.")
    created_by = filters.CharFilter(
        field_name="created_by__username", help_text="The username of who opened it."
    )
    created_after = InstantFilter(method="made_after")
    created_before = InstantFilter(method="made_before")

    class Meta:
        model = LiveSession
        fields: tuple[str, ...] = ()

    def with_tag(self, streams: LiveSessionQuerySet, name: str, value: str) -> Any:
        return streams.tagged(value)

    def made_after(self, streams: LiveSessionQuerySet, name: str, value: datetime) -> Any:
        return streams.made_after(value)

    def made_before(self, streams: LiveSessionQuerySet, name: str, value: datetime) -> Any:
        return streams.made_before(value)
