"""The page of one job: how it stands, why it went that way, what was said, and what can be done with it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, render
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.utils import timezone

from jobs import lifecycle
from jobs.admin import downloads
from jobs.admin.options_form import OptionsForm, fields_of
from jobs.admin.waterfall import bars
from jobs.admin.wording import (
    STATUS_COLOURS,
    advice,
    due,
    length,
    line,
    meaning,
    reason,
    receipt_in_words,
    title,
    took,
    until,
)
from jobs.audio.downloads import RangeNotSatisfiable, recording_file
from jobs.audit import audited, record_read
from jobs.models import InvalidTransition, Status, Transcript, TranscriptionJob
from jobs.models.audit import Action
from jobs.refusal import Refusal
from jobs.running.failover import held_up_by
from jobs.speed import expected_end
from jobs.timeline import timeline
from jobs.transcripts.exports import FORMATS, paragraphs_of
from jobs.transcripts.options import to_query
from routing.addresses import without_query
from routing.regions import UnknownRegion

if TYPE_CHECKING:
    from jobs.admin.jobs import JobAdmin


def find(job_id: str) -> TranscriptionJob | None:
    try:
        return _jobs().get(pk=job_id)
    except (TranscriptionJob.DoesNotExist, ValidationError, ValueError):
        return None


def job_page(admin: JobAdmin, request: HttpRequest, job: TranscriptionJob) -> HttpResponse:
    versions = list(job.transcripts.only("version", "run", "created_at", "author").order_by("-version"))
    shown = _chosen_version(job, request)
    if shown is not None:
        record_read(Action.TRANSCRIPT_VIEWED, request, job)
    context = {
        **admin.admin_site.each_context(request),
        "title": title(job),
        "opts": TranscriptionJob._meta,
        "has_delete_permission": admin.has_delete_permission(request, job),
        **_state(job),
        "facts": _facts(job),
        "receipt": receipt_in_words(job.receipt, job.run, job.region),
        "options": to_query(job.options),
        "metadata": _metadata(job),
        "versions": versions,
        "transcript": shown,
        "paragraphs": paragraphs_of(shown) if shown else [],
        "formats": list(FORMATS),
    }
    return TemplateResponse(request, "admin/jobs/job.html", context)


def state_partial(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """What changes while the job is open. The header tells the page's script when to stop asking."""
    job = get_object_or_404(_jobs(), pk=job_id)
    response = render(request, "admin/jobs/_state.html", _state(job))
    response["X-Ended"] = "true" if job.is_ended else "false"
    return response


def requeue_page(admin: JobAdmin, request: HttpRequest, job_id: UUID) -> HttpResponse:
    """The form with the job's options; posting it runs the job once more."""
    job = get_object_or_404(_jobs(), pk=job_id)
    initial = fields_of(job.options)
    # Those that the transcript desk offers, after what was corrected.
    initial["keyterm"] = list(dict.fromkeys([*initial["keyterm"], *request.GET.getlist("keyterm")]))
    form = OptionsForm(request.POST or None, initial=initial)
    if form.is_bound and form.is_valid():
        try:
            with audited(Action.JOB_REQUEUED, request, job):
                lifecycle.requeue(job, form.options)
        except Refusal as refusal:
            messages.error(request, f"It was not requeued. {refusal.message}")
        except UnknownRegion:
            messages.error(request, f"It was not requeued: its region {job.region} is gone. Upload it again.")
        else:
            admin.log_change(request, job, "Requeued.")
            messages.success(request, f"Requeued as run {job.run}.")
        return admin.page_of(job)
    context = {
        **admin.admin_site.each_context(request),
        "title": f"Requeue {title(job)}",
        "opts": TranscriptionJob._meta,
        "job": job,
        "form": form,
    }
    return TemplateResponse(request, "admin/jobs/requeue.html", context)


def cancel(admin: JobAdmin, request: HttpRequest, job_id: UUID) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    job = get_object_or_404(_jobs(), pk=job_id)
    try:
        with audited(Action.JOB_CANCELLED, request, job):
            lifecycle.cancel(job)
    except InvalidTransition:
        messages.warning(request, "It had already ended, so there was nothing to cancel.")
    else:
        admin.log_change(request, job, "Cancelled.")
        messages.success(request, "Cancelled.")
    return admin.page_of(job)


