"""Batches: made, followed, sealed, moved as a whole, exported and deleted; and estimates beforehand."""

from __future__ import annotations

from typing import Any, ClassVar, cast
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.urls import reverse
from django.utils.datastructures import MultiValueDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import intake
from jobs.api import idempotency
from jobs.api.batches import (
    BatchSerializer,
    EstimateRequestSerializer,
    EstimateSerializer,
    NewBatchOfURLsSerializer,
    NewBatchSerializer,
    RefusedItemSerializer,
    cost_as_json,
    span_as_json,
)
from jobs.api.pagination import OldestFirst
from jobs.api.parsers import FormParser, ListsParser
from jobs.api.permissions import OPERATING, READING, SUBMITTING
from jobs.api.views.scoped import PROJECT, ScopedViewSet
from jobs.audit import audited, record
from jobs.batches import making, moves
from jobs.batches.completion import seal
from jobs.batches.export import export
from jobs.batches.progress import tallies_of
from jobs.estimates import estimate, remaining
from jobs.models import ApiKey, Batch, IdempotencyKey, RefusedItem
from jobs.models.audit import Action
from jobs.transcripts.exports import FORMATS

BATCH_PARSERS = (ListsParser, FormParser)


class BatchViewSet(ScopedViewSet):
    needs: ClassVar = {
        "list": READING,
        "create": SUBMITTING,
        "retrieve": READING,
        "destroy": OPERATING,
        "seal": SUBMITTING,
        "cancel": SUBMITTING,
        "requeue": OPERATING,
        "refused": READING,
        "export": READING,
    }
    refuses: ClassVar = {
        "create": (404, 408, 409, 411, 413, 415, 507),
        "export": (400,),
    }
    lists = ("list", "refused")
    queryset = Batch.objects.none()
    serializer_class = BatchSerializer

    def get_queryset(self) -> QuerySet[Batch]:
        return self.in_projects(Batch.objects.shown().select_related("project"))

    @extend_schema(responses=BatchSerializer(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        """Batches, the newest first. `remaining` is null here."""
        page: Any = self.paginate_queryset(self.get_queryset())
        tallies = tallies_of(page)
        shown = BatchSerializer(page, many=True, context={"tallies": tallies})
        return self.get_paginated_response(shown.data)

    @extend_schema(
        request={"multipart/form-data": NewBatchSerializer, "application/json": NewBatchOfURLsSerializer},
        responses={202: BatchSerializer},
        parameters=[idempotency.HEADER],
    )
    def create(self, request: Request) -> HttpResponseBase:
        """Make a batch: of URLs (JSON), of files or of an archive (a form), or empty, for jobs to come.

        Each file or URL is taken or refused by itself; `refused/` tells which and why. An archive is opened
        later, by a worker. What comes with the batch goes through the queue, whatever its `mode`.
        """
        is_form = isinstance(request.data, MultiValueDict)
        wanted = (NewBatchSerializer if is_form else NewBatchOfURLsSerializer)(data=request.data)
        wanted.is_valid(raise_exception=True)
        asked: dict[str, Any] = wanted.validated_data
        key = request.auth if isinstance(request.auth, ApiKey) else None
        project = self.project_to_act_in(asked.get("project"))
        named = idempotency.named_by(request, project, {"of": "batch", **asked})
        if named and (earlier := named.earlier()):
            return self._again(earlier)
        batch = Batch(
            project=project,
            created_by=None if key else request.user,  # type: ignore[misc]
            key=key,
            name=asked.get("name", ""),
            metadata=asked.get("metadata", {}),
            callback_url=asked.get("callback_url", ""),
            options=asked["options"],
            mode=asked["mode"],
            region=asked["region"],
            priority=asked["priority"],
        )
        try:
            _make(batch, asked, named)
        except intake.AlreadyAccepted as error:
            return self._again(error.earlier)
        response = self._accepted(batch)
        if named:
            idempotency.remember(named, response)
        return response

    def _again(self, earlier: IdempotencyKey) -> HttpResponseBase:
        """The answer to a batch that was made before."""
        batch = cast(Batch, earlier.batch)
        answer = idempotency.replayed(earlier) or self._accepted(batch)
        answer["Location"] = self._address(batch)
        return answer

    def _accepted(self, batch: Batch) -> Response:
        response = self._shown(batch, 202)
        response["Location"] = self._address(batch)
        return response

    def _address(self, batch: Batch) -> str:
        return self.request.build_absolute_uri(reverse("batch", args=(batch.pk,)))

    def retrieve(self, request: Request, pk: UUID) -> Response:
        """A batch: its jobs by status, how far it is, how long the rest should take, and what it costs.

        Its jobs are at `jobs/?batch=`.
        """
        return self._shown(self.get_object())

    def destroy(self, request: Request, pk: UUID) -> Response:
        """Delete a batch with all its jobs, open ones too, and what is stored of them. Many take a while."""
        batch = self.get_object()
        moves.delete(batch, audited(Action.BATCH_DELETED, request, batch))
        return Response(status=204)

    @extend_schema(request=None)
    def seal(self, request: Request, pk: UUID) -> Response:
        """Take no more jobs: the batch is finished, which is told, once none of its jobs is open."""
        batch = self.get_object()
        with audited(Action.BATCH_SEALED, request, batch):
            seal(batch)
        return self._shown(batch)

    @extend_schema(request=None, responses={202: BatchSerializer})
    def cancel(self, request: Request, pk: UUID) -> Response:
        """Cancel all of its jobs that are open, and seal it. `moving` is null once that is done."""
        batch = self.get_object()
        moves.cancel(batch, audited(Action.BATCH_CANCELLED, request, batch))
        return self._shown(batch, 202)

    @extend_schema(request=None, responses={202: BatchSerializer})
    def requeue(self, request: Request, pk: UUID) -> Response:
        """Run those of its jobs once more that failed or are dead. `moving` is null once all are queued."""
        batch = self.get_object()
        moves.requeue(batch, audited(Action.BATCH_REQUEUED, request, batch))
        return self._shown(batch, 202)

    @extend_schema(
        responses=RefusedItemSerializer(many=True), filters=False, operation_id="batches_refused_list"
    )
    def refused(self, request: Request, pk: UUID) -> Response:
        """What was sent with the batch and became no job, in the order in which it was come to."""
        pages = OldestFirst()
        page: Any = pages.paginate_queryset(
            RefusedItem.objects.filter(batch=self.get_object()), request, self
        )
        return pages.get_paginated_response(RefusedItemSerializer(page, many=True).data)

    @extend_schema(
        responses={(200, "application/zip"): OpenApiTypes.BINARY},
        parameters=[
            OpenApiParameter("format", str, many=True, enum=[*FORMATS], description="All, if none is given.")
        ],
    )
    def export(self, request: Request, pk: UUID) -> HttpResponseBase:
        """The transcripts of its completed jobs in one ZIP, with a manifest.csv of all its jobs."""
        asked = ",".join(request.query_params.getlist("format"))
        formats = list(dict.fromkeys(name for name in asked.split(",") if name)) or [*FORMATS]
        if unknown := sorted(set(formats) - set(FORMATS)):
            known = ", ".join(FORMATS)
            raise ValidationError({"format": f"There is no format {unknown[0][:20]}; there are {known}."})
        batch = self.get_object()
        record(Action.TRANSCRIPT_EXPORTED, request, batch, formats=formats)
        return export(batch, formats)

    def _shown(self, batch: Batch, status: int = 200) -> Response:
        batch.refresh_from_db()
        tallies = tallies_of([batch])
        left = remaining(batch, tallies[batch.pk])
        shown = BatchSerializer(batch, context={"tallies": tallies, "remaining": left})
        return Response(shown.data, status=status)


def _make(batch: Batch, asked: dict[str, Any], named: IdempotencyKey | None) -> None:
    sealed: bool = asked["sealed"]
    if "archive" in asked:
        making.make_of_archive(batch, asked["archive"], sealed=sealed, named=named)
    elif "files" in asked:
        making.make_of_files(batch, asked["files"], sealed=sealed, named=named)
    else:
        remotes, bad = asked.get("urls", ([], []))
        refused = [making.refused_url(batch, url, message) for url, message in bad]
        making.make_of_urls(batch, remotes, refused, sealed=sealed, named=named)


class EstimateViewSet(ScopedViewSet):
    needs: ClassVar = {"create": READING}
    refuses: ClassVar = {"create": (404,)}
    queryset = Batch.objects.none()
    serializer_class = EstimateSerializer

    @extend_schema(request=EstimateRequestSerializer, responses={200: EstimateSerializer})
    def create(self, request: Request) -> Response:
        """What recordings of these lengths would take, in which mode, and what they would cost."""
        wanted = EstimateRequestSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        asked: dict[str, Any] = wanted.validated_data
        order = intake.Order(
            project=self.project_to_act_in(asked.get("project")),
            options=asked["options"],
            mode=asked["mode"],
            region=asked["region"],
            priority=asked["priority"],
        )
        found = estimate(order, asked["durations"])
        return Response(
            {
                "jobs": found.jobs,
                "seconds": found.seconds,
                "modes": found.modes,
                "region": found.region,
                "remaining": span_as_json(found.remaining),
                "cost": cost_as_json(found.cost),
            }
        )
