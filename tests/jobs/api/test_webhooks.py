"""Webhook endpoints, their secrets, tests and deliveries over the API."""

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.events import emit
from jobs.models import ApiKey, AuditEntry, Delivery, DisabledReason, EventType, Role, WebhookEndpoint
from jobs.webhooks import deliverer, endpoints
from jobs.webhooks.endpoints import MOST_ENDPOINTS
from tests.jobs.api.conftest import client_for, error_of
from tests.jobs.api.test_projects import patch, post
from tests.jobs.rows import ago, lose_key_of
from tests.routing.peer import Peer, answering

WEBHOOKS = "/api/v1/webhooks/"
SECRET, DELIVERIES = f"{WEBHOOKS}secret/", f"{WEBHOOKS}deliveries/"
URL = "https://example.com/hook"

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(project):
    return WebhookEndpoint.objects.create(project=project, url=URL)


@pytest.fixture
def receiver(private_receivers):
    with Peer(answering(200, b"thanks")) as peer:
        yield peer


def page_of(endpoint, *more):
    return "".join((WEBHOOKS, f"{endpoint.pk}/", *more))


def happen(project, kind=EventType.STREAM_ENDED, **told):
    return emit(project.pk, kind, {"id": "1"}, **told)


def test_an_endpoint_is_made_with_a_secret_that_is_shown(api, project):
    response = post(api, WEBHOOKS, {"url": URL, "description": "CRM", "event_types": ["job.failed"]})

    made = response.json()
    assert response.status_code == 201
    assert made["secret"].startswith("whsec_")
    assert made["secret"] == WebhookEndpoint.objects.get().webhook_secret
    assert {name: made[name] for name in ("project", "url", "description", "event_types", "enabled")} == {
        "project": str(project.pk),
        "url": URL,
        "description": "CRM",
        "event_types": ["job.failed"],
        "enabled": True,
    }
    assert made["disabled_at"] is made["disabled_reason"] is made["failing_since"] is None


def test_the_secret_is_shown_afterwards_only_where_it_is_asked_for(api, endpoint):
    assert "secret" not in api.get(page_of(endpoint)).json()
    assert "secret" not in api.get(WEBHOOKS).json()["results"][0]
    assert api.get(page_of(endpoint, "secret/")).json() == {"secret": endpoint.webhook_secret}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://user:password@example.com"}, "url"),
        ({"url": URL, "event_types": ["job.deleted"]}, "event_types"),
        ({"url": URL, "event_types": ["test"]}, "event_types"),
        ({"url": URL, "event_types": ["job.failed"] * 1000}, "event_types"),
        ({"url": URL, "enabled": "perhaps"}, "enabled"),
    ],
)
def test_an_endpoint_refuses_what_makes_no_sense(api, body, field):
    response = post(api, WEBHOOKS, body)

    assert (response.status_code, error_of(response)["code"]) == (400, "validation_error")
    assert list(error_of(response)["details"]) == [field]


def test_private_addresses_are_refused_where_they_are_not_allowed(api, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False

    assert post(api, WEBHOOKS, {"url": "https://127.0.0.1/hook"}).status_code == 400


def test_a_project_has_so_many_endpoints_and_no_more(api, project):
    WebhookEndpoint.objects.bulk_create(
        WebhookEndpoint(project=project, url=URL) for _ in range(MOST_ENDPOINTS)
    )

    refused = post(api, WEBHOOKS, {"url": URL})

    assert (refused.status_code, error_of(refused)["code"]) == (409, "too_many_endpoints")


def test_an_endpoint_is_disabled_and_enabled_by_changing_it(api, project, endpoint):
    happen(project)

    disabled = patch(api, page_of(endpoint), {"enabled": False}).json()
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "by_hand")
    assert disabled["disabled_at"]
    assert Delivery.objects.get().status == "failed"

    enabled = patch(api, page_of(endpoint), {"enabled": True}).json()
    assert (enabled["enabled"], enabled["disabled_at"], enabled["disabled_reason"]) == (True, None, None)


def test_a_new_address_holds_for_what_is_on_its_way(api, project, endpoint):
    happen(project)

    patch(api, page_of(endpoint), {"url": "https://elsewhere.example.com/hook"})

    delivery = Delivery.objects.get()
    assert delivery.url == "https://elsewhere.example.com/hook"
    assert delivery.receiver == "https://elsewhere.example.com:443"


def test_a_change_of_something_else_leaves_an_endpoint_disabled(api, endpoint):
    endpoints.disable(endpoint, DisabledReason.GONE)

    changed = patch(api, page_of(endpoint), {"description": "old"}).json()

    assert (changed["description"], changed["enabled"], changed["disabled_reason"]) == ("old", False, "gone")


