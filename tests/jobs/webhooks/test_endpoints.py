"""Webhook endpoints: who hears of what, signed how, when one is given up, and what it is told again."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from jobs import lifecycle
from jobs.events import emit
from jobs.ids import first_id, uuid7
from jobs.models import (
    AuditEntry,
    Delivery,
    DeliveryStatus,
    DisabledReason,
    Event,
    EventType,
    Membership,
    Role,
    Status,
    WebhookEndpoint,
)
from jobs.models.delivery import receiver_of
from jobs.webhooks import deliverer, endpoints, wire
from jobs.webhooks.endpoints import NotReplayed
from tests.clients import forget
from tests.conditions import wait_until
from tests.jobs.rows import RESULT, ago, make_job, make_project
from tests.routing.peer import answering

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("private_receivers")]


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def endpoint(project, receiver):
    return make_endpoint(project, receiver)


def make_endpoint(project, receiver, path="/hook", **fields):
    return WebhookEndpoint.objects.create(project=project, url=f"{receiver.url}{path}", **fields)


def happen(project, kind=EventType.STREAM_ENDED, **told):
    return emit(project.pk, kind, {"id": "1"}, **told)


def told():
    return sorted(Delivery.objects.values_list("url", flat=True))


# Who hears of what


def test_every_endpoint_of_the_project_hears_of_an_event_and_a_callback_beside_them(project, receiver):
    for path in ("/a", "/b"):
        make_endpoint(project, receiver, path)
    make_endpoint(make_project("another"), receiver, "/another")

    happen(project, callback_url=f"{receiver.url}/a")

    assert told() == [f"{receiver.url}{path}" for path in ("/a", "/a", "/b")]


def test_an_endpoint_hears_of_what_it_asked_for_alone(project, receiver):
    make_endpoint(project, receiver, "/jobs", event_types=["job.failed", "job.completed"])
    make_endpoint(project, receiver, "/streams", event_types=["stream.ended"])

    lifecycle.complete(make_job(Status.RUNNING, project=project), RESULT)

    assert told() == [f"{receiver.url}/jobs"]


def test_a_disabled_endpoint_hears_of_nothing(project, endpoint):
    endpoints.disable(endpoint, DisabledReason.BY_HAND)

    happen(project)

    assert not Delivery.objects.exists()


def test_the_end_of_a_job_costs_one_query_more_however_many_endpoints_there_are(project, receiver):
    def statements():
        job = make_job(Status.RUNNING, project=project)
        with CaptureQueriesContext(connection) as queries:
            lifecycle.complete(job, RESULT)
        return [query["sql"] for query in queries]

    without = statements()
    for path in ("/a", "/b", "/c"):
        make_endpoint(project, receiver, path)
    with_three = statements()

    assert sum("jobs_webhookendpoint" in sql for sql in without) == 1
    assert len(with_three) == len(without) + 1, "which writes the deliveries"


def test_an_event_is_delivered_to_an_endpoint_with_its_own_secret(project, endpoint, receiver):
    happen(project)

    deliverer.deliver_due()

    (request,) = receiver.requests
    assert Webhook(endpoint.webhook_secret).verify(request.body, request.headers)["type"] == "stream.ended"
    with pytest.raises(WebhookVerificationError):
        Webhook(project.webhook_secret).verify(request.body, request.headers)
    assert Delivery.objects.get().log.get().address == "127.0.0.1"


# Changing


def test_a_new_address_holds_for_what_is_attempted_just_now_too(project, endpoint, receiver):
    happen(project)
    ((claimed,),) = Delivery.objects.claim(1, 60)
    receiver.behave = answering(500)

    endpoints.change(endpoint, {"url": f"{receiver.url}/new"})
    deliverer.settle([wire.post(claimed)])

    retried = Delivery.objects.get(status=DeliveryStatus.PENDING)
    assert [request.target for request in receiver.requests] == ["/hook"]
    assert (retried.url, retried.receiver) == (f"{receiver.url}/new", receiver.url)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_change_of_something_else_leaves_it_as_enabled_as_somebody_made_it_meanwhile(endpoint, enabled):
    if enabled:
        endpoints.disable(endpoint, DisabledReason.BY_HAND)
    read_before = WebhookEndpoint.objects.get(pk=endpoint.pk)
    endpoints.change(endpoint, {"is_enabled": enabled})

    endpoints.change(read_before, {"description": "CRM"})

    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.description) == (enabled, "CRM")


def test_enabling_one_that_somebody_disabled_meanwhile_enables_it(endpoint):
    read_before = WebhookEndpoint.objects.get(pk=endpoint.pk)
    endpoints.disable(endpoint, DisabledReason.BY_HAND)

    endpoints.change(read_before, {"is_enabled": True})

    endpoint.refresh_from_db()
    assert endpoint.is_enabled


def test_enabling_one_that_is_enabled_forgives_nothing(endpoint):
    failing(endpoint, days=1, failures=3, last_failed_days_ago=0)

    endpoints.change(endpoint, {"is_enabled": True})

    endpoint.refresh_from_db()
    assert endpoint.failures == 3


# Secrets


@pytest.mark.parametrize("of", ["endpoint", "project"])
def test_after_a_rotation_either_secret_verifies(project, receiver, of):
    if of == "endpoint":
        signing = make_endpoint(project, receiver)
        happen(project)
    else:
        signing = project
        happen(project, callback_url=f"{receiver.url}/hook")
    before = signing.webhook_secret

    signing.rotate_webhook_secret()
    deliverer.deliver_due()

    (request,) = receiver.requests
    assert signing.webhook_secret != before
    for secret in (before, signing.webhook_secret):
        assert Webhook(secret).verify(request.body, request.headers)


def test_the_secret_before_signs_no_longer_than_was_said(project):
    before = project.webhook_secret

    project.rotate_webhook_secret(overlap=timedelta(0))

    project.refresh_from_db()
    assert project.webhook_secrets() == [project.webhook_secret]
    assert project.webhook_secret != before


# Giving up


def fail_once(project, receiver, status=500, **headers):
    receiver.behave = answering(status, **headers)
    # A connection that is kept goes on as it began.
    wire._client().close()
    forget(wire._client)
    event = happen(project)
    deliverer.deliver_due()
    return event.deliveries.get()


def failing(endpoint, *, days, failures, last_failed_days_ago):
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        failing_since=ago(days * 86400), failures=failures, last_failed_at=ago(last_failed_days_ago * 86400)
    )


def test_five_days_of_nothing_but_failures_disable_it_and_fail_what_is_on_its_way(
    project, endpoint, receiver, caplog
):
    waiting = fail_once(project, receiver)
    failing(endpoint, days=5.1, failures=19, last_failed_days_ago=1)

    last = fail_once(project, receiver)

    endpoint.refresh_from_db()
    waiting.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.disabled_reason) == (False, "failing")
    assert (waiting.status, last.status) == (DeliveryStatus.FAILED, DeliveryStatus.FAILED)
    assert f"endpoint {endpoint.pk} of project {project.pk} is disabled" in caplog.text
    told = AuditEntry.objects.get(action="webhook.disabled")
    assert (told.object_id, told.actor, told.details) == (str(endpoint.pk), "", {"reason": "failing"})


@pytest.mark.parametrize(
    "history",
    [
        {"days": 4.9, "failures": 100, "last_failed_days_ago": 1},
        {"days": 5.1, "failures": 18, "last_failed_days_ago": 1},
        {"days": 5.1, "failures": 100, "last_failed_days_ago": 4},
    ],
    ids=["not for long enough", "not often enough", "all on one bad day"],
)
def test_it_is_not_given_up_lightly(project, endpoint, receiver, history):
    failing(endpoint, **history)

    fail_once(project, receiver)

    endpoint.refresh_from_db()
    assert endpoint.is_enabled
    assert endpoint.failures == history["failures"] + 1


def test_a_first_failure_begins_the_count(project, endpoint, receiver):
    fail_once(project, receiver)

    endpoint.refresh_from_db()
    assert endpoint.failures == 1
    assert timezone.now() - endpoint.failing_since < timedelta(minutes=1)


def test_any_success_forgives_all_failures(project, endpoint, receiver):
    failing(endpoint, days=6, failures=100, last_failed_days_ago=0)
    happen(project)

    deliverer.deliver_due()

    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.failing_since, endpoint.failures) == (True, None, 0)


def test_who_is_gone_is_disabled_at_once(project, endpoint, receiver):
    delivery = fail_once(project, receiver, status=410)

    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.disabled_reason) == (False, "gone")
    assert delivery.status == DeliveryStatus.FAILED


def test_what_was_under_way_when_it_was_disabled_is_not_sent(project, endpoint, receiver):
    happen(project)
    ((claimed,),) = Delivery.objects.claim(1, 60)
    endpoints.disable(endpoint, DisabledReason.BY_HAND)
    claimed.endpoint.refresh_from_db()

    deliverer.settle([wire.post(claimed)])

    claimed.refresh_from_db()
    assert not receiver.requests
    assert (claimed.status, claimed.log.get().error[:17]) == (DeliveryStatus.FAILED, "endpoint_disabled")


def test_the_operators_are_told_by_mail(project, endpoint, receiver, mailoutbox):
    for role, address in (
        (Role.OPERATOR, "o@example.com"),
        (Role.OPERATOR, ""),
        (Role.READER, "r@example.com"),
    ):
        user = get_user_model().objects.create_user(f"{role}-{address}", email=address)
        Membership.objects.create(project=project, user=user, role=role)

    fail_once(project, receiver, status=410)

    wait_until(lambda: mailoutbox)
    (mail,) = mailoutbox
    assert mail.to == ["o@example.com"]
    assert "answered 410 Gone" in mail.body
    assert "/hook" not in mail.body


def test_nobody_is_told_by_mail_of_what_people_did(project, endpoint, mailoutbox):
    user = get_user_model().objects.create_user("o", email="o@example.com")
    Membership.objects.create(project=project, user=user, role=Role.OPERATOR)

    endpoints.disable(endpoint, DisabledReason.BY_HAND)

    assert not mailoutbox


def test_enabling_begins_anew(project, endpoint, receiver):
    fail_once(project, receiver, status=410)
    endpoint.refresh_from_db()

    endpoint.enable()

    fail_once(project, receiver)
    endpoint.refresh_from_db()
    assert (endpoint.is_enabled, endpoint.disabled_reason, endpoint.failures) == (True, "", 1)


# A test


@pytest.mark.parametrize(("status", "outcome"), [(204, "delivered"), (500, "failed"), (410, "failed")])
def test_a_test_is_one_attempt_made_now_and_not_held_against_the_endpoint(
    endpoint, receiver, status, outcome
):
    receiver.behave = answering(status, b"hello")

    delivery = deliverer.deliver_test(endpoint)

    endpoint.refresh_from_db()
    assert (delivery.status, delivery.event.type, delivery.attempts) == (outcome, "test", 1)
    assert (delivery.log.get().status_code, delivery.log.get().response) == (
        status,
        "" if status == 204 else "hello",
    )
    assert (endpoint.is_enabled, endpoint.failing_since) == (True, None)


def test_a_disabled_endpoint_can_be_tested(endpoint, receiver):
    endpoints.disable(endpoint, DisabledReason.GONE)

    assert deliverer.deliver_test(endpoint).status == DeliveryStatus.DELIVERED


# Replaying


def test_a_delivery_is_replayed_with_the_same_id_and_a_schedule_of_its_own(project, endpoint, receiver):
    delivery = fail_once(project, receiver)
    Delivery.objects.update(status=DeliveryStatus.FAILED, attempts=10, run_at=ago(0))

    endpoints.replay(delivery)
    deliverer.deliver_due()

    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, delivery.tries) == (DeliveryStatus.PENDING, 11, 1)
    assert delivery.run_at - timezone.now() < timedelta(seconds=10)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert [attempt.number for attempt in delivery.log.all()] == [1, 11]


def test_what_is_under_way_is_not_replayed(project, endpoint):
    happen(project)
    ((claimed,),) = Delivery.objects.claim(1, 60)

    with pytest.raises(NotReplayed) as refused:
        endpoints.replay(claimed)

    assert refused.value.code == "under_way"


def test_who_comes_back_too_late_settles_nothing_that_was_replayed(project, endpoint):
    happen(project)
    ((claimed,),) = Delivery.objects.claim(1, 60)
    Delivery.objects.update(lease_until=ago(1))

    endpoints.replay(Delivery.objects.get())

    assert not claimed.give_up()
    assert Delivery.objects.get().status == DeliveryStatus.PENDING


def test_nothing_is_replayed_to_who_is_disabled(project, endpoint, receiver):
    delivery = fail_once(project, receiver, status=410)
    delivery.endpoint.refresh_from_db()

    for replay in (
        lambda: endpoints.replay(delivery),
        lambda: endpoints.replay_range(endpoint, ago(60), timezone.now()),
    ):
        with pytest.raises(NotReplayed) as refused:
            replay()
        assert refused.value.code == "endpoint_disabled"


@pytest.fixture
def past(project, receiver):
    """An endpoint with events of an hour ago (2 delivered, 1 failed, 2 never sent), and one of now."""

    def event(minutes, status=None, kind=EventType.STREAM_ENDED):
        at = ago(minutes * 60)
        made = Event.objects.create(
            pk=first_id(at).int | uuid7().int & (1 << 64) - 1, project=project, type=kind, data={}
        )
        if status:
            Delivery.objects.create(
                event=made,
                endpoint=endpoint,
                url=endpoint.url,
                receiver=receiver_of(endpoint.url),
                status=status,
            )

    endpoint = make_endpoint(project, receiver, event_types=["stream.ended"])
    for status in ("delivered", "delivered", "failed", None):
        event(60, status)
    event(60, None, EventType.JOB_FAILED)
    event(1, "failed")
    return endpoint


@pytest.mark.parametrize(("failed_only", "count"), [(True, 2), (False, 4)])
def test_a_time_is_replayed_with_what_was_missed_in_it(past, receiver, failed_only, count):
    assert endpoints.replay_range(past, ago(7200), ago(1800), failed_only=failed_only) == count

    deliverer.deliver_due()

    assert len(receiver.requests) == count
    assert set(
        Delivery.objects.filter(event__id__lt=first_id(ago(1800))).values_list("status", flat=True)
    ) == {"delivered"}


def test_more_than_can_be_replayed_at_once_is_not(past, receiver, monkeypatch):
    monkeypatch.setattr(endpoints, "TOO_MANY", 2)

    with pytest.raises(NotReplayed) as refused:
        endpoints.replay_range(past, ago(7200), timezone.now())

    assert refused.value.code == "range_too_large"
    assert Delivery.objects.filter(status="failed").count() == 2


# Forgetting


def test_the_log_is_forgotten_after_its_time_but_not_what_is_still_to_be_delivered(past, settings):
    settings.WEBHOOK_LOG_DAYS = 0
    first = Delivery.objects.first()
    Delivery.objects.filter(pk=first.pk).update(status=DeliveryStatus.PENDING)
    begun = Delivery.objects.count()

    endpoints.forget()

    assert begun == 4
    assert [delivery.pk for delivery in Delivery.objects.all()] == [first.pk]


def test_a_deleted_endpoint_is_forgotten_once_nobody_can_be_writing_to_it(project, endpoint):
    happen(project)
    endpoints.disable(endpoint, DisabledReason.DELETED)

    endpoints.forget()
    assert not WebhookEndpoint.objects.existing().exists()
    assert WebhookEndpoint.objects.filter(pk=endpoint.pk).exists()

    WebhookEndpoint.objects.update(disabled_at=ago(2 * 3600))
    endpoints.forget()
    assert not WebhookEndpoint.objects.exists()
    assert not Delivery.objects.exists()
