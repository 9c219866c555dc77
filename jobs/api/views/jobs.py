"""Jobs: submitted, followed, cancelled, run again, fetched and deleted."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import Any, ClassVar, cast
from uuid import UUID

from django.core.files.storage import storages
from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import intake, lifecycle, quotas
from jobs.api import idempotency
from jobs.api.errors import BadRequest
from jobs.api.filters import JobFilter
from jobs.api.pagination import OldestFirst, one_page
from jobs.api.parsers import (
    AudioParser,
    FormParser,
    JSONParser,
    OctetStreamParser,
    VideoParser,
    check_not_empty,
)
from jobs.api.permissions import OPERATING, READING, SUBMITTING
from jobs.api.preferences import Preferences, parse_prefer
from jobs.api.serializers import (
    AttemptSerializer,
    JobDetailSerializer,
    JobSerializer,
    TimelineEntrySerializer,
    TranscriptSerializer,
)
from jobs.api.submissions import (
    JobChangesSerializer,
    JSONSubmissionSerializer,
    RequeueSerializer,
    SubmissionSerializer,
)
from jobs.api.views.scoped import PROJECT, ScopedViewSet
from jobs.audio import uploads
from jobs.audio.downloads import make_harmless, recording_file
from jobs.audio.keeping import keep
from jobs.audit import audited, record_read
from jobs.forgetting.deletion import delete_job
from jobs.models import (
    ApiKey,
    Attempt,
    Batch,
    IdempotencyKey,
    Project,
    Recording,
    Status,
    Transcript,
    TranscriptionJob,
    Upload,
)
from jobs.models.audit import Action
from jobs.running import sync
from jobs.timeline import timeline
from jobs.transcripts.exports import FORMATS

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}
SUBMISSION_PARSERS = (JSONParser, FormParser, AudioParser, VideoParser, OctetStreamParser)

NAME = OpenApiParameter(
    "Content-Disposition",
    str,
    OpenApiParameter.HEADER,
    description='For a recording as the body, what it is called: `attachment; filename="call.wav"`.',
)
PREFER = OpenApiParameter(
    "Prefer", str, OpenApiParameter.HEADER, description="RFC 7240: `respond-async`, `wait=SECONDS`."
)
QUERY_FIELDS = [
    OpenApiParameter(name, str, many=name == "tags", description="JSON" * (name in ("metadata", "options")))
    for name in SubmissionSerializer().fields.keys()  # noqa: SIM118
    if name not in ("file", "url", "upload")
]


class JobViewSet(ScopedViewSet):
    needs: ClassVar = {
        "list": READING,
        "create": SUBMITTING,
        "retrieve": READING,
        "partial_update": SUBMITTING,
        "destroy": OPERATING,
        "cancel": SUBMITTING,
        "requeue": OPERATING,
        "attempts": READING,
        "timeline": READING,
        "audio": READING,
        "transcript": READING,
    }
    refuses: ClassVar = {
        "create": (404, 408, 409, 411, 413, 415, 507),
        "partial_update": (409,),
        "cancel": (409,),
        "requeue": (409,),
        "audio": (416,),
        "transcript": (400,),
    }
    lists = ("list", "attempts", "timeline")
    queryset = TranscriptionJob.objects.none()
    serializer_class = JobDetailSerializer
    filterset_class = JobFilter

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        repeated = "Idempotency-Key" in request.headers
        if self.action == "create" and isinstance(request.auth, ApiKey) and not repeated:
            # Before the body is read; exactly, when the job is inserted. What may have been accepted before
            # is told so, however full the key.
            intake.check_room(request.auth)
            quotas.check(request.auth.project)

    def get_queryset(self) -> QuerySet[TranscriptionJob]:
        return self.in_projects(TranscriptionJob.objects.select_related("recording"))

    @extend_schema(responses=JobSerializer(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        """Jobs, the newest first. `transcript`, `position` and `eta` are null here."""
        page: Any = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(JobSerializer(page, many=True).data)

    @extend_schema(
        request={
            "multipart/form-data": SubmissionSerializer,
            "application/json": JSONSubmissionSerializer,
            **dict.fromkeys(("audio/*", "video/*", "application/octet-stream"), OpenApiTypes.BINARY),
        },
        responses={201: JobDetailSerializer, 202: JobSerializer},
        parameters=[NAME, PREFER, idempotency.HEADER, *QUERY_FIELDS],
    )
    def create(self, request: Request) -> HttpResponseBase:
        """Submit a recording: in a form, as the body with the fields in the query, by its upload or its URL.

        201 with the finished job when it ran while you waited, also when the provider rejected it
        (`status: failed`); 202 when it goes on without you. Fields in the query are for a recording as the
        body alone.
        """
        check_not_empty(request)
        submission = SubmissionSerializer(data=request.data)
        submission.is_valid(raise_exception=True)
        given: dict[str, Any] = submission.validated_data
        batch = self._batch_named(given.get("batch"))
        if batch and given.get("project") not in (None, batch.project_id):
            raise ValidationError({"batch": "The batch is another project's."})
        asked = {**(batch.defaults() if batch else {}), **given}
        prefers = parse_prefer(request.headers.get("Prefer", ""))
        key = request.auth if isinstance(request.auth, ApiKey) else None
        project = self.project_to_act_in(asked.get("project"))
        named = idempotency.named_by(request, project, asked)
        if named and (earlier := named.earlier()):
            return self._again(earlier)
        order = intake.Order(
            project=project,
            options=asked["options"],
            mode=asked["mode"],
            region=asked["region"],
            priority=asked["priority"],
            callback_url=asked.get("callback_url", ""),
            metadata=asked.get("metadata", {}),
            tags=asked.get("tags", []),
            deadline=asked.get("deadline"),
            batch=batch,
            user=None if key else request.user,  # type: ignore[arg-type]
            key=key,
            patience=prefers.wait,
            respond_async=prefers.respond_async,
            idempotency=named,
        )
        # Asked before anything is stored.
        intake.first_place_for(order)
        if batch is not None:
            batch.check_open()
        recording = self._recording(project, asked)
        try:
            # A copy: to the other, a thread of this process may write while this one is shown.
            job = copy(intake.submit(order, recording=recording, url=asked.get("url", "")))
        except intake.AlreadyAccepted as error:
            return self._again(error.earlier)
        # It runs in this process then, or has by now.
        waited = job.status != Status.QUEUED
        if waited:
            sync.wait(job, order.waits, through_retries=order.mode == "sync")
        response = self._accepted(_in_hand(job), prefers, waited)
        if named:
            idempotency.remember(named, response)
        return response

    def _recording(self, project: Project, asked: dict[str, Any]) -> Recording | None:
        """What is submitted, kept; None if it is still to be fetched."""
        if "file" in asked:
            return keep(project, asked["file"], options=asked["options"])
        if "upload" in asked:
            usable = Upload.objects.usable().select_related("recording")
            return uploads.finish(get_object_or_404(usable, project=project, pk=asked["upload"]))
        return None

    def _again(self, earlier: IdempotencyKey) -> HttpResponseBase:
        """The answer to a submission that was made before."""
        # While there is none: the job as it is.
        job = cast(TranscriptionJob, earlier.job)
        answer = idempotency.replayed(earlier) or self._accepted(job, Preferences(), waited=False)
        answer["Location"] = self._address(job)
        return answer

    def _address(self, job: TranscriptionJob) -> str:
        return self.request.build_absolute_uri(reverse("job", args=(job.pk,)))

    def _batch_named(self, batch_id: UUID | None) -> Batch | None:
        if batch_id is None:
            return None
        batch = self.in_projects(Batch.objects.shown()).filter(pk=batch_id).first()
        if batch is None:
            raise ValidationError({"batch": "There is no such batch."})
        return batch

    def _accepted(self, job: TranscriptionJob, prefers: Preferences, waited: bool) -> Response:
        headers = {"Location": self._address(job)}
        if prefers.wait is not None and waited:
            headers["Preference-Applied"] = f"wait={prefers.wait}"
        elif prefers.respond_async and not waited:
            headers["Preference-Applied"] = "respond-async"
        if job.is_ended:
            # What was accepted is no error any more, also if the database cannot be asked for the transcript.
            with suppress(OperationalError, InterfaceError):
                return Response(JobDetailSerializer(job).data, status=201, headers=headers)
        return Response(JobSerializer(job).data, status=202, headers=headers)

    @extend_schema(responses=JobDetailSerializer)
    def retrieve(self, request: Request, pk: UUID) -> Response:
        job = self.get_object()
        shown = JobDetailSerializer(job).data
        if shown["transcript"]:
            record_read(Action.TRANSCRIPT_VIEWED, request, job)
        return Response(shown)

    @extend_schema(request=JobChangesSerializer, responses=JobDetailSerializer)
    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Change its metadata or tags, or the priority of one that is queued or waits."""
        job = self.get_object()
        changes = JobChangesSerializer(data=request.data)
        changes.is_valid(raise_exception=True)
        with audited(Action.JOB_CHANGED, request, job, changed=sorted(changes.validated_data)):
            lifecycle.change(job, **changes.validated_data)
        return Response(JobDetailSerializer(job).data)

    def destroy(self, request: Request, pk: UUID) -> Response:
        """Delete the job with its transcripts and history, and its recording if no other job has it."""
        job = self.get_object()
        with audited(Action.JOB_DELETED, request, job):
            delete_job(job)
        return Response(status=204)

    @extend_schema(request=None, responses=JobDetailSerializer)
    def cancel(self, request: Request, pk: UUID) -> Response:
        """End a job that is not over."""
        job = self.get_object()
        with audited(Action.JOB_CANCELLED, request, job):
            lifecycle.cancel(job)
        return Response(JobDetailSerializer(job).data)

    @extend_schema(request=RequeueSerializer, responses={202: JobDetailSerializer})
    def requeue(self, request: Request, pk: UUID) -> Response:
        """Run a job that is over once more, with other options if they are given."""
        job = self.get_object()
        changes = RequeueSerializer(data=request.data)
        changes.is_valid(raise_exception=True)
        with audited(Action.JOB_REQUEUED, request, job):
            lifecycle.requeue(job, changes.validated_data["options"])
        return Response(JobDetailSerializer(job).data, status=202)

    @extend_schema(responses=AttemptSerializer(many=True), filters=False, operation_id="jobs_attempts_list")
    def attempts(self, request: Request, pk: UUID) -> Response:
        """Each time that the job was begun, the oldest first; one that still runs is not among them."""
        pages = OldestFirst()
        page: Any = pages.paginate_queryset(Attempt.objects.filter(job=self.get_object()), request, self)
        return pages.get_paginated_response(AttemptSerializer(page, many=True).data)

    @extend_schema(
        responses=TimelineEntrySerializer(many=True), filters=False, operation_id="jobs_timeline_list"
    )
    def timeline(self, request: Request, pk: UUID) -> Response:
        """What happened to the job, the oldest first, all on one page."""
        entries = [
            {"at": entry["at"], "type": entry["kind"], "run": entry["run"], "ended_at": entry["ended_at"]}
            | {name: None if value == "" else value for name, value in entry["details"].items()}
            for entry in timeline(self.get_object())
        ]
        return Response(one_page(entries))

    @extend_schema(
        responses={(200, "*/*"): OpenApiTypes.BINARY, (206, "*/*"): OpenApiTypes.BINARY},
        parameters=[OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="One range.")],
    )
    def audio(self, request: Request, pk: UUID) -> HttpResponseBase:
        """The recording, as it was submitted."""
        job = self.get_object()
        recording = job.recording
        if recording is None:
            raise NotFound("The job's URL has not been fetched yet.")
        try:
            file = recording_file(recording, request.headers.get("Range"))
        except FileNotFoundError:
            raise NotFound("The recording is not stored any more.") from None
        record_read(Action.AUDIO_FETCHED, request, job)
        return file

    @extend_schema(
        responses={
            (200, "application/json"): TranscriptSerializer,
            (200, "text/plain"): OpenApiTypes.STR,
            (200, "application/x-subrip"): OpenApiTypes.STR,
            (200, "text/vtt"): OpenApiTypes.STR,
        },
        parameters=[
            OpenApiParameter("form", str, OpenApiParameter.PATH, enum=[*FORMATS]),
            OpenApiParameter("version", int, description="The latest, if not given."),
            OpenApiParameter("raw", bool, description="json only: the provider's own bytes."),
        ],
        operation_id="jobs_transcript_retrieve",
    )
    def transcript(self, request: Request, pk: UUID, form: str) -> HttpResponseBase:
        """The transcript as text, subtitles or JSON."""
        if form not in FORMATS:
            raise Http404
        job = self.get_object()
        raw = _BOOLEANS.get(request.query_params.get("raw", "").lower())
        if raw is None:
            raise BadRequest("raw must be true or false.")
        found = self._version(job)
        record_read(Action.TRANSCRIPT_EXPORTED, request, job, format=form)
        if form == "json" and raw:
            return self._answer(found)
        export = FORMATS[form]
        response = HttpResponse(export.write(found), content_type=export.media_type)
        make_harmless(response)
        return response

    def _version(self, job: TranscriptionJob) -> Transcript:
        asked = self.request.query_params.get("version")
        versions = job.transcripts.order_by("-version")
        if asked:
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
            response = HttpResponse(file.read(), content_type="application/json")
        make_harmless(response)
        return response


def _in_hand(job: TranscriptionJob) -> TranscriptionJob:
    """Make showing the job ask the database for nothing, which may be away or have lost it; and return it.

    What could not be read is null.
    """
    for name in job.get_deferred_fields():
        setattr(job, name, None)
    return job
