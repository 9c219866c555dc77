"""What was used on a day: by a project with a quota, and by everyone for the report."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar
from uuid import UUID, uuid4

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, OuterRef, Q, Sum
from django.utils import timezone

from jobs.models.key import ApiKey
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


def _sums() -> dict[str, Sum]:
    # Of costs the sum is unknown where none is known.
    return {"cost": Sum("cost")} | {name: Sum(name, default=0) for name in ("requests", "failed", "seconds")}


class UsageLineQuerySet(models.QuerySet["UsageLine"]):
    def between(self, since: date, until: date) -> UsageLineQuerySet:
        """Of these days and those between."""
        return self.filter(day__range=(since, until))

    def sums_by(self, *columns: str) -> Any:
        """Sums of those that have the same in all of these columns, in the order of these."""
        return self.order_by(*columns).values(*columns).annotate(**_sums())

    def sums(self) -> dict[str, Any]:
        return self.aggregate(**_sums())

    def forget(self, **whose: None) -> int:
        """Take out of them whose they are; what they are alike by then is merged the next time."""
        return self.update(merged=False, **whose)

    def merge(self, day: date) -> int:
        """Make one line of those that differ in numbers alone; how many are gone.

        Of a day that is over, of all; until then, of what came since the last time: so that each is rewritten
        twice at most. No sum changes by it, for whoever reads meanwhile neither.
        """
        lines = self.filter(day=day) if day < today() else self.filter(day=day, merged=False)
        with transaction.atomic():
            # What another process merges just now is gone when this one has had its turn.
            mark = uuid4()
            lines.update(taken=mark)
            taken = self.filter(day=day, taken=mark)
            merged = taken.sums_by("day", *UsageLine.COLUMNS)
            self.bulk_create((UsageLine(merged=True, **each) for each in merged), batch_size=1000)
            gone, _ = taken.delete()
        return gone


class UsageLine(models.Model):
    """Work that was done on a day (UTC), by everything that it is asked by: one job's, or several merged.

    Written in the transaction that ends the job or live session, and never taken back: it outlives them, and
    their project, key and user, which it names without holding on to them. What has tags is counted once with
    an empty `tag`, and once for each of its tags.
    """

    COLUMNS = ("project_id", "user_id", "key_id", "model", "mode", "tag")

    day = models.DateField()
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    key = models.ForeignKey(
        ApiKey, null=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    model = models.CharField(max_length=100)
    mode = models.CharField(max_length=9, help_text="sync, async or streaming")
    tag = models.TextField(blank=True)
    requests = models.PositiveBigIntegerField(help_text="Runs of jobs, and live sessions, that ended.")
    failed = models.PositiveBigIntegerField(default=0, help_text="Of these, what came to nothing.")
    seconds = models.FloatField(default=0.0, help_text="Audio that was transcribed.")
    cost = models.DecimalField(max_digits=20, decimal_places=4, null=True, help_text="Estimated then.")
    merged = models.BooleanField(default=False)
    taken = models.UUIDField(null=True)

    objects: ClassVar[UsageLineQuerySet] = UsageLineQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = verbose_name_plural = "usage"
        indexes = (
            # The report, with its filters by project
            models.Index(fields=("day", "project"), condition=Q(tag=""), name="usage_of_day"),
            # The same by tags
            models.Index(fields=("day", "tag"), condition=~Q(tag=""), name="usage_of_tag"),
            # merge
            models.Index(fields=("day",), condition=Q(merged=False), name="usage_to_merge"),
        )

    def __str__(self) -> str:
        return f"{self.day}: {self.requests}"
