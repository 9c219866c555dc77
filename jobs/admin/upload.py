"""The page on which staff upload recordings: many files at once, or the URL of one.

A script sends each file in a request of its own and asks for JSON; without scripts the whole form comes as
one request and the answer is a page. Either way every file is accepted or refused by itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from jobs import intake
from jobs.admin.look import Choices, Url
from jobs.admin.options_form import OptionsForm
from jobs.audio.probe import ProbeError
from jobs.audio.received import ReceivedFile
from jobs.models import Priority, Project, TranscriptionJob
from routing.regions import all_regions

if TYPE_CHECKING:
    from jobs.admin.jobs import JobAdmin

logger = logging.getLogger(__name__)

MODES = [
    ("auto", "Automatic (by length)"),
    ("sync", "At once"),
    ("async", "Through the queue"),
]


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[ReceivedFile]:
        # Each file is judged by itself, later: one that is empty refuses none of the others.
        return [file for file in data or () if file]


class UploadForm(OptionsForm):
    files = ManyFilesField(required=False)  # type: ignore[assignment]
    url = forms.URLField(
        required=False,
        label="Or the URL of a recording",
        assume_scheme="https",
        max_length=2000,
        widget=Url(attrs={"placeholder": "https://example.com/recording.mp3"}),
        help_text="The service fetches it before it is transcribed; signed links work.",
    )
    project = forms.ModelChoiceField(
        Project.objects.none(), required=False, empty_label="My recordings", widget=Choices
    )
    mode = forms.ChoiceField(choices=MODES, initial="auto", widget=Choices)
    region = forms.ChoiceField(required=False, widget=Choices)
    priority = forms.TypedChoiceField(
        choices=[(value, label.capitalize()) for value, label in Priority.choices],
        coerce=lambda value: Priority(int(value)),
        initial=Priority.NORMAL.value,
        widget=Choices,
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        projects = Project.objects.visible_to(user).exclude(personal_to=user)
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]
        self.fields["region"].choices = [  # type: ignore[attr-defined]
            ("", "Automatic"),
            *((name, f"{name} only") for name in all_regions()),
        ]

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        if url and not url.startswith(("http://", "https://")):
            raise forms.ValidationError("The URL must begin with https:// or http://.")
        return url

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if not cleaned.get("files") and not cleaned.get("url") and "url" not in self.errors:
            raise forms.ValidationError("Choose at least one file, or give a URL.")
        return cleaned

    def order(self) -> intake.Order:
        asked = self.cleaned_data
        return intake.Order(
            project=asked["project"] or Project.objects.personal(self.user),
            options=self.options,
            mode=asked["mode"],
            region=asked["region"],
            priority=asked["priority"],
            user=self.user,
            # Nobody waits here, not even for a slot to be free: without one the job goes through the queue.
            patience=0.0 if asked["mode"] == "sync" else None,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one file or URL: a job, or an error with a code and what to do."""

    name: str
    job: TranscriptionJob | None = None
    code: str = ""
    message: str = ""


def upload_page(admin: JobAdmin, request: HttpRequest) -> HttpResponse:
    form = UploadForm(request.POST or None, request.FILES or None, user=cast(User, request.user))
    wants_json = request.get_preferred_type(["text/html", "application/json"]) == "application/json"
    if form.is_bound and form.is_valid():
        outcomes = _take_all(form)
        for outcome in outcomes:
            if outcome.job is not None:
                admin.log_addition(request, outcome.job, "Uploaded.")
        return _as_json(outcomes) if wants_json else _as_page(request, outcomes)
    if wants_json:
        errors = {
            str(form.fields[name].label or name.replace("_", " ").capitalize())
            if name in form.fields
            else "": list(why)
            for name, why in form.errors.items()
        }
        return JsonResponse({"errors": errors}, status=400)
    context = {
        **admin.admin_site.each_context(request),
        "title": "Upload recordings",
        "opts": TranscriptionJob._meta,
        "form": form,
        "max_upload_bytes": settings.MAX_UPLOAD_BYTES,
    }
    return TemplateResponse(request, "admin/jobs/upload.html", context)


def _take_all(form: UploadForm) -> list[Outcome]:
    order = form.order()
    outcomes = [_take(order, upload.name or "", upload) for upload in form.cleaned_data["files"]]
    if form.cleaned_data["url"]:
        outcomes.append(_take(order, form.cleaned_data["url"]))
    return outcomes


def _take(order: intake.Order, name: str, upload: ReceivedFile | None = None) -> Outcome:
    try:
        if upload is None:
            return Outcome(name, intake.submit(order, url=name))
        if (upload.size or 0) > settings.MAX_UPLOAD_BYTES:
            allowed = filesizeformat(settings.MAX_UPLOAD_BYTES)
            return Outcome(name, None, "too_large", f"It is larger than {allowed}. Split or compress it.")
        return Outcome(name, intake.submit(order, recording=intake.keep(order.project, upload)))
    except (ProbeError, intake.NotAccepted) as refusal:
        return Outcome(name, None, refusal.code, refusal.message)
    except OSError:
        logger.exception("An upload of %s bytes could not be stored.", upload.size if upload else 0)
        advice = "Try again; if it happens again, the disk of the service may be full."
        return Outcome(name, None, "not_stored", f"It could not be stored. {advice}")


def _as_json(outcomes: list[Outcome]) -> JsonResponse:
    results = [
        {
            "name": outcome.name,
            "job": {"id": str(outcome.job.pk), "url": _page_of(outcome.job)} if outcome.job else None,
            "error": None if outcome.job else {"code": outcome.code, "message": outcome.message},
        }
        for outcome in outcomes
    ]
    return JsonResponse({"results": results}, status=201 if all(outcome.job for outcome in outcomes) else 422)


def _as_page(request: HttpRequest, outcomes: list[Outcome]) -> HttpResponse:
    for outcome in outcomes:
        if outcome.job:
            link = format_html('<a href="{}">{}</a> was accepted.', _page_of(outcome.job), outcome.name)
            messages.success(request, link)
        else:
            messages.error(request, f"{outcome.name} was refused: {outcome.message}")
    accepted = [outcome.job for outcome in outcomes if outcome.job]
    if len(accepted) == len(outcomes) == 1:
        return HttpResponseRedirect(_page_of(accepted[0]))
    shows_all = len(accepted) == len(outcomes)
    page = "changelist" if shows_all else "upload"
    return HttpResponseRedirect(reverse(f"admin:jobs_transcriptionjob_{page}"))


def _page_of(job: TranscriptionJob) -> str:
    return reverse("admin:jobs_transcriptionjob_change", args=(job.pk,))
