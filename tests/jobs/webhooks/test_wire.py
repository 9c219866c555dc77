"""Deliveries to a receiver on loopback that does what the test wants."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.db.models import TextField, Value
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from jobs import lifecycle
from jobs.forgetting.deletion import delete_job
from jobs.models import Delivery, DeliveryAttempt, DeliveryStatus, Project, Status
from jobs.models.delivery import RUNS_PER_RECEIVER, receiver_of
from jobs.webhooks import deliverer, wire
from jobs.webhooks.deliverer import SCHEDULE
from tests.clients import forget
from tests.conditions import wait_until
from tests.jobs.rows import RESULT, ago, fresh, make_job, make_project
from tests.jobs.test_claim import in_threads
from tests.routing.peer import Peer, answering, dripping_body, silent

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("private_receivers")]


@pytest.fixture
def delivery():
    """A completed job's delivery to an address."""

    def make(url, **fields):
        job = make_job(Status.RUNNING, callback_url=f"{url}/hook")
        lifecycle.complete(job, RESULT)
        Delivery.objects.filter(event__job=job).update(**fields)
        return Delivery.objects.get(event__job=job)

    return make


def deliver(delivery):
    """One attempt, and the delivery as it stands then."""
    deliverer.deliver_due()
    delivery.refresh_from_db()
    return delivery


def again_now(delivery):
    Delivery.objects.filter(pk=delivery.pk).update(run_at=ago(1))


@contextmanager
def delivering(asked=None, stop=None):
    """Deliver in another thread meanwhile, and wait for its end, which is to come by itself."""

    def run():
        try:
            deliverer.deliver_due(asked, stop=stop)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(run)
        yield
        end.result(20)


def is_delivered(delivery):
    return Delivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.DELIVERED).exists()


def test_the_reference_library_takes_the_signature(delivery, receiver):
    sent = delivery(receiver.url)

    deliver(sent)

    (request,) = receiver.requests
    body = Webhook(sent.event.project.webhook_secret).verify(request.body, request.headers)
    assert (body["type"], body["data"]["status"]) == ("job.completed", "completed")
    assert (sent.status, sent.attempts) == (DeliveryStatus.DELIVERED, 1)


def test_a_changed_body_and_another_secret_are_refused(delivery, receiver):
    sent = delivery(receiver.url)

    deliver(sent)

    (request,) = receiver.requests
    with pytest.raises(WebhookVerificationError):
        Webhook(make_project().webhook_secret).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(sent.event.project.webhook_secret).verify(request.body + b" ", request.headers)


def test_all_attempts_carry_the_same_id_and_body(delivery, receiver):
    receiver.behave = answering(500)
    sent = delivery(receiver.url)

    for _ in range(3):
        deliver(sent)
        again_now(sent)

    assert len(receiver.requests) == 3
    assert {request.headers["webhook-id"] for request in receiver.requests} == {f"evt_{sent.event.pk.hex}"}
    assert len({request.body for request in receiver.requests}) == 1
    assert [attempt.number for attempt in sent.log.all()] == [1, 2, 3]


@pytest.mark.parametrize(("failed", "pause"), list(enumerate(SCHEDULE)))
def test_the_schedule_of_retries(delivery, receiver, failed, pause):
    receiver.behave = answering(500)

    retried = deliver(delivery(receiver.url, attempts=failed))

    waits = (retried.run_at - timezone.now()).total_seconds()
    assert retried.status == DeliveryStatus.PENDING
    assert pause * 0.8 - 5 < waits < pause * 1.2 + 5


def test_the_tenth_failure_is_the_last(delivery, receiver):
    receiver.behave = answering(500)

    assert deliver(delivery(receiver.url, attempts=len(SCHEDULE))).status == DeliveryStatus.FAILED
    assert sum(SCHEDULE) > 75 * 3600


def test_who_is_gone_is_left_alone(delivery, receiver):
    receiver.behave = answering(410)

    assert deliver(delivery(receiver.url)).status == DeliveryStatus.FAILED


def test_retry_after_is_honoured_when_it_is_later(delivery, receiver):
    receiver.behave = answering(503, retry_after="120")

    retried = deliver(delivery(receiver.url))

    assert (retried.run_at - timezone.now()) > timedelta(seconds=115)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(delivery, receiver, status):
    receiver.behave = answering(status, location=f"{receiver.url}/elsewhere")

    refused = deliver(delivery(receiver.url))

    assert [request.target for request in receiver.requests] == ["/hook"]
    assert (refused.status, refused.attempts) == (DeliveryStatus.PENDING, 1)
    assert refused.log.get().status_code == status


