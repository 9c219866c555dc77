"""The server that serves web and live, as a process."""

import threading
import wave
from contextlib import suppress
from io import BytesIO

import httpx
import pytest

from jobs.models import ApiKey, Project, TranscriptionJob
from tests.sandbox_process import SandboxProcess
from tests.services import PostgresServer
from tests.services.process import free_port
from tests.web_process import WebProcess


def second_of_silence() -> bytes:
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(32000))
    return buffer.getvalue()


@pytest.fixture
def key(transactional_db) -> str:
    _, text = ApiKey.objects.issue(Project.objects.create(name="p"), "k")
    return text


def test_a_waiting_caller_is_answered_while_the_server_drains(key, database_url, tmp_path):
    with SandboxProcess() as sandbox:
        sandbox.set_faults("latency=1.5")
        web = WebProcess({"DATABASE_URL": database_url, "DEEPGRAM_BASE_URL": sandbox.url})
        web.start()
        answers = []

        def ask():
            answers.append(
                httpx.post(
                    f"{web.url}/api/v1/jobs/?mode=sync",
                    content=second_of_silence(),
                    headers={"authorization": f"Token {key}", "content-type": "audio/wav"},
                    timeout=20,
                )
            )

        caller = threading.Thread(target=ask)
        caller.start()
        while not sandbox.requests()["active"]:
            assert caller.is_alive(), answers
        told = web.stop()
        caller.join()

    assert f"Serving http://127.0.0.1:{web.port} at 127.0.0.1:{web.port}." in told
    assert "Stopping: what runs now may end first." in told
    assert answers[0].status_code == 201
    assert answers[0].json()["status"] == "completed"


def test_what_is_not_done_when_grace_ends_goes_back_to_the_queue(key, database_url):
    with SandboxProcess() as sandbox:
        sandbox.set_faults("hang")
        web = WebProcess(
            {"DATABASE_URL": database_url, "DEEPGRAM_BASE_URL": sandbox.url, "SHUTDOWN_GRACE_SECONDS": "0.5"}
        )
        web.start()
        caller = threading.Thread(target=_ignore_the_end, args=(web.url, key))
        caller.start()
        while not sandbox.requests()["active"]:
            assert caller.is_alive()
        web.stop()
        caller.join()

    job = TranscriptionJob.objects.get()
    assert (job.status, job.lease_token, job.crashes, job.attempts) == ("queued", None, 0, 0)


def _ignore_the_end(url: str, key: str) -> None:
    with suppress(httpx.HTTPError):
        httpx.post(
            f"{url}/api/v1/jobs/?mode=sync",
            content=second_of_silence(),
            headers={"authorization": f"Token {key}", "content-type": "audio/wav"},
            timeout=20,
        )


def test_readiness_names_what_is_missing_and_comes_back_with_it():
    with (
        PostgresServer(port=free_port()) as postgres,
        WebProcess({"DATABASE_URL": postgres.url}) as web,
    ):
        unmigrated = httpx.get(f"{web.url}/readyz")
        postgres.stop("immediate")
        without = httpx.get(f"{web.url}/readyz", timeout=20)
        alive = httpx.get(f"{web.url}/healthz")
        fleet = httpx.get(f"{web.url}/metrics/fleet", timeout=20)
        postgres.start()

    assert unmigrated.status_code == 503
    assert unmigrated.json()["database"] == "ok"
    assert "manage.py migrate" in unmigrated.json()["migrations"]
    assert without.status_code == 503
    assert without.json()["database"].startswith("unavailable")
    assert "transcribe_database_up 0.0" in fleet.text
    assert alive.status_code == 200


def test_an_address_in_use_is_told_plainly():
    with WebProcess({"DATABASE_URL": "sqlite:///:memory:"}) as first:
        second = WebProcess({"DATABASE_URL": "sqlite:///:memory:"})
        second._environment["PORT"] = str(first.port)

        with pytest.raises(RuntimeError, match="cannot be used: Address already in use"):
            second.url = "http://127.0.0.1:1"
            second.start()


@pytest.mark.postgresql
@pytest.mark.parametrize(("trusted", "status"), [("::1,127.0.0.0/8", 302), ("192.0.2.1", 301)])
def test_a_proxy_is_believed_only_if_it_is_trusted(trusted, status, database_url):
    settings = {"DATABASE_URL": database_url, "PUBLIC_URL": "https://127.0.0.1", "TRUSTED_PROXIES": trusted}
    with WebProcess(settings) as web:
        answer = httpx.get(f"{web.url}/admin/", headers={"x-forwarded-proto": "https"})

    # To the login, or to where there is TLS.
    assert answer.status_code == status
