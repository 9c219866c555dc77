"""Deepgram's own clients, with nothing changed but their base address and key."""

import json
import shutil
import subprocess
import threading
from pathlib import Path
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
# What SDKs send and take is the same on both databases.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.postgresql]

TEXT = text_of(8)
SAID = " ".join(word.bare for word in spoken_words(TEXT))
OPTIONS: dict[str, Any] = {
    "model": "nova-3",
    "encoding": "linear16",
    "sample_rate": 16_000,
    "interim_results": True,
    "smart_format": True,
    "keyterm": ["baba"],
}
MESSAGE_BYTES = 3200


@pytest.fixture
def environment(live, sandbox) -> DeepgramClientEnvironment:
    http = live.url.replace("ws", "http", 1)
    return DeepgramClientEnvironment(base=http, production=live.url, agent=live.url, agent_rest=http)


def pieces() -> list[bytes]:
    audio = said(TEXT)
    return [audio[start : start + MESSAGE_BYTES] for start in range(0, len(audio), MESSAGE_BYTES)]


def check(messages: list[Any]) -> None:
    assert all(message is not None for message in messages)
    results = [message for message in messages if isinstance(message, ListenV1Results)]
    finals = [result.channel.alternatives[0] for result in results if result.is_final]
    assert " ".join(word.word for final in finals for word in final.words) == SAID
    assert len(results) > len(finals)
    assert isinstance(messages[-1], ListenV1Metadata)


def test_the_synchronous_client_streams(environment, key):
    messages: list[Any] = []
    with httpx.Client(trust_env=False) as http:
        client = DeepgramClient(api_key=key, environment=environment, httpx_client=http)
        with client.listen.v1.connect(**OPTIONS) as connection:
            connection.on(EventType.MESSAGE, messages.append)
            listener = threading.Thread(target=connection.start_listening)
            listener.start()
            for piece in pieces():
                connection.send_media(piece)
            connection.send_keep_alive(ListenV1KeepAlive(type="KeepAlive"))
            connection.send_finalize(ListenV1Finalize(type="Finalize"))
            connection.send_close_stream(ListenV1CloseStream(type="CloseStream"))
            listener.join(60)

    assert not listener.is_alive()
    assert any(message.from_finalize for message in messages if isinstance(message, ListenV1Results))
    check(messages)


async def test_the_asynchronous_client_streams(environment, key):
    messages: list[Any] = []
    async with httpx.AsyncClient(trust_env=False) as http:
        client = AsyncDeepgramClient(api_key=key, environment=environment, httpx_client=http)
        async with client.listen.v1.connect(**OPTIONS) as connection:
            for piece in pieces():
                await connection.send_media(piece)
            await connection.send_close_stream(ListenV1CloseStream(type="CloseStream"))
            async for message in connection:
                messages.append(message)

    check(messages)


def test_the_client_for_javascript_streams(live, sandbox, key, javascript):
    program = shutil.copy(Path(__file__).with_name("live_sdk.js"), javascript)
    audio = javascript / "audio.raw"
    audio.write_bytes(said(TEXT))

    done = subprocess.run(
        ["node", program, key, str(live.port), str(audio)], capture_output=True, text=True, timeout=100
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    finals = [message for message in told["messages"] if message.get("is_final")]
    words = [word for final in finals for word in final["channel"]["alternatives"][0]["words"]]
    assert told["code"] == 1000
    assert " ".join(word["word"] for word in words) == SAID
    assert told["messages"][-1]["type"] == "Metadata"
