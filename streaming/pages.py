"""The page on which people speak and read along: `/live/`."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from jobs.admin.options_form import DETECT, LANGUAGES, MODELS
from jobs.models import Project, Role

# Of recordings only, at Deepgram.
_RECORDED_ONLY = {DETECT, "whisper-large"}
_DOWNLOADS = [("txt", "Text"), ("srt", "SRT"), ("vtt", "WebVTT"), ("json", "JSON")]


def _live(choices: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [choice for choice in choices if choice[0] not in _RECORDED_ONLY]


class LiveForm(forms.Form):
    """What a session begins with; read by the page's script, and never sent to here."""

    microphone = forms.ChoiceField(choices=[("", "The browser's default")])
    language = forms.ChoiceField(choices=_live(LANGUAGES))
    model = forms.ChoiceField(choices=_live(MODELS))
    project = forms.ModelChoiceField(Project.objects.none(), empty_label="My recordings")
    record = forms.BooleanField(
        label="Keep the audio",
        help_text="It is transcribed once more as a whole when the session has ended.",
    )

    def __init__(self, user: User) -> None:
        super().__init__(label_suffix="")
        projects = Project.objects.allowing(user, Role.UPLOADER).exclude(personal_to=user)
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]


@login_required
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    form = LiveForm(cast(User, request.user))
    context = {"form": form, "downloads": _DOWNLOADS, "stream_page": _stream_page(request.user)}
    return TemplateResponse(request, "streaming/live.html", context)


def _stream_page(user: Any) -> str:
    """Where a stream is shown, its id left out as ID: to staff in the admin, to others by the API."""
    if user.is_staff:
        return reverse("admin:streaming_livesession_change", args=("ID",))
    return f"{reverse('streams')}ID/"
