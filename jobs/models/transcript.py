"""What was said: one row for each version."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from jobs.ids import uuid7
from jobs.models.job import TranscriptionJob


class Transcript(models.Model):
    """A version of a job's transcript: the provider's for each completed run, and later people's corrections.

    `words`, `utterances` and `channels` have the shapes of jobs.transcripts.results, `speakers` that of
    jobs.transcripts.exports. A correction is of the same `run` as what it corrects, and keeps its `answer`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    job = models.ForeignKey(TranscriptionJob, on_delete=models.CASCADE, related_name="transcripts")
    run = models.PositiveIntegerField()
    version = models.PositiveIntegerField()
    author = models.CharField(
        max_length=200, blank=True, help_text="Who corrected it, by their name then; empty: the provider."
    )
    text = models.TextField(blank=True)
    confidence = models.FloatField(null=True)
    language = models.CharField(max_length=20, blank=True)
    words = models.JSONField(default=list)
    utterances = models.JSONField(default=list)
    channels = models.JSONField(default=list)
    speakers = models.JSONField(default=list, help_text="What people call the voices.")
    answer = models.CharField(max_length=200, blank=True, help_text="Stored name of the provider's answer.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("version",)
        constraints = (
            models.UniqueConstraint(fields=("job", "version"), name="transcript_version_once"),
            models.UniqueConstraint(
                fields=("job", "run"),
                condition=models.Q(author=""),
                name="one_result_per_run",
            ),
        )

    def __str__(self) -> str:
        return f"version {self.version} of {self.job_id}"
