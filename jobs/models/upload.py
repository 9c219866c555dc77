"""Files that come in a part at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from jobs.database_clock import seconds_from_now
from jobs.ids import uuid7
from jobs.models.key import ApiKey
from jobs.models.project import Project
from jobs.models.recording import Recording

KEPT_FOR = timedelta(hours=24)


class UploadQuerySet(models.QuerySet["Upload"]):
    def usable(self) -> UploadQuerySet:
        return self.filter(expires_at__gt=Now())

    def expired(self) -> UploadQuerySet:
        return self.filter(expires_at__lte=Now())

    def unfinished(self) -> UploadQuerySet:
        """Those that still take room which nothing else accounts for."""
        return self.filter(recording=None)

    def extend(self) -> int:
        """Whoever uses an upload has 24 hours more; how many of these could still be used."""
        return self.usable().update(expires_at=seconds_from_now(KEPT_FOR.total_seconds()))


class Upload(models.Model):
    """A file on its way, and the recording that it became.

    How much of it is there is not in the row: the file itself says so (jobs.audio.parts).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="uploads")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    key = models.ForeignKey(ApiKey, null=True, on_delete=models.SET_NULL)
    filename = models.CharField(max_length=255, blank=True)
    size = models.BigIntegerField(help_text="bytes, when all are there")
    sha256 = models.CharField(max_length=64, blank=True, help_text="As it was announced.")
    parts_id = models.CharField(max_length=1024, blank=True, help_text="S3's name for it.")
    recording = models.OneToOneField(Recording, null=True, on_delete=models.CASCADE)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    objects: ClassVar[UploadQuerySet] = UploadQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("expires_at",), name="upload_expired"),
            models.Index(fields=("project", "-id"), name="upload_of_project"),
        )

    def __str__(self) -> str:
        return self.filename or str(self.id)

    @property
    def stored_name(self) -> str:
        """Where its bytes lie from the first one: where the recording's do."""
        return Recording.stored_name(self.id)
