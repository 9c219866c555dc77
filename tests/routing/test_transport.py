"""Real sockets on loopback throughout; only name resolution is scripted, as attackers script it."""

import contextlib
import inspect
import itertools
import logging
import socket
import threading
import time

import httpcore
import httpx
import pytest

from routing import transport
from routing.addresses import ForbiddenURL
from routing.transport import (
    Call,
    CallAborted,
    CallInterrupted,
    DeadlineExceeded,
    DeadlineTransport,
    ResponseTooLarge,
    client_over,
    current_call,
    guarded_client,
    peer_address,
    read_limited,
)
from tests.certificates import make_certificate
from tests.routing.corpus import FORBIDDEN_ADDRESSES, FORBIDDEN_URLS
from tests.routing.peer import (
    Connection,
    Peer,
    answering,
    deaf,
    dripping_body,
    dripping_headers,
    endless_informational,
    silent,
)

LONG = 20.0
SHORT = 0.2
SOON = 10.0  # as long as a loaded machine may take over what happens at once


@pytest.fixture
def client():
    with client_over(DeadlineTransport(), read_seconds=LONG) as client:
        yield client


@pytest.fixture
def receivers():
    """A guarded client that may call loopback."""
    with guarded_client(allow_private=True) as client:
        yield client


def endless_body():
    return itertools.repeat(b"x" * 65536)


