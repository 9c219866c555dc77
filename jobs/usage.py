"""What was used: audio, requests and estimated cost, by day (UTC), project, user, key, tag, model and mode.

Each run of a job and each live session is a line of its own when it ends, written in the same transaction,
so that it is counted exactly once and stays when the job is deleted. Lines that differ in numbers alone are
merged now and then (UsageLine.merge), which is why a month of a million jobs is a sum of some hundred rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Protocol
from uuid import UUID

from django import forms
from django.contrib.auth.models import User
from django.db.models.functions import TruncMonth

from jobs.models import ApiKey, Chore, Project, Status, TranscriptionJob, UsageLine
from jobs.models.usage import UsageLineQuerySet, today
from jobs.prices import CENT_OF_A_CENT, cost_of
from jobs.spreadsheets import BYTE_ORDER_MARK, cell

MERGED_EVERY_SECONDS = 3600.0
# Of whoever merges.
LEASE_SECONDS = 600.0
DEFAULT_STRETCH = timedelta(days=29)
# That one answer has.
MOST_ROWS = 10_000
TOO_MANY = f"These are more than {MOST_ROWS} groups. Ask for fewer days, or by less."

# What may be grouped by, and the column of each.
COLUMNS = {
    "day": "day",
    "month": "month",
    "project": "project_id",
    "user": "user_id",
    "key": "key_id",
    "tag": "tag",
    "model": "model",
    "mode": "mode",
}
MODES = ("sync", "async", "streaming")
SUMS = ("requests", "failed", "seconds", "cost")
NAMES = ("project_name", "key_name")


class Work(Protocol):
    """A job, or a live session."""

    project_id: UUID
    created_by_id: int | None
    key_id: UUID | None
    options: dict[str, Any]
    tags: list[str]


def job_ended(job: TranscriptionJob) -> None:
    """In the transaction that ends a run of it."""
    UsageLine.objects.bulk_create(lines_of_job(job, today()))


def lines_of_job(job: TranscriptionJob, day: date) -> list[UsageLine]:
    seconds = (job.duration or 0.0) if job.status == Status.COMPLETED else 0.0
    failed = job.status in (Status.FAILED, Status.DEAD)
    return lines_of(job, day, mode=job.mode, seconds=seconds, failed=failed)


def lines_of(work: Work, day: date, *, mode: str, seconds: float, failed: bool) -> list[UsageLine]:
    model = str(work.options.get("model", ""))[:100]
    cost = cost_of(seconds, model)
    return [
        UsageLine(
            day=day,
            project_id=work.project_id,
            user_id=work.created_by_id,
            key_id=work.key_id,
            model=model,
            mode=mode,
            tag=tag,
            requests=1,
            failed=failed,
            seconds=seconds,
            cost=cost,
        )
        for tag in {"": None} | dict.fromkeys(work.tags)
    ]


def merge_when_due() -> None:
    if Chore.objects.claim("usage", LEASE_SECONDS):
        merge()
        Chore.objects.put_off("usage", MERGED_EVERY_SECONDS)


def merge() -> None:
    fresh = UsageLine.objects.filter(merged=False)
    for day in sorted(set(fresh.order_by().values_list("day", flat=True).distinct())):
        UsageLine.objects.merge(day)


class Question(forms.Form):
    """What is asked of the report, as the API and the admin take it from an address."""

    since = forms.DateField(required=False, help_text="First day (UTC); 29 days before the last by default.")
    until = forms.DateField(required=False, help_text="Last day (UTC); today by default.")
    group_by = forms.MultipleChoiceField(
        required=False,
        choices=[(name, name) for name in COLUMNS],
        help_text="May be repeated; `day` by default.",
    )
    project = forms.UUIDField(required=False)
    user = forms.CharField(required=False, help_text="The username of who submitted it in person.")
    key = forms.UUIDField(required=False, help_text="The id of the key that it was submitted with.")
    tag = forms.CharField(required=False)
    model = forms.CharField(required=False)
    mode = forms.ChoiceField(required=False, choices=[("", "any"), *((mode, mode) for mode in MODES)])

    def clean(self) -> dict[str, Any]:
        asked = super().clean() or self.cleaned_data
        until = asked.get("until") or today()
        earliest = max(until, date.min + DEFAULT_STRETCH) - DEFAULT_STRETCH
        since = asked.get("since") or earliest
        if since > until:
            self.add_error("since", "This is after the last day.")
        return asked | {"since": since, "until": until, "group_by": asked.get("group_by") or ["day"]}


def report(lines: UsageLineQuerySet, asked: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What a valid Question finds in `lines`: MOST_ROWS groups and one more at most, and the sums of all.

    A group has all of COLUMNS, null where it is not grouped by, the names of its project and key, and SUMS.
    By tags, what has several is in several groups, and once in the sums; what has none is in those alone.
    """
    lines = lines.between(asked["since"], asked["until"])
    for name in ("project", "key", "model", "mode"):
        if asked[name]:
            lines = lines.filter(**{name: asked[name]})
    if asked["user"]:
        lines = lines.filter(user__in=User.objects.filter(username=asked["user"]))
    counted = lines.filter(tag=asked["tag"])
    grouped = lines.exclude(tag="") if "tag" in asked["group_by"] and not asked["tag"] else counted
    if "month" in asked["group_by"]:
        grouped = grouped.annotate(month=TruncMonth("day"))
    columns = [COLUMNS[name] for name in asked["group_by"]]
    rows = list(grouped.sums_by(*columns)[: MOST_ROWS + 1])
    return list(_named(rows)), _rounded(counted.sums())


def _named(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    projects: dict[Any, str] = dict(
        Project.objects.filter(pk__in=_ids(rows, "project_id")).values_list("pk", "name")
    )
    keys: dict[Any, str] = dict(ApiKey.objects.filter(pk__in=_ids(rows, "key_id")).values_list("pk", "name"))
    users = dict(User.objects.filter(pk__in=_ids(rows, "user_id")).values_list("pk", "username"))
    for row in rows:
        user = row.get("user_id")
        group = {name: row.get(column) for name, column in COLUMNS.items()}
        yield {
            **group,
            "user": None if user is None else users.get(user, f"deleted user {user}"),
            "model": group["model"] or None,
            "project_name": projects.get(row.get("project_id")),
            "key_name": keys.get(row.get("key_id")),
            **_rounded(row),
        }


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Its sums. SQLite, which has no decimal numbers, leaves zeros out."""
    seconds, cost = round(row["seconds"], 3), row["cost"]
    return {name: row[name] for name in SUMS} | {
        "seconds": seconds,
        "cost": cost and cost.quantize(CENT_OF_A_CENT),
    }


def _ids(rows: Iterable[Mapping[str, Any]], column: str) -> set[Any]:
    return {row.get(column) for row in rows} - {None}


def as_csv(rows: Iterable[Mapping[str, Any]], group_by: Sequence[str]) -> str:
    """The columns that are grouped by with their names, and the sums."""
    columns = [
        column
        for name in group_by
        for column in ((name, f"{name}_name") if f"{name}_name" in NAMES else (name,))
    ]
    written = io.StringIO()
    written.write(BYTE_ORDER_MARK)
    writer = csv.writer(written)
    writer.writerow([*columns, *SUMS])
    for row in rows:
        values = (row[column] for column in (*columns, *SUMS))
        writer.writerow(cell("" if value is None else str(value)) for value in values)
    return written.getvalue()