def test_a_deleted_endpoint_is_not_there_any_more(api, project, endpoint):
    assert api.delete(page_of(endpoint)).status_code == 204

    happen(project)
    assert api.get(page_of(endpoint)).status_code == 404
    assert api.get(page_of(endpoint, "deliveries/")).status_code == 404
    assert api.get(WEBHOOKS).json()["results"] == []
    assert not Delivery.objects.exists()


def test_what_is_done_to_an_endpoint_is_audited(api):
    made = post(api, WEBHOOKS, {"url": URL}).json()
    path = f"{WEBHOOKS}{made['id']}/"
    patch(api, path, {"enabled": False})
    post(api, f"{path}rotate/", {})
    api.get(f"{path}secret/")
    api.delete(path)

    entries = AuditEntry.objects.filter(object_id=made["id"]).order_by("id")
    assert [(entry.action, entry.details) for entry in entries] == [
        ("webhook.added", {}),
        ("webhook.changed", {"changed": ["enabled"]}),
        ("secret.rotated", {"overlap_seconds": 86400}),
        ("secret.revealed", {}),
        ("webhook.deleted", {}),
    ]


def test_who_replays_is_in_the_audit_log(api, endpoint, project):
    happen(project)
    delivery = Delivery.objects.get()
    post(api, f"{DELIVERIES}{delivery.pk}/replay/", {})
    post(api, page_of(endpoint, "replay/"), {"after": "2026-01-01T00:00:00Z"})

    entries = AuditEntry.objects.filter(action="webhook.replayed").order_by("id")
    assert [(entry.object_id, entry.project_id) for entry in entries] == [
        (str(delivery.pk), project.pk),
        (str(endpoint.pk), project.pk),
    ]
    assert entries[1].details["count"] == 0


def test_a_secret_that_cannot_be_opened_is_told_as_such_and_can_be_rotated(api, endpoint):
    lose_key_of(endpoint)

    refused = api.get(page_of(endpoint, "secret/"))
    assert (refused.status_code, error_of(refused)["code"]) == (409, "secret_unreadable")
    assert not AuditEntry.objects.filter(action="secret.revealed").exists()

    rotated = post(api, page_of(endpoint, "rotate/"), {}).json()
    assert api.get(page_of(endpoint, "secret/")).json() == rotated


def test_the_audit_log_calls_an_endpoint_as_the_api_does(api):
    post(api, WEBHOOKS, {"url": URL})

    (entry,) = api.get("/api/v1/audit/").json()["results"]
    assert entry["object"]["type"] == "webhook"


@pytest.mark.parametrize("path", ["", "secret/", "deliveries/"])
def test_another_projects_endpoints_do_not_exist(api, other_project, path):
    theirs = WebhookEndpoint.objects.create(project=other_project, url=URL)

    assert api.get(page_of(theirs, path)).status_code == 404
    assert api.get(WEBHOOKS).json()["results"] == []


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [(["read"], {"see"}), (["write"], {"test"}), (["manage"], {"change", "secret"})],
)
def test_what_a_key_may_do_follows_its_scopes(project, endpoint, scopes, allowed):
    client = client_for(ApiKey.objects.issue(project, "k", scopes=scopes)[1])

    answers = {
        "see": client.get(page_of(endpoint)),
        "change": patch(client, page_of(endpoint), {}),
        "secret": client.get(page_of(endpoint, "secret/")),
        "test": post(client, page_of(endpoint, "replay/"), {"after": ago(60)}),
    }

    assert {name for name, answer in answers.items() if answer.status_code < 400} == allowed
    assert {answer.status_code for answer in answers.values() if answer.status_code >= 400} == {403}


def test_members_see_what_they_may_not_change(member, project, endpoint):
    reader = member(Role.READER)

    assert reader.get(page_of(endpoint)).status_code == 200
    assert reader.get(page_of(endpoint, "secret/")).status_code == 403


@pytest.mark.parametrize("of", ["project", "endpoint"])
def test_a_secret_is_rotated_with_an_overlap(api, project, endpoint, of):
    signing, path = (project, SECRET) if of == "project" else (endpoint, page_of(endpoint))
    before = signing.webhook_secret

    rotated = post(api, f"{path}rotate/", {}).json()

    signing.refresh_from_db()
    assert rotated["secret"] != before
    assert signing.webhook_secrets() == [rotated["secret"], before]
    assert signing.previous_webhook_secret_until - timezone.now() > timedelta(hours=23)


def test_a_secret_that_was_lost_can_be_replaced_at_once(api, endpoint):
    rotated = post(api, page_of(endpoint, "rotate/"), {"overlap_seconds": 0}).json()

    endpoint.refresh_from_db()
    assert endpoint.webhook_secrets() == [rotated["secret"]]
    assert api.get(page_of(endpoint)).json()["previous_secret_until"] is None


