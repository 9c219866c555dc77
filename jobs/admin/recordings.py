"""Recordings: what was uploaded, and the jobs that transcribe it."""

from __future__ import annotations

from django.contrib import admin
from django.template.defaultfilters import filesizeformat

from jobs.admin.history import HistoryAdmin, HistoryInline
from jobs.admin.look import display
from jobs.admin.wording import STATUS_COLOURS, length, short_id
from jobs.models import Recording, TranscriptionJob


class JobsOfRecording(HistoryInline):
    model = TranscriptionJob
    fields = readonly_fields = ("labelled_status", "mode", "region", "attempts", "created_at")
    show_change_link = True
    verbose_name_plural = "jobs"

    @display(description="status", label=STATUS_COLOURS)
    def labelled_status(self, job: TranscriptionJob) -> str:
        return job.status


@admin.register(Recording)
class RecordingAdmin(HistoryAdmin):
    list_display = ("name", "project", "audio", "channels", "codec", "bytes", "created_at")
    when_empty = "There are no recordings yet: each file that is uploaded or submitted is one."
    list_filter = ("created_at", "project")
    list_select_related = ("project",)
    search_fields = ("filename", "sha256")
    search_help_text = "File name or SHA-256"
    sortable_by = ()
    fields = (
        ("filename", "project"),
        ("audio", "channels"),
        ("codec", "sample_rate"),
        ("media_type", "bytes"),
        ("sha256", "created_at"),
    )
    inlines = (JobsOfRecording,)

    @display(description="recording")
    def name(self, recording: Recording) -> str:
        return recording.filename or f"recording {short_id(recording)}"

    @display(description="audio")
    def audio(self, recording: Recording) -> str:
        return length(recording.duration)

    @display(description="size")
    def bytes(self, recording: Recording) -> str:
        return filesizeformat(recording.size)
