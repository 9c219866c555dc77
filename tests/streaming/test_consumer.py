"""The socket as a client sees it."""

import json
from http import HTTPStatus

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import connect

QUERY = "/v1/listen?model=nova-3&interim_results=true"


@pytest.fixture
def credentials(key):
    return {"additional_headers": {"Authorization": f"Token {key}"}}


def test_messages_pass_as_they_are_in_their_order(live, upstream, credentials):
    upstream()

    with connect(live.url + QUERY, **credentials) as socket:
        socket.send(b"\x00\x01")
        socket.send('{"type": "KeepAlive"}')
        socket.send(b"\xff" * 3)
        received = [socket.recv(timeout=5) for _ in range(3)]

    assert received == ["audio 0001", 'text {"type": "KeepAlive"}', "audio ffffff"]


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
    assert json.loads(refused.value.response.body)["err_code"] == "NOT_FOUND"


@pytest.mark.parametrize(("code", "reason"), [(1011, "NET-0001"), (1008, "DATA-0000")])
def test_the_provider_closes_with_a_code_and_a_reason(live, upstream, credentials, code, reason):
    async def script(socket):
        await socket.close(code, reason)

    upstream(script)

    with connect(live.url + QUERY, **credentials) as socket, pytest.raises(ConnectionClosedError) as closed:
        socket.recv(timeout=5)

    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
