"""Jobs: the list with its filters and bulk actions, and where the pages beside it are found."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected as ask_and_delete
from django.db.models import Case, QuerySet, When
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format

from jobs import lifecycle
from jobs.admin import desk, downloads, job_page
from jobs.admin.history import HistoryAdmin
from jobs.admin.look import action, display
from jobs.admin.upload import begin_batch, upload_page
from jobs.admin.wording import STATUS_COLOURS, length, reason, title, took, until
from jobs.audit import audited, record_read
from jobs.backlog import unserved
from jobs.forgetting.deletion import delete_job
from jobs.models import Batch, InvalidTransition, Status, TranscriptionJob, WorkerProcess
from jobs.models.audit import Action
from jobs.models.state import ENDED, OPEN
from jobs.quotas import QuotaExceeded
from routing.regions import UnknownRegion, all_regions

# A request should end, and one that moves two thousand jobs takes seconds.
BULK_LIMIT = 2000
# Writing the subtitles of one that lasts four minutes takes 18 ms.
EXPORT_LIMIT = 1000
# Each is a field of the form that asks whether to delete them, of which Django takes a thousand.
DELETE_LIMIT = 500
NAMED_AT_MOST = 5


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
        BatchFilter,
        "created_at",
        "project",
    )
    list_fullwidth = True
    list_select_related = ("project", "recording")
    list_before_template = "admin/jobs/_unserved.html"
    search_fields = ("recording__filename", "url", "error_code")
    search_help_text = "File name, URL, id or error code"
    sortable_by = ("created",)
    when_empty = "There are no jobs yet: upload a recording, or submit one over the API."
    actions = ("requeue_selected", "cancel_selected", "export_selected", "delete_selected")

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
        alone = unserved(queues, WorkerProcess.objects.alive())
        return super().changelist_view(request, {"unserved": alone} | (extra_context or {}))

    # Bulk actions

    @action(description="Requeue")
    def requeue_selected(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> None:
        rule = "only what has ended can be requeued"
        self._move_each(request, jobs, lifecycle.requeue, ENDED, Action.JOB_REQUEUED, "requeued", rule)

    @action(description="Cancel")
    def cancel_selected(self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]) -> None:
        rule = "only what has not ended can be cancelled"
        self._move_each(request, jobs, lifecycle.cancel, OPEN, Action.JOB_CANCELLED, "cancelled", rule)

    @action(description="Export transcripts (ZIP of txt, srt, vtt, json)")
    def export_selected(
        self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]
    ) -> HttpResponseBase | None:
        chosen = self._chosen(request, jobs, "filter the list for the rest", EXPORT_LIMIT)
        file, included, without = downloads.archive(chosen)
        if without:
            messages.warning(
                request,
                f"{_jobs(len(without))} not exported, having no transcript: "
                + _named(without, lambda job: f"{title(job)} ({job.status})"),
            )
        if not included:
            file.close()
            return None
        for job in included:
            record_read(Action.TRANSCRIPT_EXPORTED, request, job, format="zip")
        messages.success(request, f"{_jobs(len(included))} exported.")
        return downloads.archive_file(file)

    def _chosen(
        self, request: HttpRequest, jobs: QuerySet[TranscriptionJob], rest: str, limit: int
    ) -> list[TranscriptionJob]:
        chosen = list(jobs.select_related("project", "recording")[: limit + 1])
        if len(chosen) > limit:
            messages.warning(request, f"Only the first {limit} were taken; {rest}.")
        return chosen[:limit]

    def _move_each(
        self,
        request: HttpRequest,
        jobs: QuerySet[TranscriptionJob],
        move: Callable[[TranscriptionJob], None],
        possible: Collection[Status],
        as_action: Action,
        done: str,
        rule: str,
    ) -> None:
        # What can be moved goes first, so that doing it again to the same list goes on where this stops.
        last = Case(When(status__in=possible, then=0), default=1)
        moved, refused = 0, []
        for job in self._chosen(request, jobs.order_by(last, "-id"), "do it again for the rest", BULK_LIMIT):
            try:
                with audited(as_action, request, job):
                    move(job)
            except InvalidTransition:
                refused.append((job, f"{job.status}: {rule}"))
            except QuotaExceeded:
                refused.append((job, "too little is left of its project's quota for today"))
            except UnknownRegion:
                refused.append((job, f"its region {job.region} is gone: upload it again"))
            else:
                self.log_change(request, job, done.capitalize())
                moved += 1
        if moved:
            messages.success(request, f"{_jobs(moved)} {done}.")
        if refused:
            why = _named(refused, lambda pair: f"{title(pair[0])} ({pair[1]})")
            messages.warning(request, f"{_jobs(len(refused))} not {done}: {why}")

    # Deletion, by superusers alone: it takes the stored files along

    @action(description="Delete…", permissions=["delete"])
    def delete_selected(
        self, request: HttpRequest, jobs: QuerySet[TranscriptionJob]
    ) -> HttpResponseBase | None:
        chosen = self._chosen(request, jobs, "do it again for the rest", DELETE_LIMIT)
        ids = [job.pk for job in chosen]
        return ask_and_delete(self, request, self.get_queryset(request).filter(pk__in=ids))

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
        for job in queryset.select_related("recording"):
            self.delete_model(request, job)

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
            ("upload/", "upload", partial(upload_page, self)),
            ("upload/batch/", "upload_batch", partial(begin_batch, self)),
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


def _jobs(count: int) -> str:
    return "1 job was" if count == 1 else f"{count} jobs were"


def _named(items: list[Any], name: Callable[[Any], str]) -> str:
    rest = len(items) - NAMED_AT_MOST
    return "; ".join(map(name, items[:NAMED_AT_MOST])) + (f"; and {rest} more." if rest > 0 else ".")
