"""The provider's socket tells what it is told, in its order, however it is framed."""

import json
from dataclasses import replace
from http import HTTPStatus

import pytest

from routing.backoff import MAX_RETRY_AFTER
from streaming import provider
from tests.streaming.loopback import Loopback


@pytest.fixture
def region(regions):
    return regions({"name": "eu"})["eu"]


async def told_by(script, region):
    """What the relay is told of a provider that does this, and the code that the socket was closed with."""
    told: list[str] = []
    with Loopback(script) as loopback:
        live_url = loopback.url.replace("http", "ws", 1)
        socket = await provider.opened(replace(region, live_url=live_url), [])
        await socket.send("begin")
        await socket.tell(told.append)
        await socket.close()
    return told, socket.close_code


async def test_messages_in_one_piece_and_in_fragments_keep_their_order(region):
    async def script(socket):
        await socket.send("before anybody listens")
        await socket.recv()
        for message in ("one", ["t", "w", "o"], "three", ["fo", "ur"], "five"):
            await socket.send(message)
        await socket.send(b"not text")
        await socket.send("six")

    told, code = await told_by(script, region)
    assert told == ["before anybody listens", "one", "two", "three", "four", "five", "six"]
    assert code == 1000


async def test_what_it_says_of_a_refusal_is_fit_to_be_kept(region):
    def refuse(socket, request):
        key = request.headers["Authorization"].removeprefix("Token ")
        response = socket.respond(HTTPStatus.BAD_REQUEST, json.dumps({"err_msg": f"No \0{key}" + 9999 * "."}))
        response.headers["Retry-After"] = "Fri, 01 Jan 2100 00:00:00 GMT"
        return response

    with Loopback(answer=refuse) as loopback, pytest.raises(provider.NotOpened) as refused:
        live_url = loopback.url.replace("http", "ws", 1)
        await provider.opened(replace(region, live_url=live_url, api_key="a-secret"), [])

    assert refused.value.message.startswith("No [key]...")
    assert len(refused.value.message) == 1000
    assert refused.value.retry_after == MAX_RETRY_AFTER


async def test_text_that_is_none_ends_the_connection(region):
    async def script(socket):
        await socket.recv()
        await socket.send("one")
        await socket.send(b"\xff\xfe", text=True)
        await socket.send("two")

    told, _ = await told_by(script, region)
    assert told == ["one"]
