"""Live sessions in the admin: the list, and the page of one with what is being said."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import content_disposition_header

from jobs.admin.history import PageAdmin
from jobs.admin.look import display
from jobs.admin.wording import length, policy_in_words
from jobs.audio.downloads import make_harmless
from jobs.audit import audited, record_read
from jobs.models.audit import Action
from jobs.transcripts.exports import FORMATS, paragraphs_of
from streaming import aftercare
from streaming.models import Happening, LiveSession, State, TimelineEntry
from streaming.transcript import transcript_of

STATES: dict[str, str] = {
    State.CONNECTING: "info",
    State.LIVE: "success",
    State.INTERRUPTED: "warning",
    State.ENDED: "default",
}
HAPPENED = {
    Happening.CONNECTED: "Connected to the provider",
    Happening.CONNECTION_LOST: "Lost the provider's connection",
    Happening.INTERRUPTED: "Its client is away",
    Happening.RESUMED: "Its client came back",
    Happening.GAP: "Not transcribed",
    Happening.NOT_RECORDED: "Not recorded",
}
TIMELINE_SHOWN = 200
SESSIONS_SHOWN = 8
SHOWN = ("p50", "p95", "p99")


@admin.register(LiveSession)
class LiveSessionAdmin(PageAdmin):
    list_display = (
        "labelled_state",
        "begun",
        "project",
        "region",
        "audio",
        "late",
        "reconnects",
        "resumes",
        "ending",
    )
    list_display_links = ("begun",)
    list_filter = ("state", "reason", "created_at", "project")
    list_tabs = "state"
    list_select_related = ("project",)
    sortable_by = ()
    when_empty = "There are no live sessions yet: open the live page, or connect a program to /v1/listen."

    # Columns

    @display(description="state", label=STATES)
    def labelled_state(self, session: LiveSession) -> str:
        return session.state

    @display(description="begun", ordering="id")
    def begun(self, session: LiveSession) -> Any:
        return session.created_at

    @display(description="audio")
    def audio(self, session: LiveSession) -> str:
        return length(session.duration)

    @display(description="p95 latency")
    def late(self, session: LiveSession) -> str:
        return milliseconds(session.latency.get("p95_ms"))

    @display(description="resumes")
    def resumes(self, session: LiveSession) -> int:
        return session.epoch - 1

    @display(description="how it ended")
    def ending(self, session: LiveSession) -> str:
        return session.get_reason_display()

    # Pages

    def page(self, request: HttpRequest, session: LiveSession) -> HttpResponse:
        record_read(Action.TRANSCRIPT_VIEWED, request, session)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Live session of {session.created_at:%Y-%m-%d %H:%M}",
            "opts": LiveSession._meta,
            "may_delete": request.user.is_superuser,
            "formats": [*FORMATS],
            "paragraphs": paragraphs_of(transcript_of(session)),
            **_state(session),
        }
        return TemplateResponse(request, "admin/streaming/session.html", context)

    def get_urls(self) -> list[URLPattern]:
        own: list[tuple[str, str, Callable[..., HttpResponseBase]]] = [
            ("news/", "news", news),
            ("transcript.<str:extension>", "transcript", transcript),
            ("remove/", "remove", partial(_remove, self)),
        ]
        return [
            path(
                f"<uuid:session_id>/{route}",
                self.admin_site.admin_view(view),
                name=f"streaming_livesession_{name}",
            )
            for route, name, view in own
        ] + super().get_urls()


def news(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """What changes beside the transcript while the session goes on, for static/streaming/following.js."""
    state = _state(_found(session_id))
    parts = ("admin/streaming/_session_state.html", "admin/streaming/_session_history.html")
    return HttpResponse("".join(render_to_string(part, state) for part in parts))


def transcript(request: HttpRequest, session_id: UUID, extension: str) -> HttpResponse:
    """What was said so far, as a file."""
    if extension not in FORMATS:
        raise Http404
    session = _found(session_id)
    record_read(Action.TRANSCRIPT_EXPORTED, request, session, format=extension)
    export = FORMATS[extension]
    response = HttpResponse(export.write(transcript_of(session)), content_type=export.media_type)
    named = f"live-{session.created_at:%Y%m%d-%H%M%S}.{extension}"
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=named)
    make_harmless(response)
    return response


def milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def _remove(owner: LiveSessionAdmin, request: HttpRequest, session_id: UUID) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.is_superuser:
        raise PermissionDenied
    session = _found(session_id)
    with audited(Action.STREAM_DELETED, request, session):
        aftercare.delete(session)
    messages.success(request, "Deleted.")
    return HttpResponseRedirect(reverse("admin:streaming_livesession_changelist"))


def _found(session_id: UUID) -> LiveSession:
    return get_object_or_404(LiveSession.objects.select_related("project"), pk=session_id)


def _state(session: LiveSession) -> dict[str, Any]:
    entries = list(session.timeline.order_by("-at")[:TIMELINE_SHOWN])
    return {
        "session": session,
        "colour": STATES[session.state],
        "audio": length(session.duration),
        "resumes": session.epoch - 1,
        "policy": policy_in_words(session.policy) if session.policy else "",
        "latencies": [
            (whose, measured["results"], [(name, milliseconds(measured[f"{name}_ms"])) for name in SHOWN])
            for whose, measured in (
                ("Latency at this service", session.latency),
                ("Latency in the browser", session.client_latency),
            )
            if measured
        ],
        "entries": [(entry.at, HAPPENED[Happening(entry.type)], _in_words(entry)) for entry in entries[::-1]],
    }


def on_air() -> dict[str, Any]:
    """What the dashboard says of live sessions: how many go on, and the latest of them."""
    states = LiveSession.objects.open().order_by().values_list("state").annotate(Count("id"))
    latest = LiveSession.objects.open().select_related("project").order_by("-id")[:SESSIONS_SHOWN]
    return {
        "states": dict(states),
        "on_air": sum(count for _, count in states),
        "sessions": [
            {
                "row": session,
                "colour": STATES[session.state],
                "audio": length(session.duration),
                "late": milliseconds(session.latency.get("p95_ms")),
            }
            for session in latest
        ],
    }


def _in_words(entry: TimelineEntry) -> str:
    details = entry.details
    if entry.type == Happening.GAP:
        return f"{length(details.get('start'))} to {length(details.get('end'))}"
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in details.items() if value != "")
