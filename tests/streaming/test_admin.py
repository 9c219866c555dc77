"""Live sessions in the admin."""

import pytest
from django.test import Client
from django.urls import reverse

from jobs.models import AuditEntry
from jobs.models.audit import Action
from streaming import lifecycle
from streaming.lifecycle import Moment
from streaming.models import EndReason, Happening, LiveSession
from tests.streaming.factories import end, live, progress, results

LIST = reverse("admin:streaming_livesession_changelist")


def page(name, session):
    arguments = (session.pk, "srt") if name == "transcript" else (session.pk,)
    return reverse(f"admin:streaming_livesession_{name}", args=arguments)


def client_of(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def staff_client(django_user_model, db):
    return client_of(django_user_model.objects.create_user("staff", is_staff=True))


@pytest.fixture
def root_client(django_user_model, db):
    return client_of(django_user_model.objects.create_superuser("root"))


@pytest.fixture
def session(project):
    session = live(project, options={"model": "nova-3"}, tags=["desk"])
    lost = Moment(Happening.CONNECTION_LOST, {"code": 1011, "connection": 1})
    gap = Moment(Happening.GAP, {"start": 61.0, "end": 65.0})
    lifecycle.store([progress(session, results(1, "Hello there."), duration=65.0, moments=[lost, gap])])
    return session


def test_the_list_shows_the_sessions_at_the_cost_of_one(staff_client, session, django_assert_max_num_queries):
    lifecycle.store([progress(session, duration=65.0, latency={"p95_ms": 341.6})])
    end(session, EndReason.UNAVAILABLE)
    for _ in range(10):
        live(session.project)

    with django_assert_max_num_queries(15):
        text = staff_client.get(LIST).content.decode()

    assert "342 ms" in text
    assert "The provider could not be reached for too long." in text
    assert "1:05" in text


def test_an_empty_list_says_how_there_comes_to_be_something(staff_client):
    assert "There are no live sessions yet" in staff_client.get(LIST).content.decode()


def test_the_page_shows_what_is_said_and_what_happened(staff_client, session):
    text = staff_client.get(page("change", session)).content.decode()

    assert "Hello there." in text
    assert "Lost the provider&#x27;s connection" in text
    assert "code 1011" in text
    assert "1:01 to 1:05" in text
    assert f'data-news="{page("news", session)}"' in text
    assert AuditEntry.objects.filter(action=Action.TRANSCRIPT_VIEWED, object_id=session.pk).exists()


def test_the_page_of_a_session_that_is_over_shows_how_late_results_were(staff_client, session):
    measured = {"p50_ms": 210.0, "p95_ms": 340.0, "p99_ms": 400.0, "results": 12}
    lifecycle.store([progress(session, latency=measured)])
    end(session, EndReason.FINISHED, client_latency=measured | {"p50_ms": 1.5})

    text = staff_client.get(page("change", session)).content.decode()

    assert "p50 210 ms · p95 340 ms · p99 400 ms of 12 results" in text
    assert "p50 2 ms" in text
    assert "following.js" not in text


def test_what_happens_to_its_connections_is_asked_for_beside(staff_client, session):
    text = staff_client.get(page("news", session)).content.decode()

    assert "1:05" in text
    assert "Lost the provider&#x27;s connection" in text
    assert "Hello there." not in text


def test_the_transcript_is_downloaded(staff_client, session):
    response = staff_client.get(page("transcript", session))

    assert response.content.decode().startswith("1\n00:00:00,000")
    assert response.headers["Content-Disposition"].endswith('.srt"')
    assert staff_client.get(page("transcript", session).replace(".srt", ".pdf")).status_code == 404


def test_superusers_alone_delete(staff_client, root_client, session):
    assert "Delete" not in staff_client.get(page("change", session)).content.decode()
    assert staff_client.post(page("remove", session)).status_code == 403
    assert root_client.get(page("remove", session)).status_code == 405
    assert LiveSession.objects.exists()

    root_client.post(page("remove", session))

    assert not LiveSession.objects.exists()
    assert AuditEntry.objects.filter(action=Action.STREAM_DELETED).exists()


def test_a_session_that_is_gone_leads_back_to_the_list(staff_client, session):
    address = page("change", session)
    session.delete()

    assert staff_client.get(address).url == LIST
