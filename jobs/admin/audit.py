"""The audit log, for reading: nobody adds, changes or deletes here, superusers neither."""

from __future__ import annotations

import json

from django.apps import apps
from django.contrib import admin
from django.utils.html import format_html

from jobs.admin.history import HistoryAdmin
from jobs.admin.look import display
from jobs.models import AuditEntry

# What the entries call by the names of models is called so by people.
KINDS = {model._meta.model_name: model._meta.verbose_name for model in apps.get_models()}


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
