"""What came of each time that a job was begun."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from jobs.models.job import TranscriptionJob


class AttemptOutcome(models.TextChoices):
    COMPLETED = "completed"
    RETRIED = "retried"
    DEFERRED = "deferred"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    LOST = "lost"
    CRASHED = "crashed"


class Attempt(models.Model):
    """One time that somebody held the job's lease, written when it ended.

    `outcome_unknown` marks a call whose answer never came although the request had gone out: it may be
    billed.
    """

    job = models.ForeignKey(TranscriptionJob, on_delete=models.CASCADE, related_name="history")
    run = models.PositiveIntegerField()
    lease_token = models.UUIDField()
    region = models.CharField(max_length=50)
    worker = models.CharField(max_length=120)
    outcome = models.CharField(max_length=10, choices=AttemptOutcome)
    outcome_unknown = models.BooleanField(default=False)
    counted = models.BooleanField()
    status_code = models.PositiveSmallIntegerField(null=True, help_text="The provider's.")
    request_id = models.CharField(max_length=100, blank=True, help_text="The provider's.")
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    provider_code = models.CharField(
        max_length=60, blank=True, default="", help_text="The provider's own name for the error."
    )
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("job", "lease_token"), name="attempt_once"),)
        indexes = (
            # jobs.speed: the last completed ones
            models.Index(
                fields=("region", "-id"), condition=models.Q(outcome="completed"), name="attempt_completed"
            ),
        )

    def __str__(self) -> str:
        return f"{self.outcome} in {self.region}"
