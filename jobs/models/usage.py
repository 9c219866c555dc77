"""How much audio a project had on a day."""

from __future__ import annotations

from datetime import date
from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import F, OuterRef
from django.utils import timezone

from jobs.models.project import Project


def today() -> date:
    return timezone.now().date()


class DailyUsageQuerySet(models.QuerySet["DailyUsage"]):
    def of_today(self, project_id: UUID | OuterRef) -> DailyUsageQuerySet:
        return self.filter(project=project_id, day=today())

    def add(self, project_id: UUID, seconds: float, at_most: float | None = None) -> bool:
        """Count audio of today, unless that made it more than `at_most`; whether it was counted.

        One conditional UPDATE, so that of many at once none is let in too many.
        """
        self.bulk_create([DailyUsage(project_id=project_id, day=today())], ignore_conflicts=True)
        row = self.of_today(project_id)
        if at_most is not None:
            row = row.filter(seconds__lte=at_most - seconds)
        return bool(row.update(seconds=F("seconds") + seconds))


class DailyUsage(models.Model):
    """The audio of one day (UTC) of a project, counted while it has a quota."""

    project = models.ForeignKey(
        Project,
        on_delete=models.CASCADE,
        related_name="days",
        db_index=False,  # usage_once_a_day
    )
    day = models.DateField()
    seconds = models.FloatField(default=0.0)

    objects: ClassVar[DailyUsageQuerySet] = DailyUsageQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name_plural = "daily usage"
        constraints = (models.UniqueConstraint(fields=("project", "day"), name="usage_once_a_day"),)

    def __str__(self) -> str:
        return f"{self.project}, {self.day}: {self.seconds:.0f} s"
