"""How well recordings were recognised whose words are known: runs, and each recording of them."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db import models
from django.utils import timezone

from jobs.ids import uuid7
from jobs.models.job import TranscriptionJob
from jobs.models.project import Project


class EvaluationRunQuerySet(models.QuerySet["EvaluationRun"]):
    def called(self, name: str) -> EvaluationRun | None:
        """The run with this id, or the latest of this name that was finished."""
        try:
            return self.filter(pk=UUID(name)).first()
        except ValueError:
            return self.finished().filter(name=name).order_by("-id").first()

    def finished(self) -> EvaluationRunQuerySet:
        return self.filter(finished_at__isnull=False)

    def comparable(self, run: EvaluationRun) -> EvaluationRunQuerySet:
        """Finished runs of the same manifest, `run` among them, whatever else they were made with."""
        return self.finished().filter(project=run.project_id, manifest_digest=run.manifest_digest)

    def like(self, run: EvaluationRun) -> EvaluationRunQuerySet:
        """Those that differ in options, region and time at the most."""
        return self.comparable(run).filter(is_live=run.is_live, noise=run.noise, snr=run.snr)


class EvaluationRun(models.Model):
    """One set of options, tried on all recordings of a manifest.

    `scores` are those of jobs.quality.scores.summary, with `failed`, the `regions` that did it and, by tag,
    `tags`; empty until it is finished. `manifest_digest` tells whether two runs were asked the same.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="evaluations")
    name = models.CharField(max_length=100, blank=True)
    manifest = models.CharField(max_length=255)
    manifest_digest = models.CharField(max_length=64)
    is_live = models.BooleanField(default=False, help_text="Streamed as it is spoken, and not as jobs.")
    options = models.JSONField(default=dict)
    region = models.CharField(max_length=50, blank=True, help_text="That was asked for.")
    noise = models.CharField(max_length=1000, blank=True, help_text="The file that was mixed in.")
    snr = models.FloatField(null=True, help_text="dB")
    scores = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[EvaluationRunQuerySet] = EvaluationRunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "evaluation"
        ordering = ("-id",)
        # like, comparable
        indexes = (models.Index(fields=("manifest_digest", "-id"), name="evaluations_of_manifest"),)

    def __str__(self) -> str:
        return self.name or f"{self.manifest} of {self.created_at:%Y-%m-%d %H:%M}"

    def forget_tag(self, tag: str) -> None:
        if self.scores.get("tags", {}).pop(tag, None) is not None:
            self.save(update_fields=("scores",))

    def finish(self, scores: dict[str, Any]) -> None:
        self.scores, self.finished_at = scores, timezone.now()
        self.save(update_fields=("scores", "finished_at"))


class EvaluatedRecordingQuerySet(models.QuerySet["EvaluatedRecording"]):
    def scored(self) -> EvaluatedRecordingQuerySet:
        return self.filter(errors__isnull=False)

    def unscored(self) -> EvaluatedRecordingQuerySet:
        return self.filter(errors=None)


class EvaluatedRecording(models.Model):
    """A recording of a run: what is `said` in it, and what was `heard`.

    Once it was heard, `counts` are jobs.quality.scores.Counts and `errors` is the share of its words that are
    wrong; `error` says why it was not.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(EvaluationRun, on_delete=models.CASCADE, related_name="recordings")
    position = models.PositiveIntegerField()
    source = models.CharField(max_length=1000, help_text="As the manifest names it.")
    said = models.TextField(blank=True)
    language = models.CharField(max_length=20, blank=True)
    tags = models.JSONField(default=list)
    seconds = models.FloatField(null=True)
    job = models.ForeignKey(TranscriptionJob, null=True, on_delete=models.SET_NULL, related_name="+")
    region = models.CharField(max_length=50, blank=True)
    heard = models.TextField(blank=True)
    counts = models.JSONField(default=dict)
    errors = models.FloatField(null=True)
    error = models.CharField(max_length=500, blank=True)

    objects: ClassVar[EvaluatedRecordingQuerySet] = EvaluatedRecordingQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("position",)
        constraints = (models.UniqueConstraint(fields=("run", "position"), name="evaluated_once"),)

    def __str__(self) -> str:
        return self.source
