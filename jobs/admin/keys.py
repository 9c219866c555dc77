"""API keys: the text of one is shown once, right after it was made, and is nowhere to be read again."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from jobs.admin.history import ChangesAlone, SeenByStaff
from jobs.admin.look import Checkboxes, action, display
from jobs.admin.options_form import LinesField
from jobs.audit import audited, record
from jobs.models import ApiKey, Scope
from jobs.models.audit import Action

REVOKES = "Revoke this key for good? Whatever uses it is refused at once."
ASKED_FOR = (
    "project",
    "name",
    "scopes",
    "expires_at",
    "allowed_origins",
    "requests_per_minute",
    "max_open_jobs",
)


class KeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, required=False, widget=Checkboxes, help_text="None ticked means all."
    )
    allowed_origins = LinesField(
        required=False,
        help_text="Origins whose pages may use this key in a browser, one a line: https://app.example.com",
    )

    class Meta:
        model = ApiKey
        fields = ASKED_FOR


@admin.register(ApiKey)
class KeyAdmin(SeenByStaff, ChangesAlone):
    form = KeyForm
    list_display = ("name", "prefix", "project", "state", "created_at", "expires_at", "last_used_at")
    when_empty = "There are no keys yet: whoever is to use the API needs one."
    list_filter = ("project",)
    list_select_related = ("project",)
    search_fields = ("name", "prefix")
    autocomplete_fields = ("project",)
    readonly_fields = ("prefix", "state", "created_by", "created_at", "last_used_at", "revoked_at")
    actions = ("revoke_selected",)
    actions_submit_line = ("revoke_this",)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return (*ASKED_FOR, *self.readonly_fields) if obj else ASKED_FOR

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return (*self.readonly_fields, "project") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A key is revoked, so that what it did stays attributed to it.
        return False

    @display(description="state", label={"usable": "success", "revoked": "danger", "expired": "warning"})
    def state(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        return "usable" if key.is_usable else "expired"

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            # Whoever revokes it by the button of its page sends the form along.
            changes = audited(Action.KEY_CHANGED, request, obj, changed=sorted(form.changed_data))
            with changes if form.changed_data else nullcontext():
                super().save_model(request, obj, form, change)
            return
        asked = {name: getattr(obj, name) for name in ASKED_FOR}
        issued, text = ApiKey.objects.issue(**asked, created_by=request.user)
        record(Action.KEY_ISSUED, request, issued)
        obj.__dict__.update(issued.__dict__)
        # Only for the answer to this request.
        request.issued_key = text  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: Any = None) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"API key {obj.name}",
            "opts": self.opts,
            "key": obj,
            "text": request.issued_key,  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "admin/jobs/issued_key.html", context)

    @action(description="Revoke", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        usable = list(keys.filter(revoked_at=None))
        for key in usable:
            self._revoke(request, key)
        already = keys.count() - len(usable)
        rest = f" {already} had been revoked before." if already else ""
        messages.success(request, f"Revoked: {len(usable)}.{rest}")

    @action(description="Revoke this key", attrs={"data-confirm": REVOKES})
    def revoke_this(self, request: HttpRequest, obj: ApiKey) -> None:
        self._revoke(request, obj)
        messages.success(request, f"{obj} is revoked for good.")

    def _revoke(self, request: HttpRequest, key: ApiKey) -> None:
        with audited(Action.KEY_REVOKED, request, key):
            key.revoke()
        self.log_change(request, key, "Revoked.")
