"""Webhook secrets: revealed to those who ask for them by a form, and replaced with an overlap."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from jobs.admin.history import SeenByStaff
from jobs.admin.look import display
from jobs.audit import audited, record
from jobs.models.audit import Action
from jobs.models.signing import OVERLAP, Signing
from routing.encryption import SecretUnreadable


class SigningAdmin(SeenByStaff):
    """Of rows that sign webhooks. `signs`: what, for people."""

    signs = ""

    @display(description="webhook secret")
    def secret_link(self, row: Signing) -> str:
        if row._state.adding:
            return "Made when this is saved."
        link = reverse(f"admin:jobs_{self.opts.model_name}_webhook_secret", args=(row.pk,))
        return format_html('<a class="job-link" href="{}">Reveal or rotate it…</a>', link)

    def get_urls(self) -> list[URLPattern]:
        name = f"jobs_{self.opts.model_name}_webhook_secret"
        reveal = self.admin_site.admin_view(self.secret_page)
        return [path("<uuid:pk>/webhook-secret/", reveal, name=name), *super().get_urls()]

    def secret_page(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Asks first; the secret, the new one where it is rotated, is only in the answer to the POST."""
        row: Any = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        if "rotate" in request.POST:
            with audited(Action.SECRET_ROTATED, request, row, overlap_seconds=int(OVERLAP.total_seconds())):
                row.rotate_webhook_secret()
            self.log_change(request, row, "Webhook secret rotated.")
            messages.success(request, "This secret is new. For a day the one before signs as well.")
        secret = ""
        if request.method == "POST":
            try:
                secret = row.webhook_secret
            except SecretUnreadable as error:
                messages.error(request, error.message)
            else:
                self.log_change(request, row, "Webhook secret revealed.")
                record(Action.SECRET_REVEALED, request, row)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Webhook secret of {row}",
            "opts": self.opts,
            "signs": self.signs,
            "back": reverse(f"admin:jobs_{self.opts.model_name}_change", args=(row.pk,)),
            "secret": secret,
        }
        return TemplateResponse(request, "admin/jobs/webhook_secret.html", context)
