"""The usage report as a page: by what is asked for, with a chart of its days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import content_disposition_header, urlencode

from jobs import usage
from jobs.admin.charts import stacked
from jobs.admin.history import HistoryAdmin
from jobs.admin.look import Choices, Line
from jobs.admin.wording import length
from jobs.audio.downloads import make_harmless
from jobs.models import Project, UsageLine
from jobs.models.usage import today

SHOWN = 500


class Day(Line):
    input_type = "date"


class QuestionForm(usage.Question):
    """The same question, with a field for each of two groupings."""

    first = forms.ChoiceField(label="By", required=False, widget=Choices)
    then = forms.ChoiceField(label="And by", required=False, widget=Choices)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [(name, name) for name in usage.COLUMNS]
        self.fields["first"].choices = names  # type: ignore[attr-defined]
        self.fields["then"].choices = [("", "nothing else"), *names]  # type: ignore[attr-defined]
        projects = Project.objects.existing().values_list("pk", "name")
        self.fields["project"].widget = Choices(choices=[("", "all"), *projects])
        self.fields["mode"].widget = Choices(choices=self.fields["mode"].choices)  # type: ignore[attr-defined]
        for name in ("since", "until"):
            self.fields[name].widget = Day()
        for name in ("user", "key", "tag", "model"):
            self.fields[name].widget = Line()
        for field in self.fields.values():
            field.help_text = ""

    def clean(self) -> dict[str, Any]:
        asked = super().clean()
        chosen = [asked.get("first") or "day", asked.get("then")]
        return asked | {"group_by": list(dict.fromkeys(name for name in chosen if name))}


@admin.register(UsageLine)
class UsageAdmin(HistoryAdmin):
    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self._export)
        return [path("export.csv", export, name="jobs_usageline_export"), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        form = _form(request)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": "Usage",
            "opts": self.opts,
            "form": form,
        }
        if form.is_valid():
            asked = form.cleaned_data
            rows, totals = usage.report(UsageLine.objects.all(), asked)
            context |= {
                "columns": asked["group_by"],
                "rows": [_shown(row, asked["group_by"]) for row in rows[:SHOWN]],
                "left_out": _left_out(len(rows)),
                "totals": _sums(totals),
                "chart": _chart(asked),
                "query": urlencode(form.data),
            }
        return TemplateResponse(request, "admin/jobs/usage.html", context)

    def _export(self, request: HttpRequest) -> HttpResponse:
        """What the page shows, and all else of it; nothing if that is more than the API tells at once."""
        form = _form(request)
        if not form.is_valid():
            return self.changelist_view(request)
        asked = form.cleaned_data
        rows, _ = usage.report(UsageLine.objects.all(), asked)
        if len(rows) > usage.MOST_ROWS:
            messages.error(request, usage.TOO_MANY)
            return redirect(f"{reverse('admin:jobs_usageline_changelist')}?{request.GET.urlencode()}")
        response = HttpResponse(usage.as_csv(rows, asked["group_by"]), content_type="text/csv; charset=utf-8")
        named = f"usage-{asked['since']}-{asked['until']}.csv"
        response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=named)
        make_harmless(response)
        return response


def _form(request: HttpRequest) -> QuestionForm:
    """What is not asked for otherwise is the last days, day by day."""
    asked = {"since": str(today() - usage.DEFAULT_STRETCH), "until": str(today()), "first": "day"}
    return QuestionForm(asked | request.GET.dict())


def _left_out(number: int) -> str:
    """What is said of what of so many rows the page does not show."""
    if number <= SHOWN:
        return ""
    return usage.TOO_MANY if number > usage.MOST_ROWS else "There are more: the CSV has them."


def _shown(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """`cells`: by column, what it is grouped by, by its name where it has one."""
    named = {name: row.get(f"{name}_name") or row[name] or "–" for name in columns}  # noqa: RUF001
    return {"cells": named, **_sums(row)}


def _sums(row: Mapping[str, Any]) -> dict[str, Any]:
    cost = row["cost"]
    return {
        "requests": row["requests"],
        "failed": row["failed"],
        "audio": length(row["seconds"]),
        "cost": "" if cost is None else f"{cost:,.2f} {settings.PRICE_CURRENCY}",
    }


def _chart(asked: dict[str, Any]) -> Any:
    """Minutes of audio by day and mode, of the last days if they are too many to be told apart."""
    until: date = asked["until"]
    since = max(asked["since"], until - timedelta(days=min(119, (until - date.min).days)))
    days: dict[date, dict[str, int]] = {
        since + timedelta(days=number): {} for number in range((until - since).days + 1)
    }
    rows, _ = usage.report(
        UsageLine.objects.all(), {**asked, "since": since, "until": until, "group_by": ["day", "mode"]}
    )
    for row in rows:
        days[row["day"]][row["mode"]] = round(row["seconds"] / 60)
    return stacked(list(days.values()), usage.MODES)
