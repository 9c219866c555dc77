"""The audio: stored once, under a name of ours."""

from __future__ import annotations

from pathlib import PurePosixPath

from django.core.files.storage import storages
from django.db import models
from django.utils import timezone

from jobs.ids import uuid7
from jobs.models.project import Project


class Recording(models.Model):
    """One stored piece of audio and what probing it told.

    `filename` is what the user called it, for showing; the stored name never holds any of it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="recordings")
    filename = models.CharField(max_length=255, blank=True)
    file = models.FileField(max_length=200, editable=False)
    sha256 = models.CharField(max_length=64, editable=False)
    size = models.BigIntegerField(editable=False, help_text="bytes")
    media_type = models.CharField(max_length=100, editable=False)
    codec = models.CharField(max_length=50, editable=False)
    duration = models.FloatField(null=True, editable=False, help_text="seconds")
    channels = models.PositiveSmallIntegerField(null=True, editable=False)
    sample_rate = models.PositiveIntegerField(null=True, editable=False, help_text="Hz")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    audio_deleted_at = models.DateTimeField(
        null=True, editable=False, help_text="Its project keeps audio for a time only."
    )

    class Meta:
        ordering = ("-id",)
        indexes = (
            # JobQuerySet.duplicate_of, JobFilter.sha256
            models.Index(fields=("project", "sha256", "-id"), name="recording_duplicates"),
            # retention
            models.Index(
                fields=("project", "created_at"),
                condition=models.Q(audio_deleted_at=None),
                name="recording_with_audio",
            ),
            # retention: what no job came of
            models.Index(fields=("created_at",), name="recording_created"),
        )

    def __str__(self) -> str:
        return self.filename or str(self.id)

    @staticmethod
    def stored_name(recording_id: object) -> str:
        return f"recordings/{recording_id}"

    @staticmethod
    def shown_name(given: str) -> str:
        """What a user or a server calls a file as `filename` has it: no directories, nothing unprintable."""
        name = PurePosixPath(given.replace("\\", "/")).name
        return "".join(filter(str.isprintable, name))[:255]

    def delete_audio(self) -> None:
        """Remove the stored bytes; the row is the caller's to delete."""
        if self.file.name:
            storages["default"].delete(self.file.name)


class Waveform(models.Model):
    """How loud a recording is, `jobs.audio.probe.peaks`; empty if it cannot be drawn."""

    recording = models.OneToOneField(Recording, primary_key=True, on_delete=models.CASCADE)
    peaks = models.BinaryField()

    def __str__(self) -> str:
        return f"waveform of {self.recording_id}"
