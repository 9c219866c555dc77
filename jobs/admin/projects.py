"""Projects: their members and policies, and the secret that signs what goes to a job's callback_url."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from jobs import members
from jobs.admin.history import ChangesAlone
from jobs.admin.look import Checkboxes, Switch, TabularInline, display
from jobs.admin.options_form import REDACTIONS
from jobs.admin.secrets import SigningAdmin
from jobs.audit import audited, record
from jobs.forgetting import erasure
from jobs.forgetting.preview import preview
from jobs.models import DailyUsage, Membership, Project, Role
from jobs.models.audit import Action
from routing.regions import names_of_residency


class ProjectForm(forms.ModelForm):  # type: ignore[type-arg]
    residency = forms.MultipleChoiceField(
        required=False,
        widget=Checkboxes,
        help_text="Regions, or labels of regions, that its audio may go to; none ticked means any.",
    )

    redact = forms.MultipleChoiceField(
        required=False,
        widget=Checkboxes,
        help_text="Left out of all that is transcribed for it, live too, whatever a request asks for.",
    )
    confirmed = forms.BooleanField(
        label="Delete what is older",
        required=False,
        widget=Switch,
        help_text="For shorter times: after what goes was told.",
    )

    class Meta:
        model = Project
        fields = (
            "name",
            "residency",
            "improve_provider_models",
            "redact",
            "audio_days",
            "transcript_days",
            "daily_minutes",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "residency" in self.fields:
            # A region that is gone stays ticked until somebody takes it away: silently widening where audio
            # may go would be worse than a choice that does nothing.
            names = dict.fromkeys([*names_of_residency(), *self.instance.residency])
            self.fields["residency"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]
        if "redact" in self.fields:
            kinds = dict(REDACTIONS) | {
                kind: kind for kind in self.instance.redact if kind not in dict(REDACTIONS)
            }
            self.fields["redact"].choices = list(kinds.items())  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Whoever shortens how long things are kept is told what goes, and has to say so again."""
        cleaned = super().clean() or self.cleaned_data
        asked = {name: cleaned.get(name) for name in ("audio_days", "transcript_days")}
        before = {name: self.initial.get(name) for name in asked}
        shorter = any(
            days is not None and (before[name] is None or days < before[name]) for name, days in asked.items()
        )
        if shorter and not cleaned.get("confirmed"):
            goes = preview(self.instance, asked["audio_days"], asked["transcript_days"])
            if not goes.is_empty:
                self.add_error("confirmed", f"The next purge would delete {goes}. Tick this if it is to.")
        return cleaned


class MemberForm(forms.ModelForm):  # type: ignore[type-arg]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            # In a table of members the column's head is no label.
            field.widget.attrs["aria-label"] = field.label
        if self.instance.pk and "user" in self.fields:
            # Somebody else is another member.
            self.fields["user"].disabled = True


class MembersInline(TabularInline):
    model = Membership
    form = MemberForm
    extra = 0
    autocomplete_fields = ("user",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_staff)


@admin.register(Project)
class ProjectAdmin(SigningAdmin, ChangesAlone):
    form = ProjectForm
    signs = "to the callback_url of the project's jobs"
    list_display = ("name", "personal_to", "member_count", "residence", "minutes_today", "created_at")
    list_select_related = ("personal_to",)
    search_fields = ("name",)
    fields = (
        "name",
        "residency",
        "improve_provider_models",
        "redact",
        ("audio_days", "transcript_days"),
        "confirmed",
        ("daily_minutes", "minutes_today"),
        "secret_link",
        "id",
        "created_at",
    )
    readonly_fields = ("minutes_today", "secret_link", "id", "created_at")
    inlines = (MembersInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        projects: QuerySet[Project] = super().get_queryset(request).filter(deleted_at=None)
        usage = DailyUsage.objects.of_today(OuterRef("pk")).values("seconds")
        return projects.annotate(member_count=Count("members"), seconds_today=Subquery(usage))

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        action = Action.PROJECT_CHANGED if change else Action.PROJECT_CREATED
        with audited(action, request, obj, changed=sorted(form.changed_data)):
            super().save_model(request, obj, form, change)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """NotPossible as members has it. Whoever is to operate the project does before another leaves it."""
        formset.save(commit=False)
        for new in formset.new_objects:
            added = members.add(new.project, new.user, new.role)
            record(Action.MEMBER_ADDED, request, added, role=added.role)
        changed = [member for member, _ in formset.changed_objects]
        for member in sorted(changed, key=lambda member: member.role != Role.OPERATOR):
            members.change(member, member.role)
            record(Action.MEMBER_CHANGED, request, member, role=member.role)
        for member in formset.deleted_objects:
            members.remove(member)
            record(Action.MEMBER_REMOVED, request, member)

    # Deletion, by superusers alone: it takes everything along

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        along = "With each go its recordings, jobs, transcripts, events, keys, members and stored files."
        return [*map(str, objs), along], {"projects": len(objs)}, set(), []

    def delete_model(self, request: HttpRequest, obj: Project) -> None:
        with audited(Action.PROJECT_DELETED, request, obj):
            erasure.begin(obj, request)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        for project in queryset:
            self.delete_model(request, project)

    @display(description="members", ordering="member_count")
    def member_count(self, project: Any) -> int:
        return int(project.member_count)

    @display(description="minutes today")
    def minutes_today(self, project: Any) -> str:
        if project.daily_minutes is None:
            return "not counted"
        return f"{(project.seconds_today or 0) / 60:.1f} of {project.daily_minutes}"

    @display(description="residency")
    def residence(self, project: Project) -> str:
        return ", ".join(project.residency) or "any region"
