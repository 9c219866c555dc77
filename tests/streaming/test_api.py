"""Streams over the API: who sees which, what of them, and what is left when one is deleted."""

import json

import pytest
from django.urls import reverse
from django.utils import timezone

from jobs.forgetting import erasure
from jobs.models import ApiKey, AuditEntry, Delivery, Event, Membership, Project, Role, WebhookEndpoint
from jobs.models.audit import Action
from streaming import lifecycle
from streaming.lifecycle import Moment
from streaming.models import EndReason, FinalResult, Happening, LiveSession, State
from tests.jobs.api.conftest import client_for, error_of
from tests.streaming.factories import end, live, progress, results

STREAMS = "/api/v1/streams/"


@pytest.fixture
def api(key):
    return client_for(key)


def listed(api, query="") -> list[str]:
    response = api.get(f"{STREAMS}?{query}")
    assert response.status_code == 200, response.content
    return [stream["id"] for stream in response.json()["results"]]


def said(project, *finals, **fields) -> LiveSession:
    session = live(project, **fields)
    lifecycle.store([progress(session, *finals)])
    return session


def test_a_stream_is_shown_with_what_was_said_so_far(api, project):
    session = said(project, results(1, "Hello there."), results(4, "Goodbye.", 1.0), tags=["desk"])

    shown = api.get(f"{STREAMS}{session.pk}/").json()

    assert shown["transcript"] == {"text": "Hello there. Goodbye.", "confidence": 0.9, "language": None}
    assert (shown["state"], shown["reason"], shown["error"]) == ("live", None, None)
    assert (shown["duration"], shown["tags"], shown["options"]) == (2.0, ["desk"], {"model": "nova-3"})
    assert (shown["region"], shown["request_id"], shown["resumes"]) == ("default", "a-request", 0)
    assert (shown["latency"], shown["ended_at"], shown["job"]) == (None, None, None)


def test_the_policy_that_held_is_shown_whatever_it_is_by_now(api, project, admin_client):
    project.redact = ["pci"]
    session = live(project)

    shown = api.get(f"{STREAMS}{session.pk}/").json()
    page = admin_client.get(reverse("admin:streaming_livesession_change", args=(session.pk,)))

    assert shown["policy"] == {"mip_opt_out": True, "redact": ["pci"]}
    assert "may not train its models with it, and leaves out pci." in page.content.decode()


def test_how_a_stream_ended_is_shown(api, project):
    session = live(project)
    latency = {"p50_ms": 210.0, "p95_ms": 340.5, "p99_ms": 400.0, "results": 12, "counts": {"107": 12}}
    lifecycle.store([progress(session, latency=latency)])
    end(session, EndReason.UNAVAILABLE, "provider_error", "Down.")

    shown = api.get(f"{STREAMS}{session.pk}/").json()

    assert (shown["state"], shown["reason"]) == ("ended", "unavailable")
    assert shown["error"] == {"code": "provider_error", "message": "Down."}
    assert shown["latency"] == {"p50_ms": 210.0, "p95_ms": 340.5, "p99_ms": 400.0, "results": 12}
    assert shown["ended_at"]


def test_streams_are_listed_the_newest_first_without_their_transcripts(api, project):
    older, newer = said(project, results(1, "Hello.")), live(project)

    page = api.get(STREAMS).json()

    assert [stream["id"] for stream in page["results"]] == [str(newer.pk), str(older.pk)]
    assert {stream["transcript"] for stream in page["results"]} == {None}
    assert (page["next"], page["previous"]) == (None, None)


def test_the_list_can_be_narrowed(api, project, key):
    mine = ApiKey.objects.get()
    tagged = live(project, tags=["desk", "night"])
    of_key = live(project, key=mine)
    ended = live(project)
    end(ended, EndReason.TOO_SLOW)

    assert listed(api, "state=ended") == [str(ended.pk)]
    assert listed(api, "state=live&state=ended") == [str(each.pk) for each in (ended, of_key, tagged)]
    assert listed(api, "reason=too_slow") == [str(ended.pk)]
    assert listed(api, "tag=night") == [str(tagged.pk)]
    assert listed(api, f"key={mine.pk}") == [str(of_key.pk)]
    assert listed(api, "created_before=2020-01-01T00:00:00Z") == []
    assert len(listed(api, "created_after=2020-01-01T00:00:00Z")) == 3
    refused = api.get(f"{STREAMS}?status=live")
    assert (refused.status_code, error_of(refused)["code"]) == (400, "validation_error")


def test_the_results_come_in_pages(api, project):
    session = said(project, *(results(seq, f"word{seq}", float(seq)) for seq in range(1, 6)))

    first = api.get(f"{STREAMS}{session.pk}/results/?page_size=3").json()
    second = api.get(first["next"]).json()

    assert [found["seq"] for found in first["results"] + second["results"]] == [1, 2, 3, 4, 5]
    assert second["next"] is None
    assert first["results"][0] == {
        "seq": 1,
        "channel": 0,
        "start": 1.0,
        "end": 2.0,
        "text": "word1",
        "speech_final": False,
        "late": False,
        "connection": 1,
        "words": [{"word": "word1", "punctuated_word": "word1", "start": 1.0, "end": 2.0, "confidence": 0.9}],
    }


