"""Submissions that a client has named, so that sending one again repeats nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from jobs.models.batch import Batch
from jobs.models.job import TranscriptionJob
from jobs.models.project import Project

KEPT_FOR = timedelta(hours=24)


class KeyReused(Exception):
    """The key has named another submission in the last 24 hours."""


class IdempotencyKeyQuerySet(models.QuerySet["IdempotencyKey"]):
    def kept(self) -> IdempotencyKeyQuerySet:
        return self.filter(created_at__gt=Now() - KEPT_FOR)

    def expired(self) -> IdempotencyKeyQuerySet:
        return self.filter(created_at__lte=Now() - KEPT_FOR)

    def forget_answers(self) -> None:
        """What they name is answered by the job or batch as it is from now on."""
        self.update(status_code=None, answer=None)


class IdempotencyKey(models.Model):
    """A submission by the name that its client gave it (the header Idempotency-Key), and what was answered.

    Written with the job or batch that it became, in one transaction. Without an answer the submission is in
    flight, or what was answered is past its time.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="Of what was submitted.")
    job = models.ForeignKey(TranscriptionJob, null=True, on_delete=models.CASCADE)
    batch = models.ForeignKey(Batch, null=True, on_delete=models.CASCADE)
    status_code = models.PositiveSmallIntegerField(null=True)
    answer = models.BinaryField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[IdempotencyKeyQuerySet] = IdempotencyKeyQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("project", "key"), name="idempotency_key_once"),
            models.CheckConstraint(
                condition=models.Q(job=None, batch__isnull=False) | models.Q(job__isnull=False, batch=None),
                name="idempotency_key_names_one",
            ),
        )
        indexes = (models.Index(fields=("created_at",), name="idempotency_key_expired"),)

    def __str__(self) -> str:
        return self.key

    def earlier(self) -> IdempotencyKey | None:
        """What the same submission has come to, if it was made before; KeyReused if it was another."""
        kept = IdempotencyKey.objects.kept().select_related("job__recording", "batch__project")
        found = kept.filter(project=self.project, key=self.key).first()
        if found is not None and found.fingerprint != self.fingerprint:
            raise KeyReused
        return found

    def insert(self, *, job: TranscriptionJob | None = None, batch: Batch | None = None) -> None:
        """Name what is saved in the same transaction; IntegrityError if another was first."""
        IdempotencyKey.objects.expired().filter(project=self.project, key=self.key).delete()
        self.job, self.batch = job, batch
        self.save(force_insert=True)

    def remember(self, status_code: int, answer: bytes) -> None:
        """What was answered, for whoever asks again."""
        IdempotencyKey.objects.filter(pk=self.pk).update(status_code=status_code, answer=answer)