@pytest.mark.parametrize("behave", [silent, dripping_body, lambda connection: connection.reset()])
def test_a_receiver_that_does_not_answer_costs_no_more_than_its_time(delivery, receiver, behave, monkeypatch):
    monkeypatch.setattr(wire, "ATTEMPT_SECONDS", 0.5)
    receiver.behave = behave
    begun = monotonic()

    retried = deliver(delivery(receiver.url))

    assert monotonic() - begun < 0.5 + 8
    assert (retried.status, retried.attempts) == (DeliveryStatus.PENDING, 1)
    assert retried.log.get().error


def test_a_huge_answer_is_an_answer_and_little_of_any_is_kept(delivery, receiver):
    receiver.behave = answering(200, b"x" * 10_000_000)
    huge = deliver(delivery(receiver.url))
    receiver.behave = answering(200, b"x" * 50_000)
    large = deliver(delivery(receiver.url))

    assert (huge.status, large.status) == (DeliveryStatus.DELIVERED, DeliveryStatus.DELIVERED)
    assert len(large.log.get().response) == wire.KEPT_RESPONSE_BYTES


def test_internal_addresses_are_not_called_unless_allowed(delivery, receiver, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    forget(wire._client)

    refused = deliver(delivery(receiver.url))

    assert receiver.connections == 0
    assert refused.log.get().error.startswith("ForbiddenURL")


def test_a_delivery_that_is_not_due_waits(delivery, receiver):
    deliver(delivery(receiver.url, run_at=ago(-60)))

    assert not receiver.requests


def test_deliverers_at_the_same_time_send_each_event_once(delivery, receiver):
    for _ in range(20):
        delivery(receiver.url)

    in_threads(deliverer.deliver_due, count=4)

    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(ids) == len(set(ids)) == 20
    assert set(Delivery.objects.values_list("status", "attempts")) == {("delivered", 1)}


def test_an_attempt_whose_lease_ran_out_is_repeated_by_another_with_the_same_id(delivery, receiver):
    delivery(receiver.url)
    ((late,),) = Delivery.objects.claim(1, lease_seconds=-1)

    deliverer.deliver_due()
    deliverer.settle([wire.post(late)])

    ids = [request.headers["webhook-id"] for request in receiver.requests]
    late.refresh_from_db()
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert (late.status, late.attempts) == (DeliveryStatus.DELIVERED, 1)


def test_the_backlog_of_a_receiver_that_hangs_holds_up_nobody_else(delivery, receiver):
    with Peer(silent) as hanging:
        for _ in range(60):
            delivery(hanging.url)
        quick = delivery(receiver.url)
        with delivering():
            wait_until(lambda: is_delivered(quick), 2)
            under_way = hanging.connections
            hanging.stopped.set()

    assert under_way == RUNS_PER_RECEIVER
    # Some may have been tried twice by now.
    assert DeliveryAttempt.objects.exclude(error="").values("delivery").distinct().count() == 60


def test_who_is_written_while_others_hang_does_not_wait_for_them(delivery, receiver, monkeypatch):
    monkeypatch.setattr(deliverer, "LOOK_SECONDS", 30)
    asked = threading.Event()
    with Peer(silent) as hanging:
        delivery(hanging.url)
        with delivering(asked):
            wait_until(lambda: hanging.requests)
            quick = delivery(receiver.url)
            asked.set()
            wait_until(lambda: is_delivered(quick), 2)
            hanging.stopped.set()


def test_a_receiver_is_given_two_at_a_time_by_all_deliverers_together(delivery, receiver):
    under_way, most = set(), []

    def behave(connection):
        while connection.read_request():
            under_way.add(connection)
            most.append(len(under_way))
            connection.stopped.wait(0.01)
            under_way.remove(connection)
            connection.answer(204, b"")

    receiver.behave = behave
    for _ in range(20):
        delivery(receiver.url)

    in_threads(deliverer.deliver_due, count=4)

    assert max(most) == RUNS_PER_RECEIVER


def test_those_who_claim_at_once_do_not_both_find_room(delivery):
    for _ in range(20):
        delivery("http://127.0.0.1:9")

    claimed = in_threads(lambda: Delivery.objects.claim(10, 60), count=4)

    assert sum(map(len, claimed)) == RUNS_PER_RECEIVER


def test_no_more_is_claimed_than_is_attempted_at_once(delivery, receiver, settings):
    settings.WEBHOOK_CONCURRENCY = 1
    with Peer(silent) as other, Peer(silent) as hanging:
        for url in (hanging.url, other.url, receiver.url):
            delivery(url)
        with delivering():
            wait_until(lambda: hanging.requests)
            leased = Delivery.objects.exclude(lease_token=None).count()
            hanging.stopped.set()
            wait_until(lambda: other.requests)
            other.stopped.set()

    assert leased == 1
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        ("https://hooks.example.com/a?b", "https://hooks.example.com:443"),
        ("HTTPS://Hooks.Example.com:443", "https://hooks.example.com:443"),
        ("https://hooks.example.com:8443/", "https://hooks.example.com:8443"),
        ("http://hooks.example.com/", "http://hooks.example.com:80"),
    ],
)
def test_a_receiver_is_scheme_host_and_port(url, receiver):
    assert receiver_of(url) == receiver


