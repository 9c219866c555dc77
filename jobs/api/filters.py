"""By what lists may be narrowed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar

from django import forms
from django.core.validators import RegexValidator
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField
from rest_framework.exceptions import ValidationError

from jobs.api.known import name_choices, nearest
from jobs.models import (
    AuditEntry,
    Delivery,
    DeliveryStatus,
    EventType,
    Mode,
    Priority,
    Status,
    TranscriptionJob,
)
from jobs.models.audit import Action
from jobs.models.queue import JobQuerySet
from routing.regions import UnknownRegion, region_named


def check_parameters(asked: Iterable[str], known: Collection[str]) -> None:
    """ValidationError for those that are not known: whoever misspells one would take all for the few."""
    errors = {}
    for name in asked:
        if name not in known:
            meant = nearest(name, known)
            hint = f"did you mean {meant}?" if meant else f"known are {', '.join(sorted(known))}."
            errors[name] = f"There is no such parameter here; {hint}"
    if errors:
        raise ValidationError(errors)


class InstantField(IsoDateTimeField):  # type: ignore[misc]
    default_error_messages: ClassVar = {
        "invalid": "This must be a day or an instant (ISO 8601), such as 2026-11-21T10:33:00Z."
    }

    def to_python(self, value: Any) -> datetime | None:
        instant: datetime | None = super().to_python(value)
        try:
            # Of the first and last day that datetime knows, some offsets lead beyond.
            return instant and instant.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None


class InstantFilter(filters.IsoDateTimeFilter):  # type: ignore[misc]
    field_class = InstantField


class Narrowing(filters.FilterSet):  # type: ignore[misc]
    def get_form_class(self) -> type[forms.Form]:
        form: type[forms.Form] = super().get_form_class()
        name_choices(form.base_fields.values())
        return form


class AnyOf(filters.MultipleChoiceFilter):  # type: ignore[misc]
    """Of a column that a row has one value of, so that none is found twice (with DISTINCT all is sorted)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(distinct=False, help_text="May be repeated.", **options)


class JobFilter(Narrowing):
    status = AnyOf(choices=Status.choices)
    mode = filters.ChoiceFilter(choices=Mode.choices)
    region = filters.CharFilter(method="in_region")
    priority = filters.ChoiceFilter(
        choices=[(label, label) for label in Priority.labels], method="of_priority"
    )
    batch = filters.UUIDFilter()
    tag = filters.CharFilter(method="with_tag")
    created_after = InstantFilter(method="made_after")
    created_before = InstantFilter(method="made_before")
    search = filters.CharFilter(
        field_name="recording__filename", lookup_expr="icontains", help_text="A part of the filename."
    )

    sha256 = filters.CharFilter(
        field_name="recording__sha256",
        validators=[
            RegexValidator(r"\A[0-9a-f]{64}\Z", "This must be 64 hexadecimal digits, in lower case.")
        ],
        help_text="Of the audio, in hexadecimal: was it submitted before?",
    )

    error = filters.CharFilter(field_name="error_code", help_text="The code of what went wrong last.")
    key = filters.UUIDFilter(field_name="key_id", help_text="The id of the key that submitted it.")
    created_by = filters.CharFilter(
        field_name="created_by__username", help_text="The username of who submitted it."
    )

    class Meta:
        model = TranscriptionJob
        fields: tuple[str, ...] = ()

    def in_region(self, jobs: JobQuerySet, name: str, value: str) -> Any:
        try:
            return jobs.filter(region=region_named(value).name)
        except UnknownRegion as error:
            raise ValidationError({name: [str(error)]}) from None

    def made_after(self, jobs: JobQuerySet, name: str, value: datetime) -> Any:
        return jobs.made_after(value)

    def made_before(self, jobs: JobQuerySet, name: str, value: datetime) -> Any:
        return jobs.made_before(value)

    def of_priority(self, jobs: JobQuerySet, name: str, value: str) -> Any:
        return jobs.filter(priority=Priority.named(value))

    def with_tag(self, jobs: JobQuerySet, name: str, value: str) -> Any:
        return jobs.tagged(value)


class AuditFilter(Narrowing):
    action = AnyOf(choices=Action.choices)
    object = filters.CharFilter(field_name="object_id", help_text="The id of what it was done to.")
    after = InstantFilter(field_name="at", lookup_expr="gt")
    before = InstantFilter(field_name="at", lookup_expr="lt")

    class Meta:
        model = AuditEntry
        fields: tuple[str, ...] = ()


class DeliveryFilter(Narrowing):
    status = AnyOf(choices=DeliveryStatus.choices)
    type = AnyOf(field_name="event__type", choices=EventType.choices)
    after = InstantFilter(field_name="event__created_at", lookup_expr="gt")
    before = InstantFilter(field_name="event__created_at", lookup_expr="lt")

    class Meta:
        model = Delivery
        fields: tuple[str, ...] = ()
