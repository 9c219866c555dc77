"""The official client's live side, unchanged but for its base address."""

import threading
from typing import Any

import httpx
import pytest
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types import (
    ListenV1CloseStream,
    ListenV1Finalize,
    ListenV1KeepAlive,
    ListenV1Metadata,
    ListenV1Results,
)

from sandbox.engines.tones import said, spoken_words, text_of

# The SDK imports names that websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TEXT = text_of(24)
SAID = " ".join(word.bare for word in spoken_words(TEXT))
OPTIONS: dict[str, Any] = {
    "model": "nova-3",
    "encoding": "linear16",
    "sample_rate": 16_000,
    "interim_results": True,
    "utterance_end_ms": 1000,
    "vad_events": True,
    "smart_format": True,
    "keyterm": ["baba"],
}


def pieces() -> list[bytes]:
    audio = said(TEXT)
    return [audio[start : start + 3200] for start in range(0, len(audio), 3200)]


def check(messages: list[Any]) -> None:
    assert all(message is not None for message in messages)
    results = [message for message in messages if isinstance(message, ListenV1Results)]
    finals = [result.channel.alternatives[0] for result in results if result.is_final]
    assert " ".join(word.word for final in finals for word in final.words) == SAID
    assert len(results) > len(finals)
    assert any(result.from_finalize for result in results)
    assert isinstance(messages[-1], ListenV1Metadata)


def test_sync_client_streams(environment: DeepgramClientEnvironment, http: httpx.Client) -> None:
    client = DeepgramClient(api_key="a-key", environment=environment, httpx_client=http)
    messages: list[Any] = []

    with client.listen.v1.connect(**OPTIONS) as connection:
        connection.on(EventType.MESSAGE, messages.append)
        listener = threading.Thread(target=connection.start_listening)
        listener.start()
        for piece in pieces():
            connection.send_media(piece)
        connection.send_keep_alive(ListenV1KeepAlive(type="KeepAlive"))
        connection.send_finalize(ListenV1Finalize(type="Finalize"))
        connection.send_close_stream(ListenV1CloseStream(type="CloseStream"))
        listener.join(90)

    assert not listener.is_alive()
    check(messages)


async def test_async_client_streams(
    environment: DeepgramClientEnvironment, async_http: httpx.AsyncClient
) -> None:
    client = AsyncDeepgramClient(api_key="a-key", environment=environment, httpx_client=async_http)
    messages: list[Any] = []

    async with client.listen.v1.connect(**OPTIONS) as connection:
        for piece in pieces():
            await connection.send_media(piece)
        await connection.send_finalize(ListenV1Finalize(type="Finalize"))
        await connection.send_close_stream(ListenV1CloseStream(type="CloseStream"))
        async for message in connection:
            messages.append(message)

    check(messages)


def test_granted_token_may_listen(environment: DeepgramClientEnvironment, http: httpx.Client) -> None:
    granted = DeepgramClient(
        api_key="a-key", environment=environment, httpx_client=http
    ).auth.v1.tokens.grant()
    client = DeepgramClient(access_token=granted.access_token, environment=environment, httpx_client=http)

    with client.listen.v1.connect(**OPTIONS) as connection:
        connection.send_close_stream(ListenV1CloseStream(type="CloseStream"))

        assert isinstance(connection.recv(), ListenV1Metadata)
