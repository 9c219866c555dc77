"""The official client, unchanged but for its base address."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment
from deepgram.errors import BadRequestError

from tests.sandbox.receiver import Receiver
from tests.sandbox.sounds import wav
from tests.sandbox_process import SandboxProcess

# The SDK imports names that websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")

RECORDING = wav(4)
OPTIONS: dict[str, Any] = {"model": "nova-3", "smart_format": True, "utterances": True, "tag": ["a", "b"]}


@pytest.fixture
def sdk(environment: DeepgramClientEnvironment, http: httpx.Client) -> DeepgramClient:
    return DeepgramClient(api_key="a-key", environment=environment, max_retries=0, httpx_client=http)


@pytest.fixture
def async_sdk(environment: DeepgramClientEnvironment, async_http: httpx.AsyncClient) -> AsyncDeepgramClient:
    return AsyncDeepgramClient(
        api_key="a-key", environment=environment, max_retries=0, httpx_client=async_http
    )


def check(answer: Any) -> None:
    assert answer.metadata.duration == 4.0
    assert answer.metadata.created.year >= 2026
    assert answer.metadata.tags == ["a", "b"]
    alternative = answer.results.channels[0].alternatives[0]
    assert alternative.words[0].punctuated_word == "Baba"
    assert alternative.paragraphs.transcript.startswith("\nBaba")
    assert answer.results.utterances[0].transcript == alternative.transcript


def test_bytes_are_transcribed(sdk: DeepgramClient) -> None:
    check(sdk.listen.v1.media.transcribe_file(request=RECORDING, **OPTIONS))


def test_open_file_is_transcribed(sdk: DeepgramClient, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(RECORDING)

    with path.open("rb") as file:
        check(sdk.listen.v1.media.transcribe_file(request=file, **OPTIONS))


def test_generator_is_transcribed(sdk: DeepgramClient) -> None:
    def chunks() -> Iterator[bytes]:
        yield RECORDING[:1000]
        yield RECORDING[1000:]

    check(sdk.listen.v1.media.transcribe_file(request=chunks(), **OPTIONS))


def test_url_is_transcribed(sdk: DeepgramClient, receiver: Receiver) -> None:
    receiver.files["/a.wav"] = RECORDING

    check(sdk.listen.v1.media.transcribe_url(url=receiver.url + "/a.wav", **OPTIONS))


def test_callback_is_accepted_and_delivered(sdk: DeepgramClient, receiver: Receiver) -> None:
    accepted = sdk.listen.v1.media.transcribe_file(request=RECORDING, callback=receiver.url, **OPTIONS)

    delivered = json.loads(receiver.next().body)
    assert delivered["metadata"]["request_id"] == accepted.request_id


def test_granted_token_may_listen(
    sdk: DeepgramClient, environment: DeepgramClientEnvironment, http: httpx.Client
) -> None:
    granted = sdk.auth.v1.tokens.grant(ttl_seconds=60)
    bearer = DeepgramClient(access_token=granted.access_token, environment=environment, httpx_client=http)

    assert granted.expires_in == 60
    check(bearer.listen.v1.media.transcribe_file(request=RECORDING, **OPTIONS))


def test_models_and_projects_are_listed(sdk: DeepgramClient) -> None:
    assert sdk.manage.v1.models.list().stt
    assert sdk.manage.v1.projects.list().projects[0].name == "Sandbox"


async def test_bytes_are_transcribed_asynchronously(async_sdk: AsyncDeepgramClient) -> None:
    check(await async_sdk.listen.v1.media.transcribe_file(request=RECORDING, **OPTIONS))


async def test_async_generator_is_transcribed(async_sdk: AsyncDeepgramClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield RECORDING[:1000]
        yield RECORDING[1000:]

    check(await async_sdk.listen.v1.media.transcribe_file(request=chunks(), **OPTIONS))


async def test_url_and_grant_work_asynchronously(async_sdk: AsyncDeepgramClient, receiver: Receiver) -> None:
    receiver.files["/a.wav"] = RECORDING

    check(await async_sdk.listen.v1.media.transcribe_url(url=receiver.url + "/a.wav", **OPTIONS))
    assert (await async_sdk.auth.v1.tokens.grant()).expires_in == 30


def test_bad_audio_is_a_bad_request(sdk: DeepgramClient) -> None:
    with pytest.raises(BadRequestError) as caught:
        sdk.listen.v1.media.transcribe_file(request=b"no audio")

    assert caught.value.body["err_code"] == "Bad Request"
    assert caught.value.headers["dg-request-id"] == caught.value.body["request_id"]


@pytest.mark.parametrize("chunked", [True, False])
def test_recording_over_the_limit_is_told_while_it_is_sent(sdk: DeepgramClient, chunked: bool) -> None:
    chunks = (bytes(100_000) for _ in range(20))

    with pytest.raises(ApiError) as caught:
        sdk.listen.v1.media.transcribe_file(request=chunks if chunked else bytes(2_000_000))

    assert caught.value.status_code == 413


def test_sdk_retries_what_deepgram_may_answer(
    environment: DeepgramClientEnvironment, sandbox: SandboxProcess, http: httpx.Client
) -> None:
    sandbox.set_faults({"fault": "status=503;retry_after=0", "first": 1})
    sdk = DeepgramClient(api_key="a-key", environment=environment, max_retries=1, httpx_client=http)

    check(sdk.listen.v1.media.transcribe_file(request=RECORDING, **OPTIONS))

    assert sandbox.requests()["by_status"] == {"503": 1, "200": 1}
