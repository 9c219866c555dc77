"""Deepgram's own clients, and curl as its documentation has it, with another address and key alone."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.errors import BadRequestError

from jobs.models import TranscriptionJob
from jobs.webhooks import deliverer, wire
from tests.clients import forget
from tests.conditions import wait_until
from tests.jobs.api.conftest import wav
from tests.sandbox.receiver import Receiver

# The SDK imports names that websockets has deprecated.
# What SDKs send and take is the same on both databases.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.postgresql]

RECORDING = wav(4)
OPTIONS: dict[str, Any] = {"model": "nova-3", "smart_format": True, "utterances": True, "tag": ["a", "b"]}


@pytest.fixture
def receiver(settings, worker) -> Iterator[Receiver]:
    """Has the recording at /call.wav, and takes callbacks."""
    settings.WEBHOOK_ALLOW_PRIVATE = settings.FETCH_ALLOW_PRIVATE = True
    forget(wire._client)
    with Receiver() as receiver:
        receiver.files["/call.wav"] = RECORDING
        yield receiver


@pytest.fixture
def environment(gateway) -> DeepgramClientEnvironment:
    return DeepgramClientEnvironment(
        base=gateway.http_url, production=gateway.url, agent=gateway.url, agent_rest=gateway.http_url
    )


@pytest.fixture
def sdk(environment, key) -> Iterator[DeepgramClient]:
    with httpx.Client(trust_env=False, timeout=60) as http:
        yield DeepgramClient(api_key=key, environment=environment, httpx_client=http)


@pytest.fixture
async def async_sdk(environment, key) -> AsyncIterator[AsyncDeepgramClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        yield AsyncDeepgramClient(api_key=key, environment=environment, httpx_client=http)


def check(result: Any) -> None:
    assert result.metadata.duration == 4.0
    assert result.results.channels[0].alternatives[0].transcript
    assert result.results.utterances


def delivered(receiver: Receiver) -> dict[str, Any]:
    deliverer.deliver_due()
    return json.loads(receiver.next().body)


def test_python_sends_files_bytes_and_generators(sdk, tmp_path):
    file = tmp_path / "call.wav"
    file.write_bytes(RECORDING)
    media = sdk.listen.v1.media

    with file.open("rb") as opened:
        check(media.transcribe_file(request=opened, **OPTIONS))
    check(media.transcribe_file(request=RECORDING, **OPTIONS))
    check(
        media.transcribe_file(request=(RECORDING[at : at + 9999] for at in range(0, 128044, 9999)), **OPTIONS)
    )

    assert [job.tags for job in TranscriptionJob.objects.all()] == [["a", "b"]] * 3


def test_python_sends_urls_and_is_called_back(sdk, receiver):
    check(sdk.listen.v1.media.transcribe_url(url=f"{receiver.url}/call.wav", **OPTIONS))

    accepted = sdk.listen.v1.media.transcribe_url(
        url=f"{receiver.url}/call.wav", callback=f"{receiver.url}/done", **OPTIONS
    )

    wait_until(lambda: TranscriptionJob.objects.get(pk=accepted.request_id).is_ended)
    assert delivered(receiver)["metadata"]["request_id"] == accepted.request_id


def test_python_is_granted_tokens_and_told_of_models(sdk, environment):
    granted = sdk.auth.v1.tokens.grant(ttl_seconds=60)
    with httpx.Client(trust_env=False, timeout=60) as http:
        bearer = DeepgramClient(access_token=granted.access_token, environment=environment, httpx_client=http)
        check(bearer.listen.v1.media.transcribe_file(request=RECORDING, **OPTIONS))

    assert granted.expires_in == 60
    assert "nova-3" in [model.name for model in sdk.manage.v1.models.list().stt]


def test_python_is_told_what_is_wrong(sdk):
    with pytest.raises(BadRequestError) as caught:
        sdk.listen.v1.media.transcribe_file(request=b"no audio")

    assert caught.value.body["err_code"] == "Bad Request"
    assert caught.value.headers["dg-request-id"] == caught.value.body["request_id"]


async def test_asynchronous_python_does_the_same(async_sdk, receiver):
    async def pieces() -> AsyncIterator[bytes]:
        yield RECORDING[:1000]
        yield RECORDING[1000:]

    check(await async_sdk.listen.v1.media.transcribe_file(request=RECORDING, **OPTIONS))
    check(await async_sdk.listen.v1.media.transcribe_file(request=pieces(), **OPTIONS))
    check(await async_sdk.listen.v1.media.transcribe_url(url=f"{receiver.url}/call.wav", **OPTIONS))
    assert (await async_sdk.auth.v1.tokens.grant()).expires_in == 30


def test_javascript_sends_streams_buffers_and_urls(gateway, key, receiver, javascript):
    program = shutil.copy(Path(__file__).with_name("recorded_sdk.js"), javascript)
    file = javascript / "call.wav"
    file.write_bytes(RECORDING)
    addresses = [f"{receiver.url}/call.wav", f"{receiver.url}/done"]

    done = subprocess.run(
        ["node", program, key, gateway.http_url, str(file), *addresses],
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for way in ("stream", "buffer", "url", "granted"):
        assert answers[way]["metadata"]["duration"] == 4.0
        assert answers[way]["results"]["utterances"]
    assert answers["refused"]["status"] == 400
    assert answers["refused"]["body"]["err_code"] == "Bad Request"
    wait_until(lambda: TranscriptionJob.objects.get(pk=answers["callback"]["request_id"]).is_ended)
    assert delivered(receiver)["metadata"]["request_id"] == answers["callback"]["request_id"]


@pytest.mark.parametrize("source", ["file", "url"])
def test_curl_as_deepgram_documents_it(gateway, key, receiver, tmp_path, source):
    (tmp_path / "youraudio.wav").write_bytes(RECORDING)
    body = {
        "file": ["--header", "Content-Type: audio/wav", "--data-binary", "@youraudio.wav"],
        "url": [
            *("--header", "Content-Type: application/json"),
            *("--data", json.dumps({"url": f"{receiver.url}/call.wav"})),
        ],
    }[source]

    done = subprocess.run(
        [
            *("curl", "--silent", "--noproxy", "*", "--request", "POST"),
            *("--header", f"Authorization: Token {key}", *body),
            *("--url", f"{gateway.http_url}/v1/listen?model=nova-3&smart_format=true"),
        ],
        cwd=tmp_path,
        capture_output=True,
        timeout=100,
        check=True,
    )

    assert json.loads(done.stdout)["metadata"]["duration"] == 4.0
