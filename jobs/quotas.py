"""How much audio a project may have a day (UTC): `Project.daily_minutes`, by the minutes that it had.

A file counts when it is accepted, and none is accepted that would be too much. What comes by its URL counts
when it is measured, and live audio as it is heard: of both, only what is begun with nothing left is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from uuid import UUID

from django.db.models import F, QuerySet
from django.utils import timezone

from jobs.models import usage
from jobs.models.project import Project
from jobs.models.usage import DailyUsage
from jobs.refusal import NotAccepted


@dataclass(frozen=True, slots=True)
class Quota:
    """Seconds of audio today."""

    used: float
    allowed: float

    @property
    def is_used_up(self) -> bool:
        return self.used >= self.allowed


class QuotaExceeded(NotAccepted):
    """The project may have no more audio, or none so long, today. `retry_after`: seconds to the next day."""

    status = 429

    def __init__(self, quota: Quota) -> None:
        super().__init__(
            "quota_exceeded",
            f"The project's quota is {quota.allowed / 60:g} min of audio a day, of which "
            f"{quota.used / 60:.1f} min are used. Submit after midnight UTC, or ask for a larger quota.",
        )
        self.quota = quota
        self.retry_after = seconds_left_today()


class LongerThanQuota(NotAccepted):
    """It fits into no day, however long it waits."""

    def __init__(self, seconds: float, allowed: float) -> None:
        super().__init__(
            "longer_than_quota",
            f"It has {seconds / 60:.1f} min of audio, and the project's quota is {allowed / 60:g} min a day. "
            "Split it, or ask for a larger quota.",
        )


def seconds_left_today() -> int:
    now = timezone.now()
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
    return ceil((midnight - now).total_seconds())


def today(project: Project) -> Quota | None:
    """None if it has none."""
    if project.daily_minutes is None:
        return None
    used = DailyUsage.objects.of_today(project.pk).values_list("seconds", flat=True).first()
    return Quota(used or 0.0, 60.0 * project.daily_minutes)


def nearly_used_up(share: float) -> QuerySet[DailyUsage]:
    """Of today, the projects that have used so much of their quota, along with it."""
    allowed = F("project__daily_minutes") * 60.0 * share
    return DailyUsage.objects.filter(day=usage.today(), seconds__gte=allowed).select_related("project")


def check(project: Project) -> None:
    """QuotaExceeded if nothing is left for today."""
    quota = today(project)
    if quota is not None and quota.is_used_up:
        raise QuotaExceeded(quota)


def charge(project: Project, seconds: float | None) -> None:
    """Count what is to be accepted, of unknown length if None.

    QuotaExceeded if it is too much for today, LongerThanQuota if it is for any day.
    """
    if project.daily_minutes is None:
        return
    allowed = 60.0 * project.daily_minutes
    if seconds is None or not allowed:
        check(project)
    elif seconds > allowed:
        raise LongerThanQuota(seconds, allowed)
    elif not DailyUsage.objects.add(project.pk, seconds, allowed):
        raise QuotaExceeded(today(project) or Quota(0.0, 0.0))


def count(project_id: UUID, seconds: float) -> None:
    """Count what was accepted before its length was known, of a project with a quota."""
    DailyUsage.objects.add(project_id, seconds)
