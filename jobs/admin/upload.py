"""The page on which staff upload recordings: many files at once, or the URL of one.

A script sends each file in a request of its own and asks for JSON; without scripts the whole form comes as
one request and the answer is a page. Either way every file is accepted or refused by itself, and those that
are to be kept together are jobs of one batch: the script begins it, names it with each file, and seals it. A
large file it sends in pieces, over the API (jobs.audio.uploads), and then names that upload.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    JsonResponse,
)
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from jobs import intake
from jobs.admin.look import Choices, Line, Url
from jobs.admin.options_form import OptionsForm
from jobs.admin.urls import CallableURLField
from jobs.audio import uploads
from jobs.audio.keeping import keep
from jobs.audio.received import ReceivedFile
from jobs.batches import making
from jobs.batches.archives import is_archive
from jobs.batches.completion import seal
from jobs.models import Batch, BatchSealed, Priority, Project, TranscriptionJob, Upload
from jobs.refusal import NotAccepted, Refusal
from routing.regions import all_regions

if TYPE_CHECKING:
    from jobs.admin.jobs import JobAdmin

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


class OrderForm(OptionsForm):
    """What holds for all that is uploaded."""

    batch_name = forms.CharField(
        required=False,
        max_length=200,
        label="Keep them together as a batch",
        widget=Line,
        help_text="A name for it; without one each is a job by itself.",
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

    def new_batch(self, name: str) -> Batch:
        """One of what is asked for; not saved."""
        order = self.order()
        return Batch(
            project=order.project,
            created_by=self.user,
            name=name[:200],
            options=order.options,
            mode=order.mode,
            region=order.region,
            priority=order.priority,
        )


class UploadForm(OrderForm):
    files = ManyFilesField(required=False)  # type: ignore[assignment]
    url = CallableURLField(
        private="FETCH_ALLOW_PRIVATE",
        http=True,
        required=False,
        label="Or the URL of a recording",
        widget=Url(attrs={"placeholder": "https://example.com/recording.mp3"}),
        help_text="The service fetches it before it is transcribed; signed links work.",
    )
    # What the page's script has begun, and sent.
    batch = forms.ModelChoiceField(Batch.objects.none(), required=False, widget=forms.HiddenInput)
    upload = forms.ModelChoiceField(Upload.objects.none(), required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, user=user, **kwargs)
        open_ones = Batch.objects.shown().filter(created_by=user, sealed_at=None).select_related("project")
        self.fields["batch"].queryset = open_ones  # type: ignore[attr-defined]
        sent = Upload.objects.usable().filter(created_by=user).select_related("project", "recording")
        self.fields["upload"].queryset = sent  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        upload = cleaned.get("upload")
        if not (cleaned.get("files") or cleaned.get("url") or upload) and "url" not in self.errors:
            raise forms.ValidationError("Choose at least one file, or give a URL.")
        if upload and not self.errors and upload.project != self.order().project:
            raise forms.ValidationError("The file was sent to another project: upload it again.")
        return cleaned


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one file or URL: a job, of an archive a batch, or an error with a code and what to do."""

    name: str
    made: TranscriptionJob | Batch | None = None
    code: str = ""
    message: str = ""

    @property
    def kind(self) -> str:
        return "batch" if isinstance(self.made, Batch) else "job"

    @property
    def duplicate_of(self) -> str | None:
        """The page of the job that had the very same audio before."""
        before = self.made.receipt.get("duplicate_of") if isinstance(self.made, TranscriptionJob) else None
        return before and reverse("admin:jobs_transcriptionjob_change", args=(before,))


