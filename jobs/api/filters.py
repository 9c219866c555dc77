"""By what a list of jobs may be narrowed."""

from __future__ import annotations

from typing import Any

from django_filters import rest_framework as filters

from jobs.models import Mode, Priority, Status, TranscriptionJob
from jobs.models.job import JobQuerySet

PRIORITIES = {priority.label: priority for priority in Priority}


class JobFilter(filters.FilterSet):  # type: ignore[misc]
    status = filters.MultipleChoiceFilter(choices=Status.choices, help_text="May be repeated.")
    mode = filters.ChoiceFilter(choices=Mode.choices)
    region = filters.CharFilter()
    priority = filters.ChoiceFilter(choices=[(label, label) for label in PRIORITIES], method="of_priority")
    tag = filters.CharFilter(method="with_tag")
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gt")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    search = filters.CharFilter(
        field_name="recording__filename", lookup_expr="icontains", help_text="A part of the filename."
    )

    class Meta:
        model = TranscriptionJob
        fields: tuple[str, ...] = ()

    def of_priority(self, jobs: JobQuerySet, name: str, value: str) -> Any:
        return jobs.filter(priority=PRIORITIES[value])

    def with_tag(self, jobs: JobQuerySet, name: str, value: str) -> Any:
        return jobs.tagged(value)
