"""Erasing what somebody has in a project: asked for after what goes was told, and reported."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from jobs.admin.history import HistoryAdmin
from jobs.admin.look import Choices, Line, Switch, display
from jobs.forgetting import erasure
from jobs.forgetting.erasure import in_words
from jobs.models import Erasure, Project, Subject


class ErasureForm(forms.ModelForm):  # type: ignore[type-arg]
    project = forms.ModelChoiceField(Project.objects.existing(), widget=Choices)
    subject = forms.ChoiceField(
        label="What is of a",
        choices=[choice for choice in Subject.choices if choice[0] != Subject.PROJECT],
        widget=Choices,
    )
    whose = forms.CharField(
        widget=Line, help_text="A username, a key's id, a tag, or name=value of metadata."
    )
    confirmed = forms.BooleanField(
        label="Erase it for good", required=False, widget=Switch, help_text="After what goes was told."
    )

    class Meta:
        model = Erasure
        fields = ("project", "subject")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        try:
            cleaned["value"] = erasure.value_of(cleaned["project"], cleaned["subject"], cleaned["whose"])
        except erasure.UnknownSubject as error:
            self.add_error("whose", str(error))
            return cleaned
        if not cleaned["confirmed"]:
            asked = Erasure(project=cleaned["project"], subject=cleaned["subject"], value=cleaned["value"])
            told = in_words(erasure.found(asked))
            self.add_error("confirmed", f"There are now: {told}. Tick this if all that is to go.")
        return cleaned


@admin.register(Erasure)
class ErasureAdmin(HistoryAdmin):
    """Superusers ask for one; staff see the reports."""

    form = ErasureForm
    list_display = ("requested_at", "subject", "of_project", "requested_by", "finished_at", "counts")
    list_filter = ("subject",)
    when_empty = "Nothing was asked to be erased yet."
    sortable_by = ()
    fields = ("requested_at", "subject", "of_project", "requested_by", "finished_at", "counts", "left")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        asked = ("project", "subject", "whose", "confirmed")
        return [(None, {"fields": asked if obj is None else self.fields})]

    def save_model(self, request: HttpRequest, obj: Erasure, form: Any, change: bool) -> None:
        given = form.cleaned_data
        asked = erasure.ask(given["project"], Subject(given["subject"]), given["value"], request)
        vars(obj).update(vars(asked))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Erasure]:
        named = Project.objects.filter(pk=OuterRef("project_id")).values("name")
        erasures: QuerySet[Erasure] = super().get_queryset(request)
        return erasures.annotate(project_name=Subquery(named))

    @display(description="project")
    def of_project(self, row: Any) -> str:
        """Its id, once it is gone."""
        return str(row.project_name or row.project_id)

    @display(description="deleted")
    def counts(self, row: Erasure) -> str:
        return in_words(row.deleted)

    @display(description="still there")
    def left(self, row: Erasure) -> str:
        return "" if row.finished_at else in_words(erasure.found(row))
