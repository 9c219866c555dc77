"""Erasing somebody's data: what was asked for, and the report of what came of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar, TypeVar, cast

from django.db import models
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Now
from django.utils import timezone

from jobs.ids import first_id, uuid7
from jobs.json_lists import holding
from jobs.models.batch import Batch
from jobs.models.project import Project

Row = TypeVar("Row", bound=models.Model)


class Subject(models.TextChoices):
    """Whose data: all of the project's; what a person or key submitted; what has a tag, or such metadata."""

    PROJECT = "project"
    USER = "user"
    KEY = "key"
    TAG = "tag"
    METADATA = "metadata"


class Erasure(models.Model):
    """A request to erase, and its report. It outlives what it names.

    `value` says whose: a user's or key's id, a tag, or one name of metadata with its value, `{name: text}`.
    Once all is erased it is forgotten for tags and metadata, which may name people themselves.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    subject = models.CharField(max_length=10, choices=Subject)
    value: models.JSONField[Any, Any] = models.JSONField(null=True)
    requested_by = models.CharField(max_length=200, blank=True, help_text="As the audit log names them.")
    requested_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    deleted = models.JSONField(default=dict, help_text="How many of what.")

    objects: ClassVar[models.Manager[Erasure]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        indexes = (
            # The API's list
            models.Index(fields=("project", "-id"), name="erasure_of_project"),
            # The purge
            models.Index(fields=("id",), condition=models.Q(finished_at=None), name="erasure_unfinished"),
        )

    def __str__(self) -> str:
        return f"{self.subject} of {self.requested_at:%Y-%m-%d}"

    def of(self, rows: models.QuerySet[Row]) -> models.QuerySet[Row]:
        """Those of `rows`, of a table that has a project, that are to go, and were there when it was asked.

        None of a table that cannot tell whose they are.
        """
        names = {field.name for field in rows.model._meta.fields}
        rows = rows.filter(project=self.project_id, id__lt=first_id(self.requested_at, later=1))
        match self.subject:
            case Subject.PROJECT:
                return rows
            case Subject.USER if "created_by" in names:
                return rows.filter(created_by=self.value)
            case Subject.KEY if "key" in names:
                return rows.filter(key=self.value)
            case Subject.TAG if "tags" in names:
                return holding(rows, "tags", str(self.value))
            case Subject.METADATA if "metadata" in names:
                [(name, text)] = self.value.items()
                said: Any = rows.alias(said=Cast(KeyTextTransform(name, "metadata"), models.TextField()))
                says = models.Q(said=text)
                if "batch" in names:
                    says |= models.Q(batch__in=self.of(Batch.objects.order_by()).values("pk"))
                return cast(models.QuerySet[Row], said.filter(says))
            case _:
                return rows.none()

    def hold(self) -> bool:
        """Whether it still goes on; if so nobody else's to go on with until the transaction ends."""
        held = Erasure.objects.select_for_update().filter(pk=self.pk, finished_at=None).first()
        if held is None:
            return False
        self.deleted = held.deleted
        return True

    def count(self, step: Counter[str]) -> None:
        """Add what a step deleted, in its transaction, in which the row is held."""
        self.deleted = dict(Counter(self.deleted) + step)
        Erasure.objects.filter(pk=self.pk).update(deleted=self.deleted)

    def finish(self) -> None:
        forgotten: dict[str, Any] = {}
        if self.subject in (Subject.TAG, Subject.METADATA):
            self.value = forgotten["value"] = None
        Erasure.objects.filter(pk=self.pk).update(finished_at=Now(), **forgotten)
