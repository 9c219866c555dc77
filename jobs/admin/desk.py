"""The transcript desk: the page on which a transcript is listened to and corrected, and what it asks for.

What is corrected is saved over the API (`POST /api/v1/jobs/{id}/versions/`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.cache import patch_cache_control

from jobs.admin.wording import length, title
from jobs.audio.probe import ProbeError
from jobs.audio.waveforms import waveform
from jobs.audit import record_read
from jobs.models import Role, Transcript, TranscriptionJob
from jobs.models.audit import Action
from jobs.transcripts.corrections import timed_words
from jobs.transcripts.differences import changes
from jobs.transcripts.exports import FORMATS, several_channels, shown

if TYPE_CHECKING:
    from jobs.admin.jobs import JobAdmin

TERMS_OFFERED = 50
CHANGES_SHOWN = 1000


def routes(admin: JobAdmin) -> list[URLPattern]:
    own: list[tuple[str, str, Any]] = [
        ("desk/", "desk", partial(desk_page, admin)),
        ("desk/words.json", "desk_words", words),
        ("desk/changes/", "desk_changes", partial(changes_page, admin)),
        ("desk/waveform", "desk_waveform", peaks),
    ]
    return [
        path(
            f"<uuid:job_id>/{route}", admin.admin_site.admin_view(view), name=f"jobs_transcriptionjob_{name}"
        )
        for route, name, view in own
    ]


def desk_page(admin: JobAdmin, request: HttpRequest, job_id: UUID) -> HttpResponse:
    job = _job(job_id)
    versions = _versions(job)
    if not versions:
        raise Http404("The job has no transcript yet.")
    record_read(Action.TRANSCRIPT_VIEWED, request, job)
    context = {
        **admin.admin_site.each_context(request),
        "title": title(job),
        "opts": TranscriptionJob._meta,
        "job": job,
        "has_audio": job.recording is not None and job.recording.audio_deleted_at is None,
        "versions": versions,
        "formats": list(FORMATS),
        "may_correct": job.project.allows(request.user, Role.REVIEWER),  # type: ignore[arg-type]
        "save_url": f"{reverse('job', args=(job.pk,))}versions/",
    }
    return TemplateResponse(request, "admin/jobs/desk.html", context)


def words(request: HttpRequest, job_id: UUID) -> JsonResponse:
    """A version, the latest unless `?version=`; its words are lists, since there may be 30,000 of them.

    A word: `[text, start, end, confidence, speaker, channel, paragraph]`; speaker and channel are null where
    voices are not told by them, paragraph where nobody said whether it begins one.
    """
    job = _job(job_id)
    latest = job.transcripts.values_list("version", flat=True).last()
    said = _version(job, request.GET.get("version", ""))
    record_read(Action.TRANSCRIPT_VIEWED, request, job)
    several = several_channels(said)
    rows = [
        [
            shown(word),
            word["start"],
            word["end"],
            word["confidence"],
            word.get("speaker"),
            word.get("channel", 0) if several else None,
            word.get("paragraph"),
        ]
        for word in timed_words(said)
    ]
    response = JsonResponse(
        {
            "version": said.version,
            "latest": latest,
            "author": said.author or None,
            "text": said.text,
            "speakers": said.speakers,
            "words": rows,
        },
        json_dumps_params={"ensure_ascii": False, "separators": (",", ":")},
    )
    patch_cache_control(response, no_store=True)
    return response


def peaks(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """A byte for each twentieth of a second; 404 for what cannot be drawn, 503 while others are measured."""
    job = _job(job_id)
    try:
        found = waveform(job.recording) if job.recording else b""
    except ProbeError:
        return HttpResponse(status=503, headers={"Retry-After": "5"})
    except OSError:
        found = b""
    if not found:
        raise Http404
    response = HttpResponse(found, content_type="application/octet-stream")
    patch_cache_control(response, private=True, max_age=86400)
    return response


def changes_page(admin: JobAdmin, request: HttpRequest, job_id: UUID) -> HttpResponse:
    """What one version says otherwise than another; if none is named, the latest than the provider's."""
    job = _job(job_id)
    versions = _versions(job)
    after = _version(job, request.GET.get("after", ""))
    heard = next((each.version for each in versions if (each.run, each.author) == (after.run, "")), 1)
    before = _version(job, request.GET.get("before", "") or str(heard))
    record_read(Action.TRANSCRIPT_VIEWED, request, job)
    found, terms = changes(timed_words(before), timed_words(after))
    context = {
        **admin.admin_site.each_context(request),
        "title": f"Changes to {title(job)}",
        "opts": TranscriptionJob._meta,
        "job": job,
        "versions": versions,
        "before": before,
        "after": after,
        "changes": [(length(change.start), change) for change in found[:CHANGES_SHOWN]],
        "more": max(len(found) - CHANGES_SHOWN, 0),
        "terms": terms[:TERMS_OFFERED],
    }
    return TemplateResponse(request, "admin/jobs/changes.html", context)


def _job(job_id: UUID) -> TranscriptionJob:
    return get_object_or_404(TranscriptionJob.objects.select_related("project", "recording"), pk=job_id)


def _versions(job: TranscriptionJob) -> list[Transcript]:
    return list(job.transcripts.only("version", "run", "author", "created_at").order_by("-version"))


def _version(job: TranscriptionJob, asked: str) -> Transcript:
    """The one of this number, else the latest, without what its words say as well."""
    versions = job.transcripts.defer("utterances")
    if asked:
        versions = versions.filter(version=int(asked) if asked.isdecimal() and len(asked) < 10 else 0)
    found = versions.last()
    if found is None:
        raise Http404("The job has no such version of a transcript.")
    return found