@contextlib.contextmanager
def full_backlog():
    """The URL of a listener that lets nobody in: its queue is full, so a connection is never answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


@contextlib.contextmanager
def unresolvable_name():
    """A resolver that does not come back before the test is over."""
    over = threading.Event()

    def resolve(host, port):
        over.wait()
        return []

    try:
        yield resolve
    finally:
        over.set()


def exchange_blocked_in(phase, stack):
    """A function that does an HTTP exchange which never gets beyond `phase`."""
    if phase == "lookup":
        resolve = stack.enter_context(unresolvable_name())
        client = stack.enter_context(client_over(DeadlineTransport(resolve=resolve), read_seconds=LONG))
        return lambda: client.get("http://receiver.example/")
    client = stack.enter_context(client_over(DeadlineTransport(), read_seconds=LONG))
    if phase == "connect":
        url = stack.enter_context(full_backlog())
        return lambda: client.get(url)
    behave = {
        "handshake": deaf,
        "write": deaf,
        "read": silent,
        "headers": dripping_headers,
        "informational": endless_informational,
        "body": dripping_body,
    }[phase]
    url = stack.enter_context(Peer(behave)).url
    if phase == "handshake":
        return lambda: client.get(url.replace("http:", "https:"))
    if phase == "write":
        return lambda: client.post(url, content=endless_body())
    return lambda: client.get(url)


PHASES = ["lookup", "connect", "handshake", "write", "read", "headers", "informational", "body"]


@pytest.mark.parametrize("phase", PHASES)
def test_the_deadline_ends_a_call_in_any_phase(phase):
    with contextlib.ExitStack() as stack:
        exchange = exchange_blocked_in(phase, stack)
        started = time.monotonic()

        with pytest.raises(DeadlineExceeded), Call(SHORT):
            exchange()

        assert SHORT <= time.monotonic() - started < SHORT + SOON


@pytest.mark.parametrize("phase", PHASES)
def test_another_thread_can_abort_a_call_in_any_phase(phase):
    with contextlib.ExitStack() as stack:
        exchange = exchange_blocked_in(phase, stack)
        call = Call(LONG)
        timer = threading.Timer(SHORT, call.abort)
        started = time.monotonic()
        timer.start()

        with pytest.raises(CallAborted), call:
            exchange()

        assert SHORT <= time.monotonic() - started < SHORT + SOON
        timer.join()


def test_aborting_wakes_a_read_through_tls(certificate):
    server, trusted = certificate
    with (
        Peer(silent, tls=server) as peer,
        guarded_client(allow_private=True, resolve=lambda *_: ["127.0.0.1"], ssl_context=trusted) as client,
    ):
        call = Call(LONG)
        timer = threading.Timer(SHORT, call.abort)
        started = time.monotonic()
        timer.start()

        with pytest.raises(CallAborted), call:
            client.get(f"https://receiver.example:{peer.port}/")

        assert time.monotonic() - started < SHORT + SOON
        timer.join()


def test_several_exchanges_share_one_deadline(client):
    with Peer(answering()) as quick, Peer(silent) as slow, Call(SHORT) as call:
        client.get(quick.url)
        left = call.remaining()

        with pytest.raises(DeadlineExceeded):
            client.get(slow.url)

    assert left < SHORT


def test_a_call_aborted_beforehand_sends_nothing(client):
    with Peer(answering()) as peer:
        call = Call(LONG)
        call.abort()

        with pytest.raises(CallAborted), call:
            client.get(peer.url)

    assert peer.connections == 0


def test_aborting_a_finished_call_leaves_the_kept_connection_alone(client):
    with Peer(answering()) as peer:
        with Call(LONG) as finished:
            client.get(peer.url)
        finished.abort()

        with Call(LONG):
            client.get(peer.url)

    assert (peer.connections, len(peer.requests)) == (1, 2)


def test_nothing_is_sent_outside_a_call(client):
    with Peer(answering()) as peer, pytest.raises(RuntimeError, match="with Call"):
        client.get(peer.url)

    assert peer.connections == 0


def test_leaving_an_inner_call_returns_to_the_outer_one():
    with Call(LONG) as outer:
        with Call(LONG) as inner, inner:
            assert current_call() is inner
        assert current_call() is outer

    with pytest.raises(RuntimeError):
        current_call()


def test_a_phase_may_time_out_before_the_call_does(client):
    with Peer(silent) as peer, pytest.raises(httpx.ReadTimeout), Call(LONG):
        client.get(peer.url, timeout=SHORT)


def test_a_connection_the_server_closed_is_not_used_again(client):
    closed = threading.Event()

    def one_request(connection: Connection) -> None:
        connection.read_request()
        connection.answer()
        connection.socket.shutdown(socket.SHUT_RDWR)
        closed.set()

    with Peer(one_request) as peer:
        for _ in range(3):
            with Call(LONG):
                assert client.get(peer.url).status_code == 200
            assert closed.wait(LONG)
            closed.clear()

    assert peer.connections == 3


def test_an_early_refusal_of_an_upload_is_read(client):
    def refuse(connection: Connection) -> None:
        connection.read_head()
        connection.answer(413, b"too large", connection="close")

    with Peer(refuse) as peer, Call(LONG):
        response = client.post(peer.url, content=itertools.islice(endless_body(), 200))

    assert response.status_code == 413


def after_request(then):
    def behave(connection: Connection) -> None:
        connection.read_request()
        then(connection)

    return behave


@pytest.mark.parametrize(
    ("behave", "expected"),
    [
        (after_request(Connection.reset), httpx.ReadError),
        (after_request(lambda c: None), httpx.RemoteProtocolError),
        (after_request(lambda c: c.send(b"SSH-2.0-OpenSSH\r\n\r\n")), httpx.RemoteProtocolError),
        (
            after_request(lambda c: c.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")),
            httpx.RemoteProtocolError,
        ),
        (
            after_request(lambda c: c.send(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000)),
            httpx.RemoteProtocolError,
        ),
    ],
    ids=["reset", "closed", "not-http", "truncated", "endless-header"],
)
def test_a_broken_exchange_raises_what_httpx_would(client, behave, expected):
    with Peer(behave) as peer, pytest.raises(expected), Call(LONG):
        client.get(peer.url)


def test_a_refused_connection_is_a_connect_error(client):
    with Peer(answering()) as peer:
        gone = peer.url

    with pytest.raises(httpx.ConnectError), Call(LONG):
        client.get(gone)


def test_an_unknown_name_is_a_connect_error():
    def resolve(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with (
        client_over(DeadlineTransport(resolve=resolve), read_seconds=LONG) as client,
        pytest.raises(httpx.ConnectError, match=r"receiver\.example"),
        Call(LONG),
    ):
        client.get("http://receiver.example/")


def test_the_next_address_is_dialled_when_one_does_not_answer():
    with Peer(answering()) as peer:
        addresses = ["127.0.0.2", "127.0.0.1"]
        with (
            client_over(DeadlineTransport(resolve=lambda *_: addresses), read_seconds=LONG) as client,
            Call(LONG),
        ):
            response = client.get(f"http://receiver.example:{peer.port}/")

    assert peer_address(response) == "127.0.0.1"


def test_every_error_of_httpcore_becomes_its_namesake():
    families = {httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError}
    never_here = {httpcore.ProxyError, httpcore.ConnectionNotAvailable}
    errors = {
        error
        for _, error in inspect.getmembers(httpcore, inspect.isclass)
        if issubclass(error, Exception) and error not in families | never_here
    }

    assert {error: error.__name__ for error in errors} == {
        error: mapped.__name__ for error, mapped in transport._HTTPX_ERRORS.items()
    }


def test_a_body_is_read_up_to_the_limit_and_no_further(client):
    with Peer(answering(body=b"x" * 1000)) as peer:
        with Call(LONG), client.stream("GET", peer.url) as response:
            assert read_limited(response, 1000) == b"x" * 1000
        with Call(LONG), client.stream("GET", peer.url) as response, pytest.raises(ResponseTooLarge):
            read_limited(response, 999)


def test_an_endless_body_ends_at_the_limit(client):
    def flood(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.send(b"x" * 65536)

    with (
        Peer(flood) as peer,
        Call(LONG),
        client.stream("GET", peer.url) as response,
        pytest.raises(ResponseTooLarge),
    ):
        read_limited(response, 1_000_000)


def test_a_compressed_body_is_not_inflated(client):
    squeezed = b"\x1f\x8b not really gzip"
    with (
        Peer(answering(body=squeezed, content_encoding="gzip")) as peer,
        Call(LONG),
        client.stream("GET", peer.url) as response,
    ):
        assert read_limited(response, 100) == squeezed

    assert peer.requests[0].headers["accept-encoding"] == "identity"


@pytest.fixture
def dialled(monkeypatch):
    """Records what sockets connect to instead of connecting."""
    addresses = []

    def record(self, address):
        addresses.append(address[0])
        raise ConnectionRefusedError("not in this test")

    monkeypatch.setattr(socket.socket, "connect", record)
    return addresses


@pytest.mark.parametrize(("url", "code"), FORBIDDEN_URLS)
def test_a_forbidden_url_is_not_dialled(url, code, dialled):
    with (
        guarded_client(allow_private=False, resolve=lambda *_: ["127.0.0.1"]) as client,
        pytest.raises((ForbiddenURL, httpx.InvalidURL, httpx.UnsupportedProtocol)),
        Call(LONG),
    ):
        client.get(url)

    assert dialled == []


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_a_name_that_leads_to_a_forbidden_address_is_not_dialled(address, dialled):
    with (
        guarded_client(allow_private=False, resolve=lambda *_: [address]) as client,
        pytest.raises(ForbiddenURL) as caught,
        Call(LONG),
    ):
        client.get("https://receiver.example/")

    assert (caught.value.code, dialled) == ("url_address", [])


@pytest.mark.parametrize("addresses", [["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["8.8.8.8", "::1"]])
def test_a_name_with_one_forbidden_address_among_others_is_not_dialled(addresses, dialled):
    with (
        guarded_client(allow_private=False, resolve=lambda *_: addresses) as client,
        pytest.raises(ForbiddenURL),
        Call(LONG),
    ):
        client.get("https://receiver.example/")

    assert dialled == []


def test_a_name_that_changes_after_the_check_is_dialled_where_it_was_checked(dialled):
    answers = iter([["8.8.8.8", "8.8.4.4"], ["127.0.0.1"], ["127.0.0.1"]])
    with (
        guarded_client(allow_private=False, resolve=lambda *_: next(answers)) as client,
        pytest.raises(httpx.ConnectError),
        Call(LONG),
    ):
        client.get("https://receiver.example/")

    assert dialled == ["8.8.8.8", "8.8.4.4"]
    assert len(list(answers)) == 2  # looked up once


def test_a_name_is_checked_again_for_each_new_connection(dialled):
    answers = iter([["8.8.8.8"], ["127.0.0.1"]])
    with guarded_client(allow_private=False, resolve=lambda *_: next(answers)) as client, Call(LONG):
        with pytest.raises(httpx.ConnectError):
            client.get("https://receiver.example/")
        with pytest.raises(ForbiddenURL):
            client.get("https://receiver.example/")

    assert dialled == ["8.8.8.8"]


def test_redirects_are_not_followed_unless_asked(receivers):
    with Peer(answering(302, location="http://127.0.0.1:1/")) as peer, Call(LONG):
        response = receivers.get(peer.url)

    assert (response.status_code, len(peer.requests)) == (302, 1)


def test_a_redirect_is_dialled_only_if_its_address_is_admitted():
    """Loopback plays the public address here, so that the redirect can begin on a real server."""
    names = {"receiver.example": ["127.0.0.1"], "internal.example": ["127.0.0.2"]}
    egress = DeadlineTransport(
        resolve=lambda host, port: names[host], admit=lambda address: address == "127.0.0.1"
    )
    with (
        Peer(answering(302, location="http://internal.example/")) as peer,
        client_over(egress, read_seconds=LONG) as client,
        pytest.raises(ForbiddenURL),
        Call(LONG),
    ):
        client.get(f"http://receiver.example:{peer.port}/", follow_redirects=True)

    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("ftp://127.0.0.1/", "url_scheme"),
        ("https://127.1/", "url_host"),
        ("//u:p@127.0.0.1/", "url_credentials"),
    ],
)
def test_a_redirect_passes_the_rules_for_urls(receivers, location, code):
    with (
        Peer(answering(302, location=location)) as peer,
        pytest.raises(ForbiddenURL) as caught,
        Call(LONG),
    ):
        receivers.get(peer.url, follow_redirects=True)

    assert (caught.value.code, len(peer.requests)) == (code, 1)


def test_a_loop_of_redirects_ends(receivers):
    with Peer(answering(302, location="/")) as peer, pytest.raises(httpx.TooManyRedirects), Call(LONG):
        receivers.get(peer.url, follow_redirects=True)

    assert len(peer.requests) == transport.MAX_REDIRECTS + 1


def test_plain_http_is_refused_unless_private_receivers_are_allowed(dialled):
    with guarded_client(allow_private=False) as client, pytest.raises(ForbiddenURL), Call(LONG):
        client.get("http://8.8.8.8/")

    assert dialled == []


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    with guarded_client(allow_private=True) as client, Peer(answering()) as peer, Call(LONG):
        assert client.get(peer.url).status_code == 200


def test_cookies_of_one_receiver_are_not_kept(receivers):
    with Peer(answering(set_cookie="session=1; Path=/")) as peer:
        for _ in range(2):
            with Call(LONG):
                receivers.get(peer.url)

    assert all("cookie" not in request.headers for request in peer.requests)


def test_urls_are_not_logged(receivers, caplog):
    caplog.set_level(logging.DEBUG)

    with Peer(answering()) as peer, Call(LONG):
        receivers.get(f"{peer.url}/audio?signature=SECRET")

    assert "SECRET" not in caplog.text


def test_the_name_is_kept_in_the_host_header(receivers):
    with (
        Peer(answering()) as peer,
        guarded_client(allow_private=True, resolve=lambda *_: ["127.0.0.1"]) as client,
        Call(LONG),
    ):
        client.get(f"http://receiver.example:{peer.port}/hook")

    assert peer.requests[0].headers["host"] == f"receiver.example:{peer.port}"


def test_the_certificate_is_checked_against_the_name_though_the_address_is_dialled(certificate):
    server, trusted = certificate
    asked = []
    server.sni_callback = lambda connection, name, context: asked.append(name)
    with (
        Peer(answering(), tls=server) as peer,
        guarded_client(allow_private=True, resolve=lambda *_: ["127.0.0.1"], ssl_context=trusted) as client,
        Call(LONG),
    ):
        response = client.get(f"https://receiver.example:{peer.port}/")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            client.get(f"https://other.example:{peer.port}/")

    assert (response.status_code, asked) == (200, ["receiver.example", "other.example"])


def test_an_unknown_authority_is_a_connect_error(certificate, receivers):
    server, _ = certificate
    with Peer(answering(), tls=server) as peer, pytest.raises(httpx.ConnectError), Call(LONG):
        receivers.get(peer.url)


def test_our_own_ends_of_a_call_are_no_errors_of_httpx():
    assert not issubclass(CallInterrupted, httpx.HTTPError)


@pytest.fixture(scope="session")
def certificate_files(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), "receiver.example")


@pytest.fixture
def certificate(certificate_files):
    """(the server's context, a client's context that trusts it), for receiver.example."""
    return certificate_files.of_server(), certificate_files.of_client()