def test_a_job_deleted_during_its_delivery_makes_nobody_s_repeat(delivery, receiver):
    deleted, other = delivery(receiver.url), delivery(receiver.url)

    def behave(peer):
        while request := peer.read_request():
            if request.headers["webhook-id"] == f"evt_{deleted.event.pk.hex}":
                delete_job(deleted.event.job)
                connection.close()
            peer.answer(204, b"")

    receiver.behave = behave
    deliverer.deliver_due()

    assert len(receiver.requests) == 2
    assert is_delivered(other)
    assert [attempt.delivery for attempt in DeliveryAttempt.objects.all()] == [other]


def test_a_secret_that_cannot_be_read_fails_its_own_deliveries_alone(delivery, receiver, caplog):
    locked, other = delivery(receiver.url), delivery(receiver.url)
    project = locked.event.project
    foreign = Fernet(Fernet.generate_key()).encrypt(b"whsec_AAAA").decode()
    Project.objects.filter(pk=project.pk).update(webhook_secret=Value(foreign, output_field=TextField()))

    failed = deliver(locked)

    assert is_delivered(other)
    assert (failed.status, failed.attempts) == (DeliveryStatus.PENDING, 1)
    assert failed.log.get().error.startswith("secret_unreadable:")
    assert f"project {project.pk}" in caplog.text

    project.rotate_webhook_secret()
    again_now(failed)
    assert deliver(failed).status == DeliveryStatus.DELIVERED


def test_the_body_stays_small_and_points_to_the_transcript(receiver, delivery):
    project = make_project()
    job = make_job(
        Status.RUNNING, project=project, callback_url=f"{receiver.url}/hook", metadata={"note": "x" * 10_000}
    )
    lifecycle.complete(job, RESULT)

    deliverer.deliver_due()

    (request,) = receiver.requests
    data = json.loads(request.body)["data"]
    assert len(request.body) < 20_000
    assert (data["metadata"], data["truncated"]) == ({"note": "x" * 10_000}, False)
    assert data["transcript_url"].endswith(f"/jobs/{job.pk}/transcript.json")


def test_what_would_make_the_body_large_is_left_out(receiver, delivery):
    sent = {"metadata": {"note": "x" * 10_000}, "tags": ["\N{SMILING FACE WITH OPEN MOUTH}" * 100] * 50}
    job = make_job(
        Status.RUNNING, callback_url=f"{receiver.url}/hook", error_code="e", error_message="é" * 1000, **sent
    )
    lifecycle.cancel(job)

    deliverer.deliver_due()

    (request,) = receiver.requests
    data = json.loads(request.body)["data"]
    assert len(request.body) < 20_000
    assert (data["metadata"], data["tags"], data["truncated"]) == (None, None, True)
    assert data["id"] == str(job.pk)


def test_a_number_that_the_database_gives_back_longer_is_sent(receiver):
    job = make_job(Status.RUNNING, callback_url=f"{receiver.url}/hook", metadata={"number": 1e20})
    lifecycle.complete(fresh(job), RESULT)

    deliverer.deliver_due()

    (request,) = receiver.requests
    assert json.loads(request.body)["data"]["metadata"] == {"number": 1e20}
