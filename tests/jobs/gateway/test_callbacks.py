"""`callback`: answered at once, and the result posted as Deepgram does, signed and retried as we do."""

import json

import pytest
from django.core.files.storage import storages
from standardwebhooks import Webhook

from jobs.models import ApiKey, Delivery, DeliveryStatus, Transcript, TranscriptionJob
from jobs.webhooks import deliverer, wire
from tests.clients import forget
from tests.conditions import wait_until
from tests.jobs.api.conftest import wav
from tests.jobs.gateway.test_listen import LISTEN, WAV, refusal
from tests.sandbox.receiver import Received, Receiver


@pytest.fixture
def receiver(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    forget(wire._client)
    with Receiver() as receiver:
        yield receiver


def posted(receiver: Receiver) -> Received:
    """The callback, once its job has ended."""
    wait_until(lambda: Delivery.objects.due().exists())
    deliverer.deliver_due()
    return receiver.next()


def test_it_carries_the_result_under_the_id_that_was_answered(client, worker, receiver, project):
    accepted = client.post(f"{LISTEN}&callback={receiver.url}/done", content=wav(2), headers=WAV)

    call = posted(receiver)

    job, request_id = TranscriptionJob.objects.get(), accepted.json()["request_id"]
    assert (accepted.status_code, set(accepted.json())) == (200, {"request_id"})
    assert request_id == accepted.headers["dg-request-id"] == str(job.pk)
    result = json.loads(call.body)
    assert (call.method, call.path, call.headers["content-type"]) == ("POST", "/done", "application/json")
    assert result["metadata"]["request_id"] == request_id
    assert result["metadata"]["duration"] == 2.0
    assert result["results"]["channels"][0]["alternatives"][0]["transcript"] == job.transcripts.get().text
    assert call.headers["dg-token"] == str(ApiKey.objects.get().pk)
    Webhook(project.webhook_secret).verify(call.body, call.headers)
    assert Delivery.objects.get().status == DeliveryStatus.DELIVERED


def test_it_is_put_where_that_is_asked_for(client, worker, receiver):
    client.post(f"{LISTEN}&callback={receiver.url}&callback_method=put", content=wav(), headers=WAV)

    assert posted(receiver).method == "PUT"


def test_a_failure_is_posted_too(client, worker, receiver):
    asked = client.post(f"/v1/listen?model=nova-99&callback={receiver.url}", content=wav(), headers=WAV)

    assert json.loads(posted(receiver).body) == {
        "err_code": "Bad Request",
        "err_msg": "No such model/language/tier combination found.",
        "request_id": asked.json()["request_id"],
    }


def test_it_is_tried_again_with_the_same_result(client, worker, receiver):
    receiver.statuses = [500]
    client.post(f"{LISTEN}&callback={receiver.url}", content=wav(), headers=WAV)
    first = posted(receiver)
    assert Delivery.objects.get().status == DeliveryStatus.PENDING
    Delivery.objects.replay()

    second = posted(receiver)

    assert (second.body, second.headers["webhook-id"]) == (first.body, first.headers["webhook-id"])


def test_without_the_providers_bytes_what_was_said_is_posted_all_the_same(client, worker, receiver):
    asked = client.post(f"{LISTEN}&callback={receiver.url}", content=wav(2), headers=WAV)
    wait_until(lambda: Delivery.objects.due().exists())
    transcript = Transcript.objects.get()
    storages["default"].delete(transcript.answer)

    result = json.loads(posted(receiver).body)

    assert result["metadata"] == {"request_id": asked.json()["request_id"], "duration": 2.0, "channels": 1}
    [alternative] = result["results"]["channels"][0]["alternatives"]
    assert (alternative["transcript"], alternative["words"]) == (transcript.text, transcript.words)


@pytest.mark.parametrize(
    "url", ["nonsense", "http://10.0.0.1/", "ftp://example.com/", "https://user:pass@example.com/"]
)
def test_an_address_that_is_not_called_is_refused(client, settings, url):
    settings.WEBHOOK_ALLOW_PRIVATE = False

    response = client.post(f"{LISTEN}&callback={url}", content=wav(), headers=WAV)

    assert refusal(response) == (400, "INVALID_QUERY_PARAMETER")
    assert response.json()["err_msg"].startswith("Invalid callback url.")
