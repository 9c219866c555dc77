"""Webhook endpoints and deliveries in the admin."""

import pytest
from django.urls import reverse

from jobs.events import emit
from jobs.models import (
    AuditEntry,
    Delivery,
    DeliveryStatus,
    DisabledReason,
    EventType,
    Project,
    WebhookEndpoint,
)
from jobs.webhooks import endpoints, wire
from tests.clients import forget
from tests.jobs.admin.conftest import said
from tests.jobs.rows import ago, lose_key_of
from tests.routing.peer import Peer, answering

LIST = reverse("admin:jobs_webhookendpoint_changelist")
DELIVERIES = reverse("admin:jobs_delivery_changelist")
URL = "https://example.com/hook"

pytestmark = pytest.mark.django_db


@pytest.fixture
def project(db):
    return Project.objects.create(name="Calls")


@pytest.fixture
def endpoint(project):
    return WebhookEndpoint.objects.create(project=project, url=URL, description="CRM")


def page(endpoint):
    return reverse("admin:jobs_webhookendpoint_change", args=(endpoint.pk,))


def act(client, where, action, *rows):
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(where, chosen, follow=True)


def happen(project):
    return emit(project.pk, EventType.STREAM_ENDED, {"id": "1"})


def test_an_endpoint_is_added_with_a_secret_of_its_own(root_client, project):
    fields = {"project": project.pk, "url": URL, "description": "", "event_types": ["job.failed"]}

    response = root_client.post(reverse("admin:jobs_webhookendpoint_add"), fields)

    made = WebhookEndpoint.objects.get()
    assert response.status_code == 302
    assert (made.url, made.event_types) == (URL, ["job.failed"])
    assert made.webhook_secret.startswith("whsec_")
    assert AuditEntry.objects.filter(action="webhook.added", object_id=str(made.pk)).exists()


def test_an_address_that_may_not_be_called_is_refused(root_client, project, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    fields = {"project": project.pk, "url": "https://10.0.0.1/hook", "description": ""}

    response = root_client.post(reverse("admin:jobs_webhookendpoint_add"), fields)

    assert response.status_code == 200
    assert not WebhookEndpoint.objects.exists()


def test_a_project_has_so_many_endpoints_here_as_well(root_client, project, monkeypatch):
    monkeypatch.setattr(endpoints, "MOST_ENDPOINTS", 0)
    fields = {"project": project.pk, "url": URL, "description": ""}

    response = root_client.post(reverse("admin:jobs_webhookendpoint_add"), fields, follow=True)

    assert "delete one first" in said(response)
    assert not WebhookEndpoint.objects.exists()
    assert not AuditEntry.objects.filter(action="webhook.added").exists()


def test_a_changed_address_holds_for_what_is_on_its_way(root_client, project, endpoint):
    happen(project)

    root_client.post(page(endpoint), {"url": "https://new.example.com/hook", "description": "CRM"})

    assert Delivery.objects.get().receiver == "https://new.example.com:443"


def test_staff_see_endpoints_and_change_none(staff_client, endpoint):
    assert staff_client.get(LIST).status_code == 200
    assert staff_client.get(page(endpoint)).status_code == 200

    act(staff_client, LIST, "disable_selected", endpoint)
    staff_client.post(page(endpoint), {"url": "https://evil.example.com", "description": ""})

    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.url) == (True, URL)


def test_the_list_tells_how_each_does(staff_client, project, endpoint):
    WebhookEndpoint.objects.create(project=project, url="https://f.example.com", failing_since=ago(60))
    gone = WebhookEndpoint.objects.create(project=project, url="https://g.example.com")
    endpoints.disable(gone, DisabledReason.GONE)
    deleted = WebhookEndpoint.objects.create(project=project, url="https://d.example.com")
    endpoints.disable(deleted, DisabledReason.DELETED)

    listed = staff_client.get(LIST).content.decode()

    for told in ("enabled", "failing", "answered 410 Gone"):
        assert told in listed
    assert "d.example.com" not in listed


