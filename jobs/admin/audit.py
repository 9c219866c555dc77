"""The audit log, for reading: nobody adds, changes or deletes here, superusers neither."""

from __future__ import annotations

import json

from django.contrib import admin
from django.utils.html import format_html

from jobs.admin.history import HistoryAdmin
from jobs.admin.look import display
from jobs.models import AuditEntry


@admin.register(AuditEntry)
class AuditAdmin(HistoryAdmin):
    list_display = ("at", "action", "labelled_result", "who", "object", "project", "ip")
    list_display_links = ("action",)
    when_empty = "Nothing has been written down yet: the first sign-in will be."
    list_filter = ("action", "result", "at", "project")
    list_select_related = ("project",)
    search_fields = ("actor", "object_id", "object_name", "ip")
    search_help_text = "Who, what (name or id) or from where"
    sortable_by = ()
    fields = (
        ("at", "action"),
        ("labelled_result", "ip"),
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
        return f"{entry.object_type} {entry.object_name}".strip()

    @display(description="details")
    def told(self, entry: AuditEntry) -> str:
        return format_html('<pre class="job-pre">{}</pre>', json.dumps(entry.details, indent=2))
