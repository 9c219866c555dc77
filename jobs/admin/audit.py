"""The audit log, for reading and as CSV: nobody adds, changes or deletes here, superusers neither."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

from django.apps import apps
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import content_disposition_header

from jobs.admin.history import HistoryAdmin
from jobs.admin.look import display
from jobs.audio.downloads import make_harmless
from jobs.models import AuditEntry
from jobs.spreadsheets import BYTE_ORDER_MARK, cell

# What the entries call by the names of models is called so by people.
KINDS = {model._meta.model_name: model._meta.verbose_name for model in apps.get_models()}
COLUMNS = (
    "at",
    "action",
    "result",
    "actor",
    "ip",
    "object_type",
    "object_id",
    "object_name",
    "project",
    "details",
)
READ_AT_A_TIME = 500


@admin.register(AuditEntry)
class AuditAdmin(HistoryAdmin):
    list_display = ("at", "action", "labelled_result", "who", "object", "project", "from_where")
    list_display_links = ("action",)
    when_empty = "Nothing has been written down yet: the first sign-in will be."
    list_filter = ("action", "result", "at", "project")
    list_select_related = ("project",)
    search_fields = ("actor", "object_id", "object_name", "ip")
    search_help_text = "Who, what (name or id) or from where"
    sortable_by = ()
    fields = (
        ("at", "action"),
        ("labelled_result", "from_where"),
        ("who", "project"),
        ("object", "object_id"),
        "told",
    )

    @display(description="result", label={"done": "success", "refused": "danger"})
    def labelled_result(self, entry: AuditEntry) -> str:
        return entry.result

    @display(description="who")
    def who(self, entry: AuditEntry) -> str:
        return entry.actor or ("the service" if entry.ip is None else "unknown")

    @display(description="what")
    def object(self, entry: AuditEntry) -> str:
        kind, name = KINDS.get(entry.object_type, entry.object_type), entry.object_name
        return name if name.startswith(f"{kind} ") else f"{kind} {name}".strip()

    @display(description="IP address")
    def from_where(self, entry: AuditEntry) -> str:
        return entry.ip or ""

    @display(description="details")
    def told(self, entry: AuditEntry) -> str:
        return format_html('<pre class="job-pre">{}</pre>', json.dumps(entry.details, indent=2))

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self._export)
        return [path("export.csv", export, name="jobs_auditentry_export"), *super().get_urls()]

    def _export(self, request: HttpRequest) -> StreamingHttpResponse:
        """What the list shows with this search and these filters, all of it, the newest first."""
        entries = self.get_changelist_instance(request).get_queryset(request)
        response = StreamingHttpResponse(_lines(entries), content_type="text/csv; charset=utf-8")
        named = f"audit-{timezone.now():%Y%m%d-%H%M%S}.csv"
        response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=named)
        make_harmless(response)
        return response


def _lines(entries: QuerySet[AuditEntry]) -> Iterator[str]:
    written = io.StringIO(BYTE_ORDER_MARK)
    written.seek(0, io.SEEK_END)
    write = csv.writer(written).writerow
    write(COLUMNS)
    entries = entries.select_related("project").order_by("-pk")
    page = list(entries[:READ_AT_A_TIME])
    while page:
        for entry in page:
            write(map(cell, _row(entry)))
        yield written.getvalue()
        written.seek(0)
        written.truncate()
        page = list(entries.filter(pk__lt=page[-1].pk)[:READ_AT_A_TIME])
    yield written.getvalue()


def _row(entry: AuditEntry) -> tuple[str, ...]:
    return (
        entry.at.isoformat(),
        entry.action,
        entry.result,
        entry.actor,
        entry.ip or "",
        entry.object_type,
        entry.object_id,
        entry.object_name,
        str(entry.project or entry.project_id or ""),
        json.dumps(entry.details, ensure_ascii=False) if entry.details else "",
    )
