"""Worker processes, as they last reported themselves."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import BooleanField, Case, QuerySet, When
from django.db.models.functions import Now
from django.http import HttpRequest

from jobs.admin.history import HistoryAdmin
from jobs.admin.look import display
from jobs.admin.wording import span
from jobs.models import WorkerProcess
from jobs.models.worker import ALIVE_FOR


@admin.register(WorkerProcess)
class WorkerAdmin(HistoryAdmin):
    list_display = fields = (
        "labelled",
        "name",
        "all_queues",
        "running",
        "concurrency",
        "started_at",
        "seen_at",
        "clock",
    )
    list_display_links = ("name",)
    when_empty = "No worker has reported itself yet. Jobs are accepted all the same, and wait for one."
    sortable_by = ()
    ordering = ("-seen_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[WorkerProcess]:
        alive = Case(
            When(seen_at__gt=Now() - ALIVE_FOR, then=True), default=False, output_field=BooleanField()
        )
        workers: QuerySet[WorkerProcess] = super().get_queryset(request)
        return workers.annotate(alive=alive)

    @display(description="", label={"alive": "success", "silent": "danger"})
    def labelled(self, worker: WorkerProcess) -> str:
        return "alive" if worker.alive else "silent"  # type: ignore[attr-defined]

    @display(description="queues")
    def all_queues(self, worker: WorkerProcess) -> str:
        return ", ".join(worker.queues)

    @display(description="clock")
    def clock(self, worker: WorkerProcess) -> str:
        ahead = worker.clock_ahead
        if ahead is None:
            return "right"
        seconds = ahead.total_seconds()
        return f"{span(abs(seconds))} {'ahead' if seconds > 0 else 'behind'}: set it"
