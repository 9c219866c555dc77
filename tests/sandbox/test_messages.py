import asyncio
from typing import Any

import pytest

from sandbox import messages
from sandbox.errors import DeepgramError
from sandbox.messages import ClientGone, Request


def request(*parts: dict[str, Any]) -> Request:
    """One whose body arrives in `parts`, and then pauses for ever."""
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    scope = {
        "method": "POST",
        "path": "/",
        "query_string": b"a=1&a=%C3%A9&b",
        "headers": [(b"x", b"y")],
        "state": {"transport": None},
    }
    return Request(scope, receive)


def test_query_keeps_repeated_and_empty_parameters() -> None:
    assert request().query == [("a", "1"), ("a", "é"), ("b", "")]


async def test_upload_that_pauses_too_long_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "UPLOAD_PAUSE_SECONDS", 0.01)
    slow = request({"type": "http.request", "body": b"some", "more_body": True})

    with pytest.raises(DeepgramError) as caught:
        [chunk async for chunk in slow.chunks()]

    assert (caught.value.status, caught.value.code) == (408, "SLOW_UPLOAD")


async def test_client_that_hangs_up_in_mid_upload_is_gone() -> None:
    gone = request({"type": "http.request", "body": b"some", "more_body": True}, {"type": "http.disconnect"})

    with pytest.raises(ClientGone):
        [chunk async for chunk in gone.chunks()]


async def test_draining_ends_in_bounded_time() -> None:
    endless = request({"type": "http.request", "body": b"some", "more_body": True})

    async with asyncio.timeout(60):
        await endless.drain(seconds=0.01)


async def test_json_larger_than_allowed_is_refused() -> None:
    large = request({"type": "http.request", "body": b"[" + b" " * 100, "more_body": True})

    with pytest.raises(DeepgramError) as caught:
        await large.json(limit=50)

    assert caught.value.status == 413