def test_one_is_disabled_and_enabled_from_its_page(root_client, staff_client, endpoint):
    switch = reverse("admin:jobs_webhookendpoint_switch", args=(endpoint.pk,))
    assert staff_client.post(switch).status_code == 403

    states = []
    for asked in ({}, {}, {"enable": "1"}):
        root_client.post(switch, asked)
        endpoint.refresh_from_db()
        states.append(endpoint.is_enabled)

    assert states == [False, False, True]
    assert AuditEntry.objects.filter(object_id=str(endpoint.pk), details__changed=["enabled"]).count() == 2


def test_the_page_of_one_tells_of_failures_only_while_there_are_any(staff_client, project, endpoint):
    failing = WebhookEndpoint.objects.create(project=project, url=URL, failing_since=ago(60), failures=7)

    assert "Failing since" in staff_client.get(page(failing)).content.decode()
    assert "Failing since" not in staff_client.get(page(endpoint)).content.decode()


def test_endpoints_are_disabled_and_enabled(root_client, endpoint):
    act(root_client, LIST, "disable_selected", endpoint)
    endpoint.refresh_from_db()
    assert endpoint.disabled_reason == "by_hand"

    response = act(root_client, LIST, "enable_selected", endpoint)
    endpoint.refresh_from_db()
    assert endpoint.is_enabled
    assert said(response) == "Enabled: 1."


@pytest.mark.django_db(transaction=True)
def test_a_test_tells_what_was_answered(root_client, endpoint, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    forget(wire._client)
    with Peer(answering(418, b"")) as receiver:
        WebhookEndpoint.objects.update(url=f"{receiver.url}/hook")

        response = act(root_client, LIST, "test_selected", endpoint)

        assert len(receiver.requests) == 1
    wire._client().close()
    forget(wire._client)
    assert "CRM: answered 418" in said(response)


def test_a_secret_is_revealed_on_demand_and_rotated(root_client, endpoint):
    secret_page = reverse("admin:jobs_webhookendpoint_webhook_secret", args=(endpoint.pk,))
    before = endpoint.webhook_secret

    assert before not in root_client.get(page(endpoint)).content.decode()
    assert before not in root_client.get(secret_page).content.decode()
    assert before in root_client.post(secret_page).content.decode()

    rotated = root_client.post(secret_page, {"rotate": "1"}).content.decode()

    endpoint.refresh_from_db()
    assert endpoint.webhook_secret in rotated
    assert endpoint.webhook_secrets()[1] == before
    assert AuditEntry.objects.filter(action="secret.rotated").count() == 1


def test_a_secret_that_cannot_be_opened_is_not_called_revealed(root_client, endpoint):
    lose_key_of(endpoint)
    secret_page = reverse("admin:jobs_webhookendpoint_webhook_secret", args=(endpoint.pk,))

    response = root_client.post(secret_page)

    assert "rotate it" in said(response)
    assert b"Rotate the secret" in response.content
    assert not AuditEntry.objects.filter(action="secret.revealed").exists()


def test_a_secret_is_not_shown_or_rotated_without_the_permission(staff_client, endpoint):
    secret_page = reverse("admin:jobs_webhookendpoint_webhook_secret", args=(endpoint.pk,))

    refused = [staff_client.get(secret_page), staff_client.post(secret_page, {"rotate": "1"})]

    before = endpoint.webhook_secret
    endpoint.refresh_from_db()
    assert [response.status_code for response in refused] == [403, 403]
    assert endpoint.webhook_secret == before


def test_a_deleted_endpoint_is_told_nothing_more(root_client, project, endpoint):
    root_client.post(reverse("admin:jobs_webhookendpoint_delete", args=(endpoint.pk,)), {"post": "yes"})

    happen(project)

    assert not Delivery.objects.exists()
    assert root_client.get(page(endpoint)).status_code == 302


def test_deliveries_are_sent_again(staff_client, project, endpoint):
    happen(project)
    other = WebhookEndpoint.objects.create(project=project, url="https://other.example.com")
    happen(project)
    Delivery.objects.update(status="failed", attempts=10)
    endpoints.disable(other, DisabledReason.GONE)

    response = act(staff_client, DELIVERIES, "replay_selected", *Delivery.objects.all())

    assert Delivery.objects.filter(status="pending").count() == 2
    assert said(response) == "On their way again: 2. 1 not: The endpoint is disabled: enable it first."


def test_the_log_of_one_endpoint_is_a_click_away(staff_client, project, endpoint):
    happen(project)
    WebhookEndpoint.objects.create(project=project, url="https://other.example.com/hook")
    happen(project)

    found = staff_client.get(f"{DELIVERIES}?endpoint={endpoint.pk}")

    assert f"{DELIVERIES}?endpoint={endpoint.pk}" in staff_client.get(page(endpoint)).content.decode()
    assert {row.endpoint for row in found.context["cl"].result_list} == {endpoint}
    assert len(found.context["cl"].result_list) == 2


def test_the_dashboard_shows_failing_endpoints(staff_client, project, endpoint):
    quiet = WebhookEndpoint.objects.create(project=project, url=URL, description="quiet")
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=ago(60))

    shown = staff_client.get(reverse("admin:index")).content.decode()

    assert page(endpoint) in shown
    assert page(quiet) not in shown


