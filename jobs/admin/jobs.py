"""Jobs: the list with its filters and bulk actions, and where the pages beside it are found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected as ask_and_delete
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.loader import get_template
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import escape

from jobs.admin import bulk, desk, downloads, job_page
from jobs.admin.history import PageAdmin
from jobs.admin.look import action, display
from jobs.admin.upload import begin_batch, upload_page
from jobs.admin.wording import STATUS_COLOURS, length, reason, title, took, until
from jobs.audit import audited, record_read
from jobs.backlog import unserved
from jobs.forgetting.deletion import delete_job
from jobs.models import Batch, Status, TranscriptionJob, WorkerProcess
from jobs.models.audit import Action
from jobs.search import found
from routing.regions import all_regions

# Each is a field of the form that asks whether to delete them, of which Django takes a thousand.
DELETE_LIMIT = 500
# States of that many rows are asked for at once: no list shows more.
ROWS_AT_MOST = 100


class RegionFilter(admin.SimpleListFilter):
    """Not the column's distinct values, which would be looked for in all rows."""

    title = "region"
    parameter_name = "region"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in all_regions()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(region=self.value()) if self.value() else queryset


class BatchFilter(admin.SimpleListFilter):
    """The batch whose page led here; all of them would be too many to choose from."""

    title = "batch"
    parameter_name = "batch"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = _id_in(request.GET.get(self.parameter_name))
        return [(str(batch.pk), str(batch)) for batch in Batch.objects.filter(pk=chosen)] if chosen else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(batch=_id_in(self.value())) if self.value() else queryset


