"""What was said: one row for each version."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from jobs.ids import uuid7
from jobs.models.job import TranscriptionJob


class Transcript(models.Model):
    """A version of a job's transcript: the provider's for each completed run, and later people's corrections.

    `words`, `utterances` and `channels` have the shapes of jobs.transcripts.results.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    job = models.ForeignKey(TranscriptionJob, on_delete=models.CASCADE, related_name="transcripts")
    run = models.PositiveIntegerField()
    version = models.PositiveIntegerField()
    corrected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL
    )
    text = models.TextField(blank=True)
    confidence = models.FloatField(null=True)
    language = models.CharField(max_length=20, blank=True)
    words = models.JSONField(default=list)
    utterances = models.JSONField(default=list)
    channels = models.JSONField(default=list)
    answer = models.CharField(max_length=200, blank=True, help_text="Stored name of the provider's answer.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("version",)
        constraints = (
            models.UniqueConstraint(fields=("job", "version"), name="transcript_version_once"),
            models.UniqueConstraint(
                fields=("job", "run"),
                condition=models.Q(corrected_by=None),
                name="one_result_per_run",
            ),
        )

    def __str__(self) -> str:
        return f"version {self.version} of {self.job_id}"
