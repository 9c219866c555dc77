"""How audio is read: frames that come in any pieces, among others, in the order in which they were sent."""

import asyncio
import json
import random
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from sandbox.engines.tones import said, spoken_words, text_of
from tests.sandbox.live_client import LINEAR16, listening
from tests.sandbox_process import SandboxProcess

TEXT = text_of(16)
AUDIO = said(TEXT)
HALF = said(text_of(8))
HANDSHAKE = (
    "GET /v1/listen?{query} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Token a-key\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def binary(audio: bytes, size: int = 3200) -> list[Frame]:
    return [Frame(Opcode.BINARY, audio[start : start + size]) for start in range(0, len(audio), size)]


def text(kind: str) -> Frame:
    return Frame(Opcode.TEXT, json.dumps({"type": kind}).encode())


FRAGMENTS = [
    Frame(Opcode.BINARY, HALF[:1000], fin=False),
    Frame(Opcode.CONT, HALF[1000:5000], fin=False),
    Frame(Opcode.PING, b"in between"),
    Frame(Opcode.CONT, HALF[5000:], fin=True),
]


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (binary(AUDIO, 100), TEXT),
        (binary(AUDIO, 3200), TEXT),
        (binary(AUDIO, 100_000), TEXT),
        ([*FRAGMENTS, *binary(AUDIO[len(HALF) :])], TEXT),
    ],
    ids=["short", "usual", "long", "fragmented"],
)
async def test_frames_in_any_pieces_are_read(sandbox: SandboxProcess, frames: list[Frame], said: str) -> None:
    rng = random.Random(1)  # noqa: S311 - it has to repeat itself
    data = b"".join(frame.serialize(mask=True) for frame in [*frames, text("CloseStream")])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(sandbox.url.rpartition(":")[2]), limit=1 << 20
    )
    writer.write(HANDSHAKE.format(query=urlencode(LINEAR16)).encode())
    await reader.readuntil(b"\r\n\r\n")

    place = 0
    while place < len(data):
        size = rng.choice([1, 2, 3, 7, 1000, 20_000])
        writer.write(data[place : place + size])
        await writer.drain()
        place += size
    answer = await asyncio.wait_for(reader.readuntil(b'"type":"Metadata"'), 60)
    writer.close()
    await writer.wait_closed()

    words = [word.bare for word in spoken_words(said)]
    assert [word for word in words if f'"word":"{word}"'.encode() in answer] == words


async def test_finalize_is_for_the_audio_before_it_and_no_more(sandbox: SandboxProcess) -> None:
    frames = [*binary(HALF), text("Finalize"), *binary(AUDIO[len(HALF) :]), text("CloseStream")]

    async with listening(sandbox, endpointing="false") as client:
        # All at once, as after a pause of the network.
        client.socket.transport.write(b"".join(frame.serialize(mask=True) for frame in frames))
        assert await client.closed() == (1000, "")

    [finalized] = [final for final in client.finals() if final["from_finalize"]]
    assert finalized["start"] + finalized["duration"] == pytest.approx(len(HALF) / 32_000)
    assert client.text() == " ".join(word.bare for word in spoken_words(TEXT))


async def test_message_over_the_limit_closes_the_stream(sandbox: SandboxProcess) -> None:
    async with listening(sandbox) as client:
        with suppress(ConnectionClosed):
            await client.socket.send(bytes((16 << 20) + 1))

        # A server that no longer reads may be heard to close, or only seen to be gone.
        assert (await client.closed())[0] in (1009, 1006)
