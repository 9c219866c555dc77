"""Audio as it is spoken, over `WS /v1/listen`, and what is heard of it in the end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlencode

from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
)
from websockets.sync.client import ClientConnection, connect

from jobs.quality.sound import RATE

MESSAGE_SECONDS = 0.1
# Results come every few seconds, also of silence.
SILENT_SECONDS = 120.0
LOOK_SECONDS = 0.5


class NotHeard(Exception):
    """The session was refused, or broke: why."""


class Heard(NamedTuple):
    """All final results in the order of the audio, and what the session is called by them."""

    text: str
    request_id: str


def listened(
    address: str, key: str, query: Sequence[tuple[str, str]], audio: bytes, gone: threading.Event
) -> Heard:
    """Stream linear16 of RATE, one channel, at the pace at which it is spoken; until `gone`. NotHeard.

    `address`: http or ws, with nothing behind the host. Blocks for as long as the audio takes, and some.
    """
    url = f"ws{address.rstrip('/').removeprefix('http').removeprefix('ws')}/v1/listen?" + urlencode(
        [*query, ("encoding", "linear16"), ("sample_rate", str(RATE))]
    )
    try:
        with connect(url, additional_headers={"Authorization": f"Token {key}"}, proxy=None) as socket:
            speaking = threading.Thread(target=_speak, args=(socket, audio, gone), daemon=True)
            speaking.start()
            messages = list(_messages(socket, gone))
            request_id = socket.response.headers.get("dg-request-id", "") if socket.response else ""
    except InvalidStatus as error:
        said = error.response.body or b""
        raise NotHeard(
            f"refused with {error.response.status_code}: {said[:200].decode(errors='replace')}"
        ) from None
    except (ConnectionClosed, InvalidHandshake, InvalidURI, OSError) as error:
        raise NotHeard(f"the connection to {address} failed: {error}") from None
    if gone.is_set():
        raise NotHeard("it was interrupted")
    finals = [message for message in messages if message.get("is_final")]
    # What fills a hole comes late.
    finals.sort(key=lambda final: final["start"])
    spoken = (final["channel"]["alternatives"][0]["transcript"] for final in finals)
    return Heard(" ".join(text for text in spoken if text), request_id)


def _speak(socket: ClientConnection, audio: bytes, gone: threading.Event) -> None:
    began, size = monotonic(), int(MESSAGE_SECONDS * RATE) * 2
    with suppress(ConnectionClosed):
        for start in range(0, len(audio), size):
            if gone.wait(max(0.0, began + (start + size) / RATE / 2 - monotonic())):
                return
            socket.send(audio[start : start + size])
        socket.send('{"type":"CloseStream"}')


def _messages(socket: ClientConnection, gone: threading.Event) -> Iterator[dict[str, Any]]:
    heard_at = monotonic()
    while not gone.is_set():
        try:
            yield json.loads(socket.recv(timeout=LOOK_SECONDS))
            heard_at = monotonic()
        except TimeoutError:
            if monotonic() - heard_at > SILENT_SECONDS:
                raise NotHeard(f"nothing came for {SILENT_SECONDS:.0f} s") from None
        except ConnectionClosedOK:
            return
