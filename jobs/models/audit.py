"""Who did what to whom: written once, changed by nobody."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from jobs.ids import uuid7
from jobs.models.key import ApiKey
from jobs.models.project import Project

# PostgreSQL refuses to delete what is younger: a trigger, in the table's migration.
KEPT_FOR = timedelta(days=365)


class Action(models.TextChoices):
    SIGNED_IN = "session.signed_in"
    SIGN_IN_FAILED = "session.sign_in_failed"
    KEY_ISSUED = "key.issued"
    KEY_CHANGED = "key.changed"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    SECRET_REVEALED = "secret.revealed"  # noqa: S105 (a name)
    SECRET_ROTATED = "secret.rotated"  # noqa: S105 (a name)
    AUDIO_FETCHED = "audio.fetched"
    TRANSCRIPT_VIEWED = "transcript.viewed"
    TRANSCRIPT_EXPORTED = "transcript.exported"
    TRANSCRIPT_CORRECTED = "transcript.corrected"
    JOB_REQUEUED = "job.requeued"
    JOB_CHANGED = "job.changed"
    JOB_CANCELLED = "job.cancelled"
    JOB_DELETED = "job.deleted"
    BATCH_SEALED = "batch.sealed"
    BATCH_REQUEUED = "batch.requeued"
    BATCH_CANCELLED = "batch.cancelled"
    BATCH_DELETED = "batch.deleted"
    STREAM_DELETED = "stream.deleted"
    MEMBER_ADDED = "member.added"
    MEMBER_CHANGED = "member.changed"
    MEMBER_REMOVED = "member.removed"
    USER_CREATED = "user.created"
    USER_CHANGED = "user.changed"
    USER_DELETED = "user.deleted"
    GROUP_CREATED = "group.created"
    GROUP_CHANGED = "group.changed"
    GROUP_DELETED = "group.deleted"
    PROJECT_CREATED = "project.created"
    PROJECT_CHANGED = "project.changed"
    PROJECT_DELETED = "project.deleted"
    PROJECT_ERASED = "project.erased"
    WEBHOOK_ADDED = "webhook.added"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_REPLAYED = "webhook.replayed"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_DELETED = "webhook.deleted"
    REGION_ADDED = "region.added"
    REGION_CHANGED = "region.changed"
    REGION_REMOVED = "region.removed"
    DATA_PURGED = "data.purged"
    ERASURE_REQUESTED = "erasure.requested"
    DATA_ERASED = "data.erased"


def actions() -> list[tuple[str, str]]:
    """Asked for by the field, so that a new one is no migration."""
    return Action.choices


class Result(models.TextChoices):
    DONE = "done"
    REFUSED = "refused"


class AuditEntry(models.Model):
    """One act. Append-only: the database refuses to change an entry, and PostgreSQL to delete a young one.

    It outlives whatever it names, so that it refers to rows without holding on to them, and carries their
    names as they were. `details` are counts, names and codes; never what was said, sent or kept secret.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(db_default=Now())
    action = models.CharField(max_length=40, choices=actions)
    result = models.CharField(max_length=10, choices=Result, default=Result.DONE)
    actor = models.CharField(max_length=200, blank=True, help_text="Their name then; empty: the service.")
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
    project = models.ForeignKey(
        Project, null=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    object_type = models.CharField(max_length=30, blank=True)
    object_id = models.CharField(max_length=50, blank=True)
    object_name = models.CharField(max_length=200, blank=True)
    ip = models.GenericIPAddressField(null=True)
    details = models.JSONField(default=dict)

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        ordering = ("-id",)
        indexes = (
            # The API's list
            models.Index(fields=("project", "-id"), name="audit_of_project"),
            # audit.record_read, and what happened to this
            models.Index(fields=("object_id", "-id"), name="audit_of_object"),
            # retention: what is old
            models.Index(fields=("at",), name="audit_at"),
        )

    def __str__(self) -> str:
        return f"{self.action} {self.object_name}".strip()
