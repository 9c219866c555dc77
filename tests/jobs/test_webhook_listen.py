"""manage.py webhook_listen, as a process, told by real deliveries."""

import re
import sys

import httpx
import pytest
from django.core.management import CommandError, call_command

from jobs.models import WebhookEndpoint
from jobs.webhooks import deliverer, wire
from tests.conditions import wait_until
from tests.environment import ROOT
from tests.faults.harness import Program
from tests.jobs.rows import make_project
from tests.routing.peer import Peer, answering

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.postgresql,
    pytest.mark.usefixtures("private_receivers"),
]


@pytest.fixture
def endpoint():
    return WebhookEndpoint.objects.create(project=make_project(), url="https://example.com")


class Listener(Program):
    prefix = "listener"

    def answers(self):
        found = re.search(r"Listening on (http://127.0.0.1:\d+/)", self.output())
        self.address = found and found[1]
        return found is not None


@pytest.fixture
def listen(tmp_path):
    started = []

    def listen(*arguments):
        command = (sys.executable, str(ROOT / "manage.py"), "webhook_listen", "--port", "0", *arguments)
        listener = Listener(*command, environment={"DATA_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"})
        listener.start()
        started.append(listener)
        return listener

    yield listen
    for listener in started:
        listener.kill()
        listener.close()


def deliver_to(endpoint, address):
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(url=f"{address}hook")
    endpoint.refresh_from_db()
    return deliverer.deliver_test(endpoint)


def test_it_verifies_and_prints_what_comes(listen, endpoint):
    listener = listen("--secret", endpoint.webhook_secret)

    delivery = deliver_to(endpoint, listener.address)

    assert delivery.log.get().status_code == 204
    wait_until(lambda: '"This is a test."' in listener.output())
    assert f"verified test {delivery.event.message_id}" in listener.output()


def test_it_refuses_what_another_secret_signed(listen, endpoint):
    listener = listen("--secret", make_project("another").webhook_secret)

    assert deliver_to(endpoint, listener.address).log.get().status_code == 401
    assert "This is a test." not in listener.output()


def test_it_passes_messages_on_as_they_came_and_answers_as_it_is_answered(listen, endpoint):
    with Peer(answering(418, b"")) as app:
        listener = listen("--forward", f"{app.url}/mine")

        delivery = deliver_to(endpoint, listener.address)

        (request,) = app.requests
    assert delivery.log.get().status_code == 418
    assert request.target == "/mine"
    assert request.headers["webhook-id"] == delivery.event.message_id
    assert request.body == wire.payload(delivery.event)
    assert request.headers["webhook-signature"].startswith("v1,")


def test_what_is_no_message_is_refused_and_what_looks_like_markup_printed_as_it_is(listen):
    listener = listen()

    for body in (b"no JSON", b"[]", b'"text"'):
        assert httpx.post(listener.address, content=body, trust_env=False).status_code == 400, body
    answer = httpx.post(
        listener.address, json={"type": "[/red]"}, headers={"webhook-id": "[bold]"}, trust_env=False
    )

    assert answer.status_code == 204
    wait_until(lambda: "unverified [/red] [bold]" in listener.output())


@pytest.mark.parametrize("secret", ["a-key-of-the-api", "whsec_x"])
def test_a_secret_that_is_none_is_refused_before_anything_comes(secret):
    with pytest.raises(CommandError, match="must look like whsec_"):
        call_command("webhook_listen", port=0, secret=secret)
