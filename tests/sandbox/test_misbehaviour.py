import hashlib
import socket
import time
from collections.abc import Callable

import httpx
import pytest

from tests.sandbox.sounds import wav
from tests.sandbox_process import SandboxProcess

RECORDING = wav(4)


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def post(client: httpx.Client, fault: str, **arguments: object) -> httpx.Response:
    headers = {"x-sandbox-fault": fault}
    return client.post("/v1/listen", content=RECORDING, headers=headers, **arguments)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 413, 415, 418, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("at", ["head", "body"])
def test_any_status_can_be_had(client: httpx.Client, status: int, at: str) -> None:
    answer = post(client, f"status={status};at={at};retry_after=7")

    assert answer.status_code == status
    assert answer.headers["retry-after"] == "7"
    assert isinstance(answer.json(), dict)


def test_unavailable_is_spelled_as_deepgram_spells_it(client: httpx.Client) -> None:
    body = post(client, "status=503").json()

    assert (body["error_code"], body["err_msg"]) == ("Service Unavailable", "Please try again later")


def test_status_can_have_a_body_of_its_own(client: httpx.Client) -> None:
    answer = post(client, "status=504;body=<html>a; b</html>")

    assert (answer.text, answer.headers["content-type"]) == ("<html>a; b</html>", "text/plain")


def test_fault_can_be_asked_for_in_the_query(client: httpx.Client) -> None:
    answer = client.post("/v1/listen", params={"sandbox_fault": "status=500"}, content=RECORDING)

    assert answer.status_code == 500


def test_unknown_fault_is_refused(client: httpx.Client) -> None:
    answer = post(client, "explode")

    assert answer.status_code == 400
    assert "unknown fault 'explode'" in answer.json()["err_msg"]


@pytest.mark.parametrize("fault", ["truncated", "not_json", "empty"])
def test_answer_can_be_no_json(client: httpx.Client, fault: str) -> None:
    answer = post(client, fault)

    assert answer.status_code == 200
    with pytest.raises(ValueError):
        answer.json()


def test_upload_over_the_limit_is_refused_before_any_faulty_answer(client: httpx.Client) -> None:
    answer = client.post("/v1/listen", content=bytes(2_000_000), headers={"x-sandbox-fault": "status=503"})

    assert answer.status_code == 413


def test_latency_comes_before_the_proper_answer(client: httpx.Client) -> None:
    begun = time.monotonic()

    answer = post(client, "latency=0.3")

    assert time.monotonic() - begun >= 0.3
    assert answer.json()["metadata"]["duration"] == 4.0


@pytest.mark.parametrize("moment", ["upload", "request", "answer"])
def test_connection_is_reset(client: httpx.Client, moment: str) -> None:
    with pytest.raises((httpx.ReadError, httpx.WriteError)) as caught:
        post(client, f"reset={moment}")

    assert "reset" in str(caught.value).lower() or "pipe" in str(caught.value).lower()


def test_reset_during_the_answer_comes_after_its_head(client: httpx.Client) -> None:
    with client.stream(
        "POST", "/v1/listen", content=RECORDING, headers={"x-sandbox-fault": "reset=answer"}
    ) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.ReadError):
            answer.read()


def test_hanging_request_gets_no_answer_until_the_client_leaves(
    client: httpx.Client, sandbox: SandboxProcess
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        post(client, "hang", timeout=0.3)

    wait_until(lambda: sandbox.requests()["active"] == 0)
    assert sandbox.requests()["by_status"] == {"None": 1}


def test_half_open_connection_does_not_notice_that_the_client_left() -> None:
    # One of its own: the request stays open for as long as the server runs.
    with SandboxProcess() as sandbox, httpx.Client(base_url=sandbox.url, trust_env=False) as client:
        client.headers["authorization"] = "Token k"
        for fault in ("half_open", "hang"):
            with pytest.raises(httpx.ReadTimeout):
                post(client, fault, timeout=0.3)

        wait_until(lambda: sandbox.requests()["by_status"] == {"None": 1})
        assert sandbox.requests()["active"] == 1


@pytest.mark.parametrize("part", ["head", "body"])
def test_dripping_answer_arrives_whole_in_the_end(client: httpx.Client, part: str) -> None:
    answer = post(client, f"drip=0.0005;part={part}")

    assert answer.json()["metadata"]["duration"] == 4.0


@pytest.mark.parametrize("part", ["head", "body"])
def test_answer_drips_byte_by_byte(sandbox: SandboxProcess, part: str) -> None:
    host, port = sandbox.url.removeprefix("http://").split(":")
    head = (
        "POST /v1/listen HTTP/1.1\r\nhost: x\r\nauthorization: Token k\r\n"
        f"x-sandbox-fault: drip=0.1;part={part}\r\ncontent-length: {len(RECORDING)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode() + RECORDING)
        if part == "body":
            while b"\r\n\r\n" not in connection.recv(4096):
                pass

        assert [len(connection.recv(4096)) for _ in range(3)] == [1, 1, 1]


def test_standing_rules_hit_as_many_requests_as_they_say(
    client: httpx.Client, sandbox: SandboxProcess
) -> None:
    sandbox.set_faults({"fault": "status=503", "first": 2}, {"fault": "status=429", "every": 3})

    statuses = [client.post("/v1/listen", content=RECORDING).status_code for _ in range(6)]

    assert statuses == [503, 503, 200, 200, 429, 200]
    assert [rule["applied"] for rule in sandbox.faults()] == [2, 1]


def test_rules_can_concern_another_address(client: httpx.Client, sandbox: SandboxProcess) -> None:
    sandbox.set_faults({"fault": "status=500", "path": "/v1/projects"})

    assert client.get("/v1/projects").status_code == 500
    assert client.post("/v1/listen", content=RECORDING).status_code == 200


def test_rules_can_be_removed(client: httpx.Client, sandbox: SandboxProcess) -> None:
    sandbox.set_faults("status=500")

    assert client.delete("/sandbox/faults").json() == []

    assert client.post("/v1/listen", content=RECORDING).status_code == 200


def test_bad_rules_are_refused(client: httpx.Client) -> None:
    answer = client.put("/sandbox/faults", json=[{"fault": "explode"}])

    assert (answer.status_code, answer.json()["err_code"]) == (400, "BAD_FAULT")


def test_faulty_requests_are_in_the_journal(client: httpx.Client, sandbox: SandboxProcess) -> None:
    post(client, "status=503")

    last = sandbox.requests()["recent"][-1]
    assert (last["status"], last["fault"]) == (503, "status")
    assert last["sha256"] == hashlib.sha256(RECORDING).hexdigest()


def test_server_stops_soon_while_requests_hang() -> None:
    with SandboxProcess() as sandbox:
        for fault in ("hang", "half_open"):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(
                    sandbox.url + "/v1/listen",
                    content=RECORDING,
                    headers={"authorization": "Token k", "x-sandbox-fault": fault},
                    timeout=0.2,
                    trust_env=False,
                )
        begun = time.monotonic()
        sandbox.stop()

        assert time.monotonic() - begun < 5


def test_stopped_server_comes_back_at_its_address() -> None:
    with SandboxProcess() as sandbox:
        url = sandbox.url
        sandbox.kill()
        with pytest.raises(httpx.ConnectError):
            httpx.get(url + "/v1/status", trust_env=False)

        sandbox.start()

        assert sandbox.url == url
        assert httpx.get(url + "/v1/status", trust_env=False).status_code == 200