def _id_in(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None


@admin.register(TranscriptionJob)
class JobAdmin(PageAdmin):
    list_display = (
        "labelled_status",
        "name",
        "project",
        "mode",
        "region",
        "audio",
        "attempts",
        "waiting_for",
        "created",
        "took",
    )
    list_display_links = ("name",)
    list_filter = (
        "status",
        "mode",
        RegionFilter,
        "priority",
        BatchFilter,
        "created_at",
        "project",
    )
    list_tabs = "status"
    list_fullwidth = True
    list_select_related = ("project", "recording")
    list_before_template = "admin/jobs/_unserved.html"
    # What makes django show the field; what is looked for where is get_search_results's.
    search_fields = ("id",)
    search_help_text = "What was said, file name, URL, id or error code"
    sortable_by = ("created",)
    when_empty = "There are no jobs yet: upload a recording, or submit one over the API."
    actions = (
        "requeue_selected",
        "cancel_selected",
        "prioritise_high",
        "prioritise_normal",
        "prioritise_low",
        "export_selected",
        "delete_selected",
    )

    # Columns

    @display(description="status", label=STATUS_COLOURS)
    def labelled_status(self, job: TranscriptionJob) -> str:
        return job.status

    @display(description="recording")
    def name(self, job: TranscriptionJob) -> str:
        return title(job)

    @display(description="audio")
    def audio(self, job: TranscriptionJob) -> str:
        return length(job.duration)

    @display(description="why")
    def waiting_for(self, job: TranscriptionJob) -> str:
        why = reason(job)
        if why and job.status == Status.WAITING and job.run_at:
            return f"{why} (again {until((job.run_at - timezone.now()).total_seconds())})"
        return why

    @display(description="created", ordering="id")
    def created(self, job: TranscriptionJob) -> datetime:
        return job.created_at

    @display(description="took")
    def took(self, job: TranscriptionJob) -> str:
        return took(job)

    # What is found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return (queryset.filter(found(search_term)) if search_term.strip() else queryset), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        backlogged = TranscriptionJob.objects.filter(status__in=(Status.QUEUED, Status.WAITING))
        queues = backlogged.order_by().values_list("queue", flat=True).distinct()
        alone = unserved(queues, WorkerProcess.objects.alive())
        return super().changelist_view(request, {"unserved": alone} | (extra_context or {}))

    # Bulk actions

    @action(description="Requeue")
    def requeue_selected(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> Any:
        return self._move(request, jobs, "requeue")

    @action(description="Cancel")
    def cancel_selected(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> Any:
        return self._move(request, jobs, "cancel")

    @action(description="Priority: high")
    def prioritise_high(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> Any:
        return self._move(request, jobs, "prioritise_high")

    @action(description="Priority: normal")
    def prioritise_normal(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> Any:
        return self._move(request, jobs, "prioritise_normal")

    @action(description="Priority: low")
    def prioritise_low(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> Any:
        return self._move(request, jobs, "prioritise_low")

    def _move(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob], name: str) -> HttpResponse | None:
        """Those that are ticked at once; all that match only after it was shown how many they are."""
        if _across(request):
            return bulk.preview(self, request, jobs, name)
        chosen = jobs.select_related("project", "recording").order_by("-id")
        bulk.move_each(self, request, chosen, bulk.MOVES[name]).tell(request, bulk.MOVES[name])
        return None

    @action(description="Export transcripts (ZIP of txt, srt, vtt, json)")
    def export_selected(
        self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]
    ) -> HttpResponseBase | None:
        if _across(request):
            return bulk.preview(self, request, jobs, "export")
        chosen = jobs.select_related("project", "recording")
        file, included, without = downloads.archive(chosen)
        if without:
            messages.warning(
                request,
                f"{bulk.jobs_were(len(without))} not exported, having no transcript: "
                + bulk.named(without, lambda job: f"{title(job)} ({job.status})"),
            )
        if not included:
            file.close()
            return None
        for job in included:
            record_read(Action.TRANSCRIPT_EXPORTED, request, job, format="zip")
        messages.success(request, f"{bulk.jobs_were(len(included))} exported.")
        return downloads.archive_file(file)

    # Deletion, by superusers alone: it takes the stored files along

    @action(description="Delete…", permissions=["delete"])
    def delete_selected(
        self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]
    ) -> HttpResponseBase | None:
        ids = list(jobs.values_list("pk", flat=True)[: DELETE_LIMIT + 1])
        if len(ids) > DELETE_LIMIT:
            messages.warning(request, f"Only the first {DELETE_LIMIT} were taken; do it again for the rest.")
        some = self.get_queryset(request).filter(pk__in=ids[:DELETE_LIMIT])
        return ask_and_delete(self, request, some.select_related("recording"))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        named = [
            f"{title(job)}, of {date_format(job.created_at, 'DATETIME_FORMAT')}, {job.status}, id {job.pk}"
            for job in objs
        ]
        along = "With each go its transcripts, attempts, deliveries and stored files."
        return [*named, along], {"jobs": len(objs)}, set(), []

    def delete_model(self, request: HttpRequest, obj: TranscriptionJob) -> None:
        with audited(Action.JOB_DELETED, request, obj):
            delete_job(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[TranscriptionJob]) -> None:
        for job in queryset:
            self.delete_model(request, job)

    # Pages

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> TranscriptionJob | None:
        return job_page.find(object_id)

    def page(self, request: HttpRequest, job: TranscriptionJob) -> HttpResponse:
        return job_page.job_page(self, request, job)

    def _states(self, request: HttpRequest) -> JsonResponse:
        """How those jobs stand now that a list shows: the cells that change, by id (static/jobs/list.js)."""
        ids = [pk for pk in map(_id_in, request.GET.getlist("id")[:ROWS_AT_MOST]) if pk]
        label = get_template("unfold/helpers/label.html")
        return JsonResponse(
            {
                str(job.pk): {
                    "ended": job.is_ended,
                    "labelled_status": label.render({"type": STATUS_COLOURS[job.status], "text": job.status}),
                    "waiting_for": escape(self.waiting_for(job)),
                    "attempts": str(job.attempts),
                    "took": took(job),
                }
                for job in self.get_queryset(request).filter(pk__in=ids)
            }
        )

    def get_urls(self) -> list[URLPattern]:
        own: list[tuple[str, str, Callable[..., HttpResponseBase]]] = [
            ("upload/", "upload", partial(upload_page, self)),
            ("upload/batch/", "upload_batch", partial(begin_batch, self)),
            ("states/", "states", self._states),
            ("bulk/export/", "bulk_export", partial(bulk.export, self)),
            ("bulk/<str:name>/", "bulk", partial(bulk.step, self)),
            ("<uuid:job_id>/state/", "state", job_page.state_partial),
            ("<uuid:job_id>/requeue/", "requeue", partial(job_page.requeue_page, self)),
            ("<uuid:job_id>/cancel/", "cancel", partial(job_page.cancel, self)),
            ("<uuid:job_id>/audio/", "audio", partial(job_page.audio, self)),
            ("<uuid:job_id>/transcript.<str:extension>", "transcript", job_page.transcript),
        ]
        mine = [
            path(route, self.admin_site.admin_view(view), name=f"jobs_transcriptionjob_{name}")
            for route, name, view in own
        ]
        return [*mine, *desk.routes(self), *super().get_urls()]

    def page_of(self, job: TranscriptionJob) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:jobs_transcriptionjob_change", args=(job.pk,)))


def _across(request: HttpRequest) -> bool:
    """Whether all that match are meant, and not only those that are ticked."""
    return request.POST.get("select_across") == "1"
