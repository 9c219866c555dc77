"""Jobs: submitted, followed, cancelled, run again, fetched and deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django.core.files.storage import storages
from django.http import HttpResponse, HttpResponseBase
from django.urls import reverse
from rest_framework.exceptions import NotFound
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import exports, intake, lifecycle, sync
from jobs.api.downloads import Download
from jobs.api.errors import BadRequest
from jobs.api.filters import PRIORITIES, JobFilter
from jobs.api.pagination import OldestFirst, one_page
from jobs.api.parsers import AudioParser, JSONParser, OctetStreamParser, VideoParser
from jobs.api.permissions import OPERATING, READING, SUBMITTING
from jobs.api.preferences import Preferences, parse_prefer
from jobs.api.serializers import (
    AttemptSerializer,
    JobDetailSerializer,
    JobSerializer,
)
from jobs.api.submissions import RequeueSerializer, SubmissionSerializer
from jobs.api.views.scoped import ScopedViewSet
from jobs.deletion import delete_job
from jobs.models import ApiKey, Attempt, Priority, Status, Transcript, TranscriptionJob
from jobs.models.job import JobQuerySet
from jobs.timeline import timeline

SUBMISSION_PARSERS = (JSONParser, MultiPartParser, AudioParser, VideoParser, OctetStreamParser)
# By what stands after the dot: the content type, and who writes it.
EXPORTS: dict[str, tuple[str, Callable[[Transcript], str]]] = {
    "json": ("application/json", exports.to_json),
    "txt": ("text/plain; charset=utf-8", exports.to_txt),
    "srt": ("application/x-subrip; charset=utf-8", exports.to_srt),
    "vtt": ("text/vtt; charset=utf-8", exports.to_vtt),
}


class JobViewSet(ScopedViewSet):
    needs: ClassVar = {
        "list": READING,
        "create": SUBMITTING,
        "retrieve": READING,
        "destroy": OPERATING,
        "cancel": SUBMITTING,
        "requeue": OPERATING,
        "attempts": READING,
        "timeline": READING,
        "audio": READING,
        "transcript": READING,
    }
    queryset = TranscriptionJob.objects.none()
    serializer_class = JobDetailSerializer
    filterset_class = JobFilter

    def get_queryset(self) -> JobQuerySet:
        jobs: Any = self.in_projects(TranscriptionJob.objects.select_related("recording"))
        return jobs

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(JobSerializer(page, many=True).data)

    def create(self, request: Request) -> Response:
        submission = SubmissionSerializer(data=request.data)
        submission.is_valid(raise_exception=True)
        asked: dict[str, Any] = submission.validated_data
        prefers = parse_prefer(request.headers.get("Prefer", ""))
        key = request.auth if isinstance(request.auth, ApiKey) else None
        order = intake.Order(
            project=self.project_to_act_in(asked.get("project")),
            options=asked["options"],
            mode=asked.get("mode") or "auto",
            region=asked.get("region") or "",
            priority=PRIORITIES.get(asked.get("priority"), Priority.NORMAL),
            callback_url=asked.get("callback_url") or "",
            metadata=asked.get("metadata") or {},
            tags=asked.get("tags") or [],
            user=None if key else request.user,  # type: ignore[arg-type]
            key=key,
            patience=prefers.wait,
            respond_async=prefers.respond_async,
        )
        # Asked before anything is stored.
        intake.region_for(order)
        recording = intake.keep(order.project, asked["file"]) if "file" in asked else None
        job = intake.submit(order, recording=recording, url=asked.get("url") or "")
        # It runs in this process then, or has by now.
        waited = job.status != Status.QUEUED
        if waited:
            sync.wait(job, order.waits, through_retries=order.mode == "sync")
        return self._accepted(job, prefers, waited)

    def _accepted(self, job: TranscriptionJob, prefers: Preferences, waited: bool) -> Response:
        headers = {"Location": self.request.build_absolute_uri(reverse("job", args=(job.pk,)))}
        if prefers.wait is not None and waited:
            headers["Preference-Applied"] = f"wait={prefers.wait}"
        elif prefers.respond_async and not waited:
            headers["Preference-Applied"] = "respond-async"
        return Response(
            JobDetailSerializer(job).data, status=201 if job.is_ended else 202, headers=headers
        )

    def retrieve(self, request: Request, pk: UUID) -> Response:
        return Response(JobDetailSerializer(self.get_object()).data)

    def destroy(self, request: Request, pk: UUID) -> Response:
        delete_job(self.get_object())
        return Response(status=204)

    def cancel(self, request: Request, pk: UUID) -> Response:
        job = self.get_object()
        lifecycle.cancel(job)
        return Response(JobDetailSerializer(job).data)

    def requeue(self, request: Request, pk: UUID) -> Response:
        job = self.get_object()
        changes = RequeueSerializer(data=request.data)
        changes.is_valid(raise_exception=True)
        lifecycle.requeue(job, changes.validated_data["options"])
        return Response(JobDetailSerializer(job).data, status=202)

    def attempts(self, request: Request, pk: UUID) -> Response:
        pages = OldestFirst()
        page = pages.paginate_queryset(Attempt.objects.filter(job=self.get_object()), request, self)
        return pages.get_paginated_response(AttemptSerializer(page, many=True).data)

    def timeline(self, request: Request, pk: UUID) -> Response:
        entries = [
            {"at": entry["at"], "type": entry["kind"], "run": entry["run"], "ended_at": entry["ended_at"]}
            | entry["details"]
            for entry in timeline(self.get_object())
        ]
        return Response(one_page(entries))

    def audio(self, request: Request, pk: UUID) -> HttpResponseBase:
        recording = self.get_object().recording
        if recording is None:
            raise NotFound("The job has no recording here: it was given by its URL.")
        try:
            file = storages["default"].open(recording.file.name)
        except FileNotFoundError:
            raise NotFound("The recording is not stored any more.") from None
        return Download(
            file,
            recording.size,
            filename=recording.filename or str(recording.pk),
            content_type=recording.media_type,
            range_header=request.headers.get("Range"),
        )

    def transcript(self, request: Request, pk: UUID, form: str) -> HttpResponseBase:
        found = self._version(self.get_object())
        if form == "json" and request.query_params.get("raw", "").lower() in ("true", "1"):
            return self._answer(found)
        content_type, write = EXPORTS[form]
        return HttpResponse(write(found), content_type=content_type)

    def _version(self, job: TranscriptionJob) -> Transcript:
        asked = self.request.query_params.get("version")
        versions = job.transcripts.order_by("-version")
        if asked is not None:
            if not asked.isdecimal() or len(asked) > 9:
                raise BadRequest("version must be a whole number.")
            versions = versions.filter(version=int(asked))
        found = versions.first()
        if found is None:
            raise NotFound("The job has no such transcript, or none so far.", "no_transcript")
        return found

    def _answer(self, transcript: Transcript) -> HttpResponseBase:
        try:
            if not transcript.answer:
                raise FileNotFoundError
            file = storages["default"].open(transcript.answer)
        except FileNotFoundError:
            raise NotFound("The provider's answer is not kept for this version.", "no_answer") from None
        with file:
            return HttpResponse(file.read(), content_type="application/json")