def upload_page(admin: JobAdmin, request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    # Those that the transcript desk offers, after what was corrected.
    initial = {"keyterm": request.GET.getlist("keyterm")}
    form = UploadForm(request.POST or None, request.FILES or None, user=user, initial=initial)
    wants_json = request.get_preferred_type(["text/html", "application/json"]) == "application/json"
    if form.is_bound and form.is_valid():
        outcomes = _take_all(form)
        for outcome in outcomes:
            if outcome.made is not None:
                admin.log_addition(request, outcome.made, "Uploaded.")
        return _as_json(outcomes) if wants_json else _as_page(request, outcomes)
    if wants_json:
        return _errors(form)
    context = {
        **admin.admin_site.each_context(request),
        "title": "Upload recordings",
        "opts": TranscriptionJob._meta,
        "form": form,
        "max_upload_bytes": settings.MAX_UPLOAD_BYTES,
        "personal_project": Project.objects.personal(user),
    }
    return TemplateResponse(request, "admin/jobs/upload.html", context)


def begin_batch(admin: JobAdmin, request: HttpRequest) -> HttpResponse:
    """An empty batch that files are sent into one by one, and where it is sealed."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form = OrderForm(request.POST, user=cast(User, request.user))
    if not form.is_valid():
        return _errors(form)
    batch = form.new_batch(form.cleaned_data["batch_name"])
    batch.save(force_insert=True)
    admin.log_addition(request, batch, "Begun.")
    seal = reverse("admin:jobs_batch_seal", args=(batch.pk,))
    return JsonResponse({"id": str(batch.pk), "url": _page_of(batch), "seal_url": seal}, status=201)


def _take_all(form: UploadForm) -> list[Outcome]:
    asked = form.cleaned_data
    batch = asked["batch"]
    begins = batch is None and bool(asked["batch_name"])
    if begins:
        batch = form.new_batch(asked["batch_name"])
        batch.save(force_insert=True)
    order = form.order()
    if batch is not None:
        order = replace(order, batch=batch, project=batch.project)
    outcomes = [_take(form, order, file.name or "", file) for file in asked["files"]]
    if asked["upload"]:
        outcomes.append(_take(form, order, asked["upload"].filename, asked["upload"]))
    if asked["url"]:
        outcomes.append(_take(form, order, asked["url"]))
    if begins:
        seal(batch)
    return outcomes


def _take(
    form: OrderForm, order: intake.Order, name: str, file: ReceivedFile | Upload | None = None
) -> Outcome:
    try:
        return Outcome(name, _make(form, order, name, file))
    except BatchSealed as sealed:
        return Outcome(name, None, sealed.code, sealed.message)
    except Refusal as refused:
        refusal = refused
    except OSError as error:
        refusal = making.not_stored(error)
    if order.batch is not None:
        making.refuse(order.batch, name, refusal)
    return Outcome(name, None, refusal.code, refusal.message)


def _make(
    form: OrderForm, order: intake.Order, name: str, file: ReceivedFile | Upload | None
) -> TranscriptionJob | Batch:
    """A job of the URL or the file; of an archive, the batch that its files become jobs of."""
    if file is None:
        return intake.submit(order, url=name)
    if isinstance(file, Upload):
        return intake.submit(order, recording=uploads.finish(file))
    if (file.size or 0) > settings.MAX_UPLOAD_BYTES:
        allowed = filesizeformat(settings.MAX_UPLOAD_BYTES)
        raise NotAccepted("too_large", f"It is larger than {allowed}. Split or compress it.")
    if not is_archive(file):
        return intake.submit(order, recording=keep(order.project, file))
    if order.batch is not None:
        making.add_archive(order.batch, file)
        return order.batch
    batch = form.new_batch(name)
    making.make_of_archive(batch, file, sealed=True)
    return batch


def _errors(form: OrderForm) -> JsonResponse:
    errors = {
        str(form.fields[name].label or name.replace("_", " ").capitalize())
        if name in form.fields
        else "": list(why)
        for name, why in form.errors.items()
    }
    return JsonResponse({"errors": errors}, status=400)


def _as_json(outcomes: list[Outcome]) -> JsonResponse:
    results = []
    for outcome in outcomes:
        result: dict[str, Any] = {"name": outcome.name, "job": None, "batch": None, "error": None}
        if outcome.made:
            result[outcome.kind] = {"id": str(outcome.made.pk), "url": _page_of(outcome.made)}
            result["duplicate_of"] = outcome.duplicate_of
        else:
            result["error"] = {"code": outcome.code, "message": outcome.message}
        results.append(result)
    return JsonResponse(
        {"results": results}, status=201 if all(outcome.made for outcome in outcomes) else 422
    )


def _as_page(request: HttpRequest, outcomes: list[Outcome]) -> HttpResponse:
    for outcome in outcomes:
        if outcome.made:
            link = format_html('<a href="{}">{}</a> was accepted.', _page_of(outcome.made), outcome.name)
            messages.success(request, link)
        else:
            messages.error(request, f"{outcome.name} was refused: {outcome.message}")
    accepted = [outcome.made for outcome in outcomes if outcome.made]
    if len(accepted) == len(outcomes) == 1:
        return HttpResponseRedirect(_page_of(accepted[0]))
    shows_all = len(accepted) == len(outcomes)
    page = "changelist" if shows_all else "upload"
    return HttpResponseRedirect(reverse(f"admin:jobs_transcriptionjob_{page}"))


def _page_of(made: TranscriptionJob | Batch) -> str:
    return reverse(f"admin:jobs_{made._meta.model_name}_change", args=(made.pk,))
