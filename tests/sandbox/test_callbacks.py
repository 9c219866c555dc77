import json

import httpx
import pytest

from tests.sandbox.receiver import Receiver
from tests.sandbox.sounds import wav

RECORDING = wav(4)


def submit(client: httpx.Client, receiver: Receiver, fault: str = "", **parameters: str) -> httpx.Response:
    headers = {"x-sandbox-fault": fault} if fault else {}
    parameters = {"callback": receiver.url + "/done", **parameters}
    return client.post("/v1/listen", params=parameters, content=RECORDING, headers=headers)


def test_result_is_posted_later(client: httpx.Client, receiver: Receiver) -> None:
    accepted = submit(client, receiver, tag="t")

    received = receiver.next()
    assert accepted.status_code == 200
    assert accepted.json() == {"request_id": accepted.headers["dg-request-id"]}
    assert (received.method, received.path) == ("POST", "/done")
    metadata = json.loads(received.body)["metadata"]
    assert (metadata["request_id"], metadata["tags"]) == (accepted.json()["request_id"], ["t"])


def test_result_can_be_put(client: httpx.Client, receiver: Receiver) -> None:
    submit(client, receiver, callback_method="PUT")

    assert receiver.next().method == "PUT"


def test_token_identifies_the_key_without_giving_it_away(client: httpx.Client, receiver: Receiver) -> None:
    submit(client, receiver)
    submit(client, receiver)
    client.headers["authorization"] = "Token another-key"
    submit(client, receiver)

    tokens = sorted(receiver.next().headers["dg-token"] for _ in range(3))
    assert len(set(tokens)) == 2
    assert not {"a-key", "another-key"} & set(tokens)


def test_credentials_in_the_address_are_used(client: httpx.Client, receiver: Receiver) -> None:
    submit(client, receiver, callback=receiver.url.replace("http://", "http://user:pass@"))

    assert receiver.next().headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize("status", [302, 400, 500])
def test_refused_callback_is_repeated_until_taken(
    client: httpx.Client, receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status, status]

    submit(client, receiver)

    bodies = {receiver.next().body for _ in range(3)}
    assert len(bodies) == 1
    assert receiver.is_silent_for(0.3)


def test_callback_is_given_up_after_ten_retries(client: httpx.Client, receiver: Receiver) -> None:
    receiver.statuses = [500] * 20

    submit(client, receiver)

    for _ in range(11):
        receiver.next()
    assert receiver.is_silent_for(0.3)


def test_failure_is_posted_too(client: httpx.Client, receiver: Receiver) -> None:
    accepted = client.post("/v1/listen", params={"callback": receiver.url}, content=b"no audio")

    body = json.loads(receiver.next().body)
    assert accepted.status_code == 200
    assert body["err_code"] == "Bad Request"
    assert body["request_id"] == accepted.json()["request_id"]


def test_remote_recording_is_fetched_after_the_answer(client: httpx.Client, receiver: Receiver) -> None:
    accepted = client.post(
        "/v1/listen", params={"callback": receiver.url}, json={"url": receiver.url + "/none.wav"}
    )

    assert accepted.status_code == 200
    assert json.loads(receiver.next().body)["err_code"] == "REMOTE_CONTENT_ERROR"


def test_callback_can_come_twice(client: httpx.Client, receiver: Receiver) -> None:
    submit(client, receiver, fault="callback_copies=2")

    assert receiver.next().body == receiver.next().body


def test_callback_can_come_late(client: httpx.Client, receiver: Receiver) -> None:
    submit(client, receiver, fault="callback_late=0.5")

    assert receiver.is_silent_for(0.3)
    assert receiver.next().body


def test_bad_address_is_refused_at_once(client: httpx.Client) -> None:
    answer = client.post("/v1/listen", params={"callback": "nowhere"}, content=RECORDING)

    assert (answer.status_code, answer.json()["err_msg"]) == (400, "Invalid callback url.")
