"""Events: what the world is told."""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.utils import timezone

from jobs.ids import uuid7
from jobs.models.batch import Batch
from jobs.models.job import TranscriptionJob
from jobs.models.project import Project


class EventType(models.TextChoices):
    JOB_COMPLETED = "job.completed"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    BATCH_COMPLETED = "batch.completed"
    STREAM_ENDED = "stream.ended"
    TEST = "test"


class Event(models.Model):
    """Something that happened, written in the transaction in which it did.

    A run ends once, so each run of a job or of a batch has one event, and the run's number is the event's
    sequence. What other events tell of has a number of its own, or happens once.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Its index: event_of_project.
    project = models.ForeignKey(Project, db_index=False, on_delete=models.CASCADE, related_name="events")
    type = models.CharField(max_length=30, choices=EventType)
    job = models.ForeignKey(TranscriptionJob, null=True, on_delete=models.CASCADE, related_name="events")
    batch = models.ForeignKey(
        Batch,
        null=True,
        on_delete=models.CASCADE,
        related_name="events",
        db_index=False,  # one_event_per_run_of_batch
    )
    sequence = models.PositiveIntegerField(default=1)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    traceparent = models.CharField(
        max_length=55, blank=True, default="", db_default="", help_text="Of what it tells of."
    )

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("job", "sequence"), name="one_event_per_run"),
            models.UniqueConstraint(
                fields=("batch", "sequence"),
                condition=models.Q(batch__isnull=False),
                name="one_event_per_run_of_batch",
            ),
        )
        indexes = (
            # What is replayed: those of a project, of some time (ids begin with it)
            models.Index(fields=("project", "id"), name="event_of_project"),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.id}"

    @property
    def message_id(self) -> str:
        """The `webhook-id` of its messages: the same in all attempts, to all receivers."""
        return f"evt_{self.id.hex}"


def as_json(data: dict[str, Any]) -> bytes:
    """As it goes over the wire. Numbers of any size: PostgreSQL gives 1e20 back as an integer."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