def test_the_timeline_tells_what_happened_to_the_connections(api, project):
    session = live(project)
    lifecycle.store([progress(session, moments=[Moment(Happening.CONNECTION_LOST, {"code": 1011})])])

    entries = api.get(f"{STREAMS}{session.pk}/timeline/").json()["results"]

    assert [entry["type"] for entry in entries] == ["connected", "connection_lost"]
    assert entries[1]["code"] == 1011


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("txt", "Hello there. Goodbye.\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:02,000\nHello there. Goodbye.\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nHello there. Goodbye.\n"),
    ],
)
def test_a_transcript_is_exported_as_a_job_s_is(api, project, form, expected):
    session = said(project, results(1, "Hello there."), results(2, "Goodbye.", 1.0))

    response = api.get(f"{STREAMS}{session.pk}/transcript.{form}")

    assert response.content.decode() == expected
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_words_utterances_and_channels_are_exported_as_json(api, project):
    session = said(
        project,
        results(1, "Hello,", 0.0, channel_index=[0, 2]),
        results(2, "Yes.", 0.5, channel_index=[1, 2], speech_final=True),
        results(3, "you.", 1.0, channel_index=[0, 2], speech_final=True),
        results(4, "", 2.0, channel_index=[1, 2]),
    )

    found = api.get(f"{STREAMS}{session.pk}/transcript.json").json()

    assert found["text"] == "Hello, you.\nYes."
    assert [(word["word"], word["channel"]) for word in found["words"]] == [
        ("hello", 0),
        ("yes", 1),
        ("you", 0),
    ]
    assert [(each["transcript"], each["channel"]) for each in found["utterances"]] == [
        ("Hello, you.", 0),
        ("Yes.", 1),
    ]
    assert [(each["index"], each["text"]) for each in found["channels"]] == [(0, "Hello, you."), (1, "Yes.")]


def test_what_was_filled_in_late_stands_where_it_was_said(api, project):
    session = said(project, results(1, "one"), results(2, "three", 2.0), results(3, "two", 1.0))

    assert api.get(f"{STREAMS}{session.pk}/").json()["transcript"]["text"] == "one two three"


def test_there_is_no_other_form_of_transcript(api, project):
    refused = api.get(f"{STREAMS}{live(project).pk}/transcript.pdf")

    assert (refused.status_code, error_of(refused)["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["", "results/", "timeline/", "transcript.txt"])
def test_another_project_s_streams_do_not_exist(api, path):
    other = live(Project.objects.create(name="Somebody else's"))

    assert listed(api) == []
    assert api.get(f"{STREAMS}{other.pk}/{path}").status_code == 404
    assert api.delete(f"{STREAMS}{other.pk}/").status_code == 404


def test_a_stream_is_deleted_with_all_that_there_is_of_it(api, project):
    WebhookEndpoint.objects.create(project=project, url="https://example.com/hook")
    session = said(project, results(1, "Hello."))
    end(session)
    kept = said(project, results(1, "Hello."))
    assert Delivery.objects.count() == 1

    assert api.delete(f"{STREAMS}{session.pk}/").status_code == 204

    assert list(LiveSession.objects.all()) == [kept]
    assert FinalResult.objects.get().session == kept
    assert (Event.objects.count(), Delivery.objects.count()) == (0, 0)
    entry = AuditEntry.objects.get(action=Action.STREAM_DELETED)
    assert (entry.object_id, entry.project) == (str(session.pk), project)


def test_a_stream_that_is_deleted_while_live_is_lost_to_its_relay(api, project):
    session = live(project)

    assert api.delete(f"{STREAMS}{session.pk}/").status_code == 204

    assert lifecycle.store([progress(session, results(1, "Hello."))]) == {session.pk}
    assert not FinalResult.objects.exists()


@pytest.mark.parametrize(("role", "status"), [(Role.READER, 403), (Role.OPERATOR, 204)])
def test_only_operators_delete(project, client, django_user_model, role, status):
    user = django_user_model.objects.create_user("a-member")
    Membership.objects.create(project=project, user=user, role=role)
    client.force_login(user)
    session = live(project)

    assert client.get(f"{STREAMS}{session.pk}/").status_code == 200
    assert client.delete(f"{STREAMS}{session.pk}/").status_code == status


def test_reading_a_transcript_is_audited(api, project):
    session = said(project, results(1, "Hello."))

    api.get(f"{STREAMS}{session.pk}/")
    api.get(f"{STREAMS}{session.pk}/transcript.srt")

    entries = AuditEntry.objects.filter(object_id=str(session.pk)).order_by("id")
    assert [(entry.action, entry.details) for entry in entries] == [
        (Action.TRANSCRIPT_VIEWED, {}),
        (Action.TRANSCRIPT_EXPORTED, {"format": "srt"}),
    ]


def test_a_stream_of_a_deleted_project_is_gone_and_told_of_to_nobody(api, project):
    session = live(project)

    erasure.begin(project)

    row = LiveSession.objects.get(pk=session.pk)
    assert (row.state, row.reason) == (State.ENDED, EndReason.DELETED)
    assert lifecycle.store([progress(session, results(1, "Hello."))]) == {session.pk}
    assert not Event.objects.exists()
    assert api.get(STREAMS).status_code == 401
    assert timezone.now() >= row.ended_at


def test_messages_are_kept_as_they_were_sent(project):
    final = results(1, "Hello.")
    session = said(project, final)

    assert json.loads(session.finals.get().raw) == json.loads(final.raw)
