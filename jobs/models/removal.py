"""Stored files that are to be removed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class RemovalQuerySet(models.QuerySet["Removal"]):
    def due(self) -> RemovalQuerySet:
        return self.filter(due_at__lte=Now())


class Removal(models.Model):
    """The name of a stored file that no row has any more, until the file is gone.

    Written in the transaction that forgets the name, since a file is not removed in one
    (jobs.forgetting.files).
    """

    name = models.CharField(max_length=200)
    due_at = models.DateTimeField(db_default=Now())
    erasure = models.UUIDField(null=True, help_text="Which is finished once the file is gone.")

    objects: ClassVar[RemovalQuerySet] = RemovalQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        indexes = (models.Index(fields=("due_at",), name="removal_due"),)

    def __str__(self) -> str:
        return self.name
