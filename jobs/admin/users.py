"""Django's users and groups, in the look of the rest, and in the audit log."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

from jobs.admin.look import GroupAdmin, ModelAdmin, UserAdmin
from jobs.audit import record
from jobs.models.audit import Action

admin.site.unregister(User)
admin.site.unregister(Group)


class Audited(ModelAdmin):
    """Writes its entry where Django writes into its own log: passwords have pages of their own."""

    added: Action
    changed: Action
    deleted: Action

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        record(self.added, request, obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        fields = [name for part in message for name in part.get("changed", {}).get("fields", ())]
        record(self.changed, request, obj, changed=sorted(map(str, fields)))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            record(self.deleted, request, obj)
        return super().log_deletions(request, queryset)


@admin.register(User)
class AuditedUserAdmin(Audited, UserAdmin):
    added, changed, deleted = Action.USER_CREATED, Action.USER_CHANGED, Action.USER_DELETED


@admin.register(Group)
class AuditedGroupAdmin(Audited, GroupAdmin):
    added, changed, deleted = Action.GROUP_CREATED, Action.GROUP_CHANGED, Action.GROUP_DELETED