def transcript(request: HttpRequest, job_id: UUID, extension: str) -> HttpResponseBase:
    job = get_object_or_404(_jobs(), pk=job_id)
    chosen = _chosen_version(job, request)
    if chosen is None or extension not in FORMATS:
        raise Http404
    record_read(Action.TRANSCRIPT_EXPORTED, request, job, format=extension)
    return downloads.transcript_file(job, chosen, extension)


def audio(admin: JobAdmin, request: HttpRequest, job_id: UUID) -> HttpResponseBase:
    job = get_object_or_404(_jobs(), pk=job_id)
    if job.recording is None:
        raise Http404
    try:
        response = recording_file(job.recording, request.headers.get("Range"))
    except FileNotFoundError:
        raise Http404("The audio is not stored any more.") from None
    except RangeNotSatisfiable:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{job.recording.size}"})
    # A player asks for it part by part, and again at each jump.
    if record_read(Action.AUDIO_FETCHED, request, job):
        admin.log_change(request, job, "Audio played or downloaded.")
    return response


def _jobs() -> QuerySet[TranscriptionJob]:
    return TranscriptionJob.objects.select_related("project", "batch", "recording", "created_by", "key")


def _state(job: TranscriptionJob) -> dict[str, Any]:
    now = timezone.now()
    entries = timeline(job)
    lines = [line(entry) for entry in entries]
    several = job.run > 1
    why = reason(job)
    return {
        "job": job,
        "colour": STATUS_COLOURS[job.status],
        "reason": why,
        "error_code": job.error_code if why else "",
        "error_message": job.error_message if why else "",
        "advice": advice(job.error_code) if why and job.is_ended else "",
        "meaning": "" if why else meaning(job),
        "held_up": held_up_by(job),
        "due": due(expected_end(job, None), now) if job.status == Status.RUNNING else "",
        "again": _again(job),
        "lines": [
            (later, several and later.run != earlier.run, bar)
            for (earlier, later), bar in zip(pairwise([lines[0], *lines]), bars(entries, now), strict=True)
        ],
    }


def _again(job: TranscriptionJob) -> str:
    if job.status != Status.WAITING or job.run_at is None:
        return ""
    return until((job.run_at - timezone.now()).total_seconds())


def _facts(job: TranscriptionJob) -> list[tuple[str, str]]:
    recording = job.recording
    facts = [
        ("Project", str(job.project)),
        ("Batch", str(job.batch or "")),
        ("Submitted by", _submitter(job)),
        ("Audio", length(job.duration)),
        ("Channels", str(recording.channels or "") if recording else ""),
        ("Codec", recording.codec if recording else ""),
        ("Sample rate", f"{recording.sample_rate} Hz" if recording and recording.sample_rate else ""),
        ("Size", filesizeformat(recording.size) if recording else ""),
        ("URL", without_query(job.url)),
        ("Mode", job.mode),
        ("Region", f"{job.region} only" if job.pinned else job.region),
        ("Queue", f"{job.queue}, {job.get_priority_display()} priority"),
        ("Run", str(job.run)),
        ("Attempts", str(job.attempts)),
        ("Took", took(job)),
        ("Tags", ", ".join(map(str, job.tags))),
        ("Callback", without_query(job.callback_url)),
        ("Id", str(job.pk)),
    ]
    return [(name, value) for name, value in facts if value]


def _metadata(job: TranscriptionJob) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in sorted(job.metadata.items())
    ]


def _submitter(job: TranscriptionJob) -> str:
    if job.key is not None:
        return f"API key {job.key}"
    return str(job.created_by or "")


def _chosen_version(job: TranscriptionJob, request: HttpRequest) -> Transcript | None:
    """The version that the query asks for, else the latest; None if there is none, 404 if not that one."""
    asked = request.GET.get("version", "")
    if not asked:
        return job.transcripts.last()
    if not asked.isdecimal() or len(asked) > 9:
        raise Http404
    return get_object_or_404(job.transcripts, version=int(asked))
