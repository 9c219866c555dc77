"""The socket as a client sees it."""

import json
from http import HTTPStatus

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import connect

from tests.streaming.loopback import echo

QUERY = "/v1/listen?model=nova-3&interim_results=true&encoding=linear16&sample_rate=16000"


@pytest.fixture
def credentials(key):
    return {"additional_headers": {"Authorization": f"Token {key}"}}


def test_messages_pass_as_they_are_in_their_order(live, upstream, credentials):
    upstream()

    with connect(live.url + QUERY, **credentials) as socket:
        socket.send(b"\x00\x01")
        socket.send('{"type": "Finalize"}')
        socket.send(b"\xff" * 4)
        received = [socket.recv(timeout=30) for _ in range(3)]

    assert received == ["audio 0001", 'text {"type": "Finalize"}', "audio ffffffff"]


def test_the_providers_request_id_is_the_sessions(live, upstream, credentials):
    upstream()

    with connect(live.url + QUERY, **credentials) as socket:
        assert socket.response.headers["dg-request-id"] == "request-1"


def test_a_request_that_the_provider_refuses_is_refused_in_its_words(live, upstream, credentials):
    words = "No such model/language/tier combination found."

    def refuse(socket, request):
        body = json.dumps({"err_code": "Bad Request", "err_msg": words, "request_id": "r"}).encode()
        return Response(HTTPStatus.BAD_REQUEST, "Bad Request", Headers(), body)

    upstream(answer=refuse)

    with pytest.raises(InvalidStatus) as refused, connect(live.url + QUERY, **credentials):
        pass

    assert refused.value.response.status_code == 400
    assert refused.value.response.headers["dg-error"] == words


@pytest.mark.parametrize("status", [401, 402, 403])
def test_that_the_provider_refuses_our_own_key_is_not_the_clients_fault(live, upstream, credentials, status):
    upstream(answer=lambda socket, request: socket.respond(HTTPStatus(status), "no"))

    with pytest.raises(InvalidStatus) as refused, connect(live.url + QUERY, **credentials):
        pass

    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["retry-after"]


@pytest.mark.parametrize("path", ["/v2/listen?model=flux-general-en", "/v1/speak", "/", "/v1/listen/"])
def test_other_addresses_have_no_socket(live, credentials, path):
    with pytest.raises(InvalidStatus) as refused, connect(live.url + path, **credentials):
        pass

    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["category"] == "NOT_FOUND"


def test_audio_that_the_provider_cannot_decode_ends_the_session_as_it_ends_the_providers(
    live, upstream, credentials
):
    async def script(socket):
        await socket.recv()
        await socket.close(1008, "DATA-0000")

    upstream(script)

    with connect(live.url + QUERY, **credentials) as socket, pytest.raises(ConnectionClosedError) as closed:
        socket.send(b"\x00\x01")
        socket.recv(timeout=30)

    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "DATA-0000")


def test_a_connection_that_the_provider_gives_up_is_replaced_without_a_word(live, upstream, credentials):
    async def script(socket):
        if len(provider.requests) == 1:
            await socket.recv()
            await socket.close(1011, "NET-0001")
        else:
            await echo(socket)

    provider = upstream(script)

    with connect(live.url + QUERY, **credentials) as socket:
        socket.send(bytes(6400))
        # The same again, in whatever pieces.
        assert set(socket.recv(timeout=30).removeprefix("audio ")) == {"0"}
        assert socket.response.headers["dg-request-id"] == "request-1"
