"""Batches: how far they are, and what is done to all their jobs at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.shortcuts import get_object_or_404, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from jobs.admin.history import PageAdmin
from jobs.admin.look import display
from jobs.admin.wording import length, stretch
from jobs.audit import audited, record
from jobs.batches import moves
from jobs.batches.completion import seal
from jobs.batches.export import export
from jobs.batches.progress import Tally, tallies_of, tally_of
from jobs.estimates import remaining
from jobs.models import Batch, BatchMove
from jobs.models.audit import Action
from jobs.models.batch import BatchQuerySet
from jobs.transcripts.exports import FORMATS
from routing.addresses import without_query

REFUSED_SHOWN = 100
STATES = {
    "open": "info",
    "working": "primary",
    "finished": "success",
    "partly done": "warning",
    "failed": "danger",
    "cancelled": "default",
    "empty": "default",
}
MOVING = {
    BatchMove.CANCEL: "Its jobs are being cancelled.",
    BatchMove.REQUEUE: "What failed is being requeued.",
    BatchMove.DELETE: "It is being deleted.",
}


@admin.register(Batch)
class BatchAdmin(PageAdmin):
    list_display = ("state", "called", "project", "progress", "jobs", "failed", "refused", "created_at")
    list_display_links = ("called",)
    list_filter = ("created_at", "project")
    list_select_related = ("project",)
    search_fields = ("name",)
    sortable_by = ()
    when_empty = "There are no batches yet: upload with a name for one, or make one over the API."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        return cast(BatchQuerySet, super().get_queryset(request)).shown()

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        found = super().get_changelist_instance(request)
        tallies = tallies_of(found.result_list)
        for batch in found.result_list:
            batch.tally = tallies[batch.pk]
        return found

    # Columns

    @display(description="state", label=STATES)
    def state(self, batch: Any) -> str:
        return state_of(batch, batch.tally)

    @display(description="batch")
    def called(self, batch: Batch) -> str:
        return str(batch)

    @display(description="progress")
    def progress(self, batch: Any) -> str:
        tally: Tally = batch.tally
        if not tally.jobs:
            return ""
        bar = '<progress class="job-progress" max="{}" value="{}"></progress>'
        return format_html(bar, tally.jobs, tally.ended)

    @display(description="jobs")
    def jobs(self, batch: Any) -> int:
        return int(batch.tally.jobs)

    @display(description="failed")
    def failed(self, batch: Any) -> int:
        return int(batch.tally.counts["failed"] + batch.tally.counts["dead"])

    @display(description="refused")
    def refused(self, batch: Any) -> int:
        return int(batch.tally.refused)

    # Pages

    def page(self, request: HttpRequest, batch: Batch) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": str(batch),
            "opts": Batch._meta,
            "may_delete": request.user.is_superuser,
            "refusals": [
                (without_query(item.name), item.message) for item in batch.refused.all()[:REFUSED_SHOWN]
            ],
            **_state(batch),
        }
        return TemplateResponse(request, "admin/jobs/batch.html", context)

    def get_urls(self) -> list[URLPattern]:
        own: list[tuple[str, str, Callable[..., HttpResponseBase]]] = [
            ("state/", "state", state_partial),
            ("export.zip", "export", export_file),
            ("seal/", "seal", partial(self._done, _seal, "Sealed.", Action.BATCH_SEALED)),
            ("cancel/", "cancel", partial(self._done, moves.cancel, "Cancelled.", Action.BATCH_CANCELLED)),
            ("requeue/", "requeue", partial(self._done, moves.requeue, "Requeued.", Action.BATCH_REQUEUED)),
            ("remove/", "remove", partial(self._done, moves.delete, "Deleted.", Action.BATCH_DELETED)),
        ]
        return [
            path(f"<uuid:batch_id>/{route}", self.admin_site.admin_view(view), name=f"jobs_batch_{name}")
            for route, name, view in own
        ] + super().get_urls()

    def _done(
        self,
        move: Callable[..., None],
        told: str,
        action: Action,
        request: HttpRequest,
        batch_id: UUID,
    ) -> HttpResponse:
        """Do this to the batch that is asked for by POST, and go back to its page."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if action == Action.BATCH_DELETED and not request.user.is_superuser:
            raise PermissionDenied
        batch = get_object_or_404(Batch.objects.shown().select_related("project"), pk=batch_id)
        self.log_change(request, batch, told)
        move(batch, audited(action, request, batch))
        messages.success(request, told)
        if action == Action.BATCH_DELETED:
            return HttpResponseRedirect(reverse("admin:jobs_batch_changelist"))
        return HttpResponseRedirect(reverse("admin:jobs_batch_change", args=(batch_id,)))


def _seal(batch: Batch, noted: moves.Noted) -> None:
    with noted:
        seal(batch)


def state_of(batch: Batch, tally: Tally) -> str:
    """How far it is; once it is finished, what came of it."""
    if batch.finished_at is None:
        return "open" if batch.sealed_at is None else "working"
    failed = tally.refused + tally.counts["failed"] + tally.counts["dead"]
    if tally.counts["completed"]:
        return "partly done" if failed or tally.counts["cancelled"] else "finished"
    if failed:
        return "failed"
    return "cancelled" if tally.jobs else "empty"


def state_partial(request: HttpRequest, batch_id: UUID) -> HttpResponse:
    """What changes while the batch is not finished; as jobs.admin.job_page has it."""
    batch = get_object_or_404(Batch.objects.shown().select_related("project"), pk=batch_id)
    response = render(request, "admin/jobs/_batch_state.html", _state(batch))
    response["X-Ended"] = "true" if batch.finished_at and not batch.move else "false"
    return response


def export_file(request: HttpRequest, batch_id: UUID) -> HttpResponseBase:
    batch = get_object_or_404(Batch.objects.shown(), pk=batch_id)
    record(Action.TRANSCRIPT_EXPORTED, request, batch, formats=[*FORMATS])
    return export(batch, [*FORMATS])


def _state(batch: Batch) -> dict[str, Any]:
    tally = tally_of(batch)
    left = remaining(batch, tally)
    state = state_of(batch, tally)
    return {
        "batch": batch,
        "state": state,
        "colour": STATES[state],
        "moving": MOVING.get(BatchMove(batch.move), "") if batch.move else "",
        "tally": tally,
        "counts": [(status, count) for status, count in tally.counts.items() if count],
        "audio": length(tally.seconds),
        "left": stretch(left) if left else "",
    }