def do(client, name, row, **fields):
    return client.post(reverse(f"admin:jobs_{name}", args=(row.pk,)), fields, follow=True)


def test_what_happened_in_a_stretch_of_time_is_replayed_and_written_down(root_client, project, endpoint):
    happen(project)
    Delivery.objects.update(status=DeliveryStatus.FAILED, attempts=10)
    span = {"since": f"{ago(3600):%Y-%m-%dT%H:%M}", "until": f"{ago(-3600):%Y-%m-%dT%H:%M}"}

    response = do(root_client, "webhookendpoint_replay", endpoint, **span)

    assert "On their way again: 1." in said(response)
    assert Delivery.objects.get().status == DeliveryStatus.PENDING
    assert AuditEntry.objects.get(action="webhook.replayed").details["count"] == 1


def test_a_stretch_that_ends_before_it_begins_is_refused(root_client, endpoint):
    span = {"since": f"{ago(0):%Y-%m-%dT%H:%M}", "until": f"{ago(3600):%Y-%m-%dT%H:%M}"}

    assert (
        "Name a time after the first."
        in do(root_client, "webhookendpoint_replay", endpoint, **span).content.decode()
    )


def test_an_endpoint_that_is_disabled_is_told_so_instead(root_client, endpoint):
    endpoints.disable(endpoint, DisabledReason.BY_HAND)
    span = {"since": f"{ago(3600):%Y-%m-%dT%H:%M}", "until": f"{ago(-3600):%Y-%m-%dT%H:%M}"}

    text = do(root_client, "webhookendpoint_replay", endpoint, **span).content.decode()

    assert "enable it first" in text


@pytest.mark.parametrize("name", ["webhookendpoint_replay", "webhookendpoint_test"])
def test_staff_who_may_not_change_endpoints_send_them_nothing(staff_client, endpoint, name):
    assert do(staff_client, name, endpoint).status_code == 403


def test_its_page_has_buttons_and_how_it_did_of_late(root_client, project, endpoint):
    happen(project)

    text = root_client.get(page(endpoint)).content.decode()

    assert "Send a test" in text and "Replay…" in text
    assert "0 of 1 delivered, 0 failed, 1 on the way." in text


@pytest.mark.django_db(transaction=True)
def test_a_test_from_its_page_is_written_down(root_client, endpoint, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    forget(wire._client)
    with Peer(answering(204, b"")) as peer:
        WebhookEndpoint.objects.update(url=peer.url)
        response = do(root_client, "webhookendpoint_test", endpoint)
    wire._client().close()
    forget(wire._client)

    assert "answered 204" in said(response)
    assert AuditEntry.objects.get(action="webhook.tested").details == {"status_code": 204}


def test_a_delivery_shows_its_request_and_is_sent_again_from_its_page(staff_client, project, endpoint):
    happen(project)
    delivery = Delivery.objects.get()
    Delivery.objects.update(status=DeliveryStatus.DELIVERED)

    text = staff_client.get(reverse("admin:jobs_delivery_change", args=(delivery.pk,))).content.decode()
    response = do(staff_client, "delivery_replay", delivery)

    assert f"POST {URL}" in text
    assert f"webhook-id: {delivery.event.message_id}" in text
    assert "stream.ended" in text
    assert "It is on its way again." in said(response)
    assert AuditEntry.objects.filter(action="webhook.replayed", object_id=str(delivery.pk)).exists()
