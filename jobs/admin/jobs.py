"""Jobs: the list with its filters and bulk actions, and where the pages beside it are found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from jobs import lifecycle
from jobs.admin import dashboard, downloads, job_page
from jobs.admin.history import HistoryAdmin
from jobs.admin.look import action, display
from jobs.admin.upload import upload_page
from jobs.admin.wording import STATUS_COLOURS, error_in_words, length, span, until
from jobs.deletion import delete_job
from jobs.models import InvalidTransition, Status, TranscriptionJob, WorkerProcess
from routing.regions import UnknownRegion, all_regions

# A request should end, and one that moves a thousand jobs takes seconds.
BULK_LIMIT = 1000
NAMED_AT_MOST = 5


class RegionFilter(admin.SimpleListFilter):
    """Not the column's distinct values, which would be looked for in all rows."""

    title = "region"
    parameter_name = "region"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in all_regions()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(region=self.value()) if self.value() else queryset


@admin.register(TranscriptionJob)
class JobAdmin(HistoryAdmin):
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
        "created_at",
        "project",
    )
    list_fullwidth = True
    list_select_related = ("project", "recording")
    list_before_template = "admin/jobs/_unserved.html"
    search_fields = ("recording__filename", "url", "error_code")
    search_help_text = "File name, URL, id or error code"
    sortable_by = ("created",)
    actions = ("requeue_selected", "cancel_selected", "export_selected")

    # Columns

    @display(description="status", label=STATUS_COLOURS)
    def labelled_status(self, job: TranscriptionJob) -> str:
        return job.status

    @display(description="recording")
    def name(self, job: TranscriptionJob) -> str:
        return str(job)

    @display(description="audio")
    def audio(self, job: TranscriptionJob) -> str:
        return length(job.duration)

    @display(description="why")
    def waiting_for(self, job: TranscriptionJob) -> str:
        if not job.error_code:
            return ""
        reason = error_in_words(job.error_code)
        if job.status == Status.WAITING and job.run_at:
            return f"{reason} (again {until((job.run_at - timezone.now()).total_seconds())})"
        return reason

    @display(description="created", ordering="id")
    def created(self, job: TranscriptionJob) -> str:
        return f"{job.created_at:%Y-%m-%d %H:%M}"

    @display(description="took")
    def took(self, job: TranscriptionJob) -> str:
        if job.started_at is None or job.finished_at is None:
            return ""
        return span((job.finished_at - job.started_at).total_seconds())

    # What is found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        try:
            return queryset.filter(pk=UUID(search_term.strip())), False
        except ValueError:
            found, may_repeat = super().get_search_results(request, queryset, search_term)
            return found, may_repeat

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        backlogged = TranscriptionJob.objects.filter(status__in=(Status.QUEUED, Status.WAITING))
        queues = backlogged.order_by().values_list("queue", flat=True).distinct()
        unserved = dashboard.unserved(queues, WorkerProcess.objects.alive())
        return super().changelist_view(request, {"unserved": unserved} | (extra_context or {}))

    # Bulk actions

    @action(description="Requeue")
    def requeue_selected(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> None:
        self._move_each(request, jobs, lifecycle.requeue, "requeued", "only what has ended can be requeued")

    @action(description="Cancel")
    def cancel_selected(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> None:
        self._move_each(
            request, jobs, lifecycle.cancel, "cancelled", "only what has not ended can be cancelled"
        )

    @action(description="Export transcripts (ZIP of txt, srt, vtt, json)")
    def export_selected(
        self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]
    ) -> HttpResponseBase | None:
        chosen = self._chosen(request, jobs)
        file, included, without = downloads.archive(chosen)
        if without:
            messages.warning(
                request,
                f"{_jobs(len(without))} not exported, having no transcript: "
                + _named(without, lambda job: f"{job} ({job.status})"),
            )
        if not included:
            file.close()
            return None
        messages.success(request, f"{_jobs(len(included))} exported.")
        return downloads.archive_file(file)

    def _chosen(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> list[TranscriptionJob]:
        chosen = list(jobs.select_related("project", "recording")[: BULK_LIMIT + 1])
        if len(chosen) > BULK_LIMIT:
            messages.warning(request, f"Only the first {BULK_LIMIT} were taken; do it again for the rest.")
        return chosen[:BULK_LIMIT]

    def _move_each(
        self,
        request: HttpRequest,
        jobs: QuerySet[TranscriptionJob],
        move: Callable[[TranscriptionJob], None],
        done: str,
        rule: str,
    ) -> None:
        moved, refused = 0, []
        for job in self._chosen(request, jobs):
            try:
                move(job)
            except InvalidTransition:
                refused.append((job, f"{job.status}: {rule}"))
            except UnknownRegion:
                refused.append((job, f"its region {job.region} is gone: upload it again"))
            else:
                self.log_change(request, job, done.capitalize())
                moved += 1
        if moved:
            messages.success(request, f"{_jobs(moved)} {done}.")
        if refused:
            why = _named(refused, lambda pair: f"{pair[0]} ({pair[1]})")
            messages.warning(request, f"{_jobs(len(refused))} not {done}: {why}")

    # Deletion, by superusers alone: it takes the stored files along

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        along = "its transcripts, attempts, deliveries and stored files"
        return [f"{job}, with {along}" for job in objs], {"jobs": len(objs)}, set(), []

    def delete_model(self, request: HttpRequest, obj: TranscriptionJob) -> None:
        delete_job(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[TranscriptionJob]) -> None:
        for job in queryset:
            delete_job(job)

    # Pages

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        job = job_page.find(object_id)
        if job is None:
            messages.error(request, f"There is no job {object_id} (any more).")
            return HttpResponseRedirect(reverse("admin:jobs_transcriptionjob_changelist"))
        return job_page.job_page(self, request, job)

    def get_urls(self) -> list[URLPattern]:
        own: list[tuple[str, str, Callable[..., HttpResponseBase]]] = [
            ("dashboard/", "dashboard", dashboard.dashboard_partial),
            ("upload/", "upload", partial(upload_page, self)),
            ("<uuid:job_id>/state/", "state", job_page.state_partial),
            ("<uuid:job_id>/requeue/", "requeue", partial(job_page.requeue_page, self)),
            ("<uuid:job_id>/cancel/", "cancel", partial(job_page.cancel, self)),
            ("<uuid:job_id>/audio/", "audio", partial(job_page.audio, self)),
            ("<uuid:job_id>/transcript.<str:extension>", "transcript", job_page.transcript),
        ]
        return [
            path(route, self.admin_site.admin_view(view), name=f"jobs_transcriptionjob_{name}")
            for route, name, view in own
        ] + super().get_urls()

    def page_of(self, job: TranscriptionJob) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:jobs_transcriptionjob_change", args=(job.pk,)))


def _jobs(count: int) -> str:
    return "1 job was" if count == 1 else f"{count} jobs were"


def _named(items: list[Any], name: Callable[[Any], str]) -> str:
    rest = len(items) - NAMED_AT_MOST
    return "; ".join(map(name, items[:NAMED_AT_MOST])) + (f"; and {rest} more." if rest > 0 else ".")