@pytest.mark.django_db(transaction=True)
def test_a_test_tells_at_once_what_came_of_it(api, endpoint, receiver):
    patch(api, page_of(endpoint), {"url": f"{receiver.url}/hook"})

    delivery = api.post(page_of(endpoint, "test/")).json()

    assert (delivery["type"], delivery["status"], delivery["endpoint"]) == (
        "test",
        "delivered",
        str(endpoint.pk),
    )
    (attempt,) = delivery["log"]
    assert attempt | {"started_at": None, "duration": None} == {
        "number": 1,
        "started_at": None,
        "duration": None,
        "status_code": 200,
        "error": None,
        "address": "127.0.0.1",
        "response": "thanks",
    }


@pytest.mark.django_db(transaction=True)
def test_the_log_tells_each_attempt(api, project, endpoint, receiver):
    patch(api, page_of(endpoint), {"url": f"{receiver.url}/hook"})
    receiver.behave = answering(500, b"no")
    event = happen(project)
    deliverer.deliver_due()

    (delivery,) = api.get(page_of(endpoint, "deliveries/")).json()["results"]

    assert delivery["message_id"] == f"evt_{event.pk.hex}" == receiver.requests[0].headers["webhook-id"]
    assert (delivery["status"], delivery["attempts"], delivery["delivered_at"]) == ("pending", 1, None)
    assert delivery["run_at"] > delivery["created_at"]
    assert (delivery["data"]["id"], delivery["job"]) == ("1", None)
    assert [(attempt["status_code"], attempt["response"]) for attempt in delivery["log"]] == [(500, "no")]


def test_the_projects_log_has_callbacks_too_and_can_be_narrowed(api, project, other_project, endpoint):
    happen(project, callback_url=URL)
    happen(project, EventType.BATCH_COMPLETED)
    happen(other_project, callback_url=URL)
    Delivery.objects.filter(event__type="batch.completed").update(status="failed")

    def listed(query=""):
        rows = api.get(f"{DELIVERIES}{query}").json()["results"]
        return sorted((row["type"], bool(row["endpoint"])) for row in rows)

    streams = [("stream.ended", False), ("stream.ended", True)]
    assert listed() == [("batch.completed", True), *streams]
    assert listed("?status=failed") == listed("?type=batch.completed") == [("batch.completed", True)]
    assert listed("?status=pending") == streams
    assert listed("?before=2020-01-01T00:00:00Z") == listed("?after=2100-01-01T00:00:00Z") == []
    assert error_of(api.get(f"{DELIVERIES}?state=failed"))["code"] == "validation_error"


def test_the_log_costs_the_same_queries_however_long(api, project, endpoint, django_assert_num_queries):
    def log():
        with django_assert_num_queries(4):
            return api.get(page_of(endpoint, "deliveries/")).json()["results"]

    # The use of the key is noted with the first.
    api.get(WEBHOOKS)
    for _ in range(2):
        happen(project)
    log()
    for _ in range(5):
        happen(project)
    assert len(log()) == 7


def test_a_delivery_can_be_replayed(api, project, endpoint):
    happen(project)
    delivery = Delivery.objects.get()
    Delivery.objects.update(status="failed", attempts=10)

    response = api.post(f"{DELIVERIES}{delivery.pk}/replay/")

    assert response.status_code == 202
    assert (response.json()["status"], response.json()["attempts"]) == ("pending", 10)


def test_nothing_is_replayed_to_an_endpoint_that_is_disabled(api, project, endpoint):
    happen(project)
    endpoints.disable(endpoint, DisabledReason.BY_HAND)
    delivery = Delivery.objects.get()

    one = api.post(f"{DELIVERIES}{delivery.pk}/replay/")
    some = post(api, page_of(endpoint, "replay/"), {"after": ago(60)})

    assert [(answer.status_code, error_of(answer)["code"]) for answer in (one, some)] == [
        (409, "endpoint_disabled")
    ] * 2


@pytest.mark.parametrize(("failed_only", "replayed"), [(True, 1), (False, 2)])
def test_a_time_can_be_replayed(api, project, endpoint, failed_only, replayed):
    for status in ("failed", "delivered"):
        happen(project).deliveries.update(status=status)

    response = post(api, page_of(endpoint, "replay/"), {"after": ago(60), "failed_only": failed_only})

    assert (response.status_code, response.json()) == (202, {"replayed": replayed})


@pytest.mark.parametrize("body", [{}, {"after": "soon"}, {"after": "2100-01-01T00:00:00Z"}])
def test_a_time_that_makes_no_sense_is_refused(api, endpoint, body):
    response = post(api, page_of(endpoint, "replay/"), body)

    assert (response.status_code, list(error_of(response)["details"])) == (400, ["after"])
