import hashlib
import time

import httpx
import pytest

from tests.sandbox.sounds import wav
from tests.sandbox_process import SandboxProcess


def grant(client: httpx.Client, **arguments: object) -> httpx.Response:
    return client.post("/v1/auth/grant", **arguments)


@pytest.mark.parametrize(
    "header", ["", "Token", "Token invalid", "Basic a-key", "Bearer a-key", "Bearer a.b.c"]
)
def test_listening_needs_a_key_or_a_token(client: httpx.Client, header: str) -> None:
    answer = client.post("/v1/listen", content=wav(1), headers={"authorization": header})

    assert answer.status_code == 401
    assert answer.json()["err_code"] == "INVALID_AUTH"
    assert answer.json()["err_msg"] == answer.headers["dg-error"] == "Invalid credentials."


def test_only_given_keys_are_accepted_when_any_are_given() -> None:
    with SandboxProcess(keys=["one", "two"]) as sandbox:
        statuses = [
            httpx.get(
                sandbox.url + "/v1/projects", headers={"authorization": f"token {key}"}, trust_env=False
            ).status_code
            for key in ("one", "two", "three")
        ]

    assert statuses == [200, 200, 401]


@pytest.mark.parametrize(
    ("body", "seconds"),
    [(b"", 30), (b"{}", 30), (b'{"ttl_seconds": 60}', 60), (b'{"ttl_seconds": 0.5}', 0.5)],
)
def test_grant_takes_an_empty_body_or_a_time_to_live(
    client: httpx.Client, body: bytes, seconds: float
) -> None:
    answer = grant(client, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 200
    assert answer.json()["expires_in"] == seconds
    assert len(answer.json()["access_token"].split(".")) == 3


@pytest.mark.parametrize(
    "body", ['{"ttl_seconds": 0}', '{"ttl_seconds": 3601}', '{"ttl_seconds": "1"}', "[]", "{"]
)
def test_grant_refuses_what_is_no_time_to_live(client: httpx.Client, body: str) -> None:
    answer = grant(client, content=body)

    assert (answer.status_code, answer.json()["category"]) == (400, "INVALID_JSON")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_token_may_listen_but_not_manage(client: httpx.Client, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {grant(client).json()['access_token']}"}

    assert client.post("/v1/listen", content=wav(1), headers=headers).status_code == 200
    refused = client.get("/v1/projects", headers=headers)
    assert (refused.status_code, refused.json()["err_code"]) == (403, "INSUFFICIENT_PERMISSIONS")


def test_token_expires(client: httpx.Client) -> None:
    token = grant(client, json={"ttl_seconds": 0.2}).json()["access_token"]

    def status() -> int:
        headers = {"authorization": f"Bearer {token}"}
        return client.post("/v1/listen", content=wav(1), headers=headers).status_code

    deadline = time.monotonic() + 5
    while status() != 401:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_changed_token_is_refused(client: httpx.Client) -> None:
    head, claims, signature = grant(client).json()["access_token"].split(".")
    headers = {"authorization": f"Bearer {head}.{claims}x.{signature}"}

    assert client.post("/v1/listen", content=wav(1), headers=headers).status_code == 401


def test_models_name_the_recogniser_that_runs(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()

    assert {"nova-3", "nova-2-meeting", "base-general"} <= {model["name"] for model in models["stt"]}
    assert {model["architecture"] for model in models["stt"]} == {"scripted"}
    assert models["tts"] == []


def test_projects_serve_as_a_check_of_keys(client: httpx.Client) -> None:
    assert len(client.get("/v1/projects").json()["projects"]) == 1
    assert client.get("/v1/projects", headers={"authorization": "Token invalid"}).status_code == 401


def test_status_needs_no_key(client: httpx.Client) -> None:
    status = client.get("/v1/status", headers={"authorization": ""})
    engine = client.get("/v1/status/engine", headers={"authorization": ""})

    assert status.json()["system_health"] == "Healthy"
    assert engine.text.startswith('{"engine_connection_status":"Connected"')


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/listen", 405),
        ("DELETE", "/v1/projects", 405),
        ("POST", "/v2/listen", 404),
        ("GET", "/", 404),
    ],
)
def test_other_addresses_are_refused_with_a_request_id(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert answer.json()["request_id"] == answer.headers["dg-request-id"]


def test_browsers_may_call_from_anywhere(client: httpx.Client) -> None:
    origin = {"origin": "https://app.example"}

    preflight = client.options(
        "/v1/listen",
        headers={
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,x-custom",
        },
    )
    refused = client.post("/v1/listen", content=b"", headers={**origin, "authorization": ""})

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization,x-custom"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for answer in (preflight, refused):
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "dg-request-id" in answer.headers["access-control-expose-headers"]


def test_journal_counts_requests_by_recording_and_tag(client: httpx.Client, sandbox: SandboxProcess) -> None:
    recording = wav(1)
    for tag in ("a", "a", "b"):
        client.post("/v1/listen", params={"tag": tag}, content=recording)
    client.post("/v1/listen", content=b"junk")
    client.get("/v1/projects")

    journal = sandbox.requests()

    assert journal["total"] == 4
    assert journal["by_status"] == {"200": 3, "400": 1}
    assert journal["by_sha256"][hashlib.sha256(recording).hexdigest()] == 3
    assert journal["by_tag"] == {"a": 2, "b": 1}
    assert journal["by_path"] == {"POST /v1/listen": 4, "GET /v1/projects": 1}
    assert (journal["active"], journal["peak"]) == (0, 1)
    last = journal["recent"][-1]
    assert (last["status"], last["size"], last["fault"]) == (400, 4, None)


def test_journal_can_be_cleared(client: httpx.Client, sandbox: SandboxProcess) -> None:
    client.post("/v1/listen", content=wav(1))

    assert client.delete("/sandbox/requests").status_code == 204

    assert sandbox.requests()["total"] == 0


def test_transcript_cannot_be_set_to_anything_but_text(client: httpx.Client) -> None:
    answer = client.put("/sandbox/transcript", json={"text": 1})

    assert (answer.status_code, answer.json()["err_code"]) == (400, "BAD_FAULT")
