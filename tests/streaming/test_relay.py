"""What becomes of a live session: its row, its results, its end."""

import asyncio
import gc
import json
import threading
from contextlib import suppress
from socket import SHUT_RDWR, create_connection
from weakref import ref

import pytest
from django.core.files.storage import storages
from django.db import DataError
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from jobs import quotas
from jobs.models import ApiKey, Project
from routing import limits
from routing.breaker import Breaker
from routing.limits import Kind
from routing.regions import all_regions, region_named
from streaming import consumer, lifecycle
from streaming.client import Client
from streaming.models import AudioPart, FinalResult, Happening, LiveSession, State
from streaming.opening import opened
from streaming.provider import Socket
from streaming.relay import Relay
from streaming.rules.session import Session
from streaming.switchboard import OPENED_AT_ONCE
from streaming.websocket import WebSocket
from tests.conditions import wait_until
from tests.services.process import free_port
from tests.streaming.loopback import Loopback

QUERY = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&interim_results=true&tag=a&tag=b"
TENTH = bytes(3200)


def result(start, duration, *, final, text="hello"):
    return json.dumps(
        {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": duration,
            "start": start,
            "is_final": final,
            "speech_final": final,
            "channel": {"alternatives": [{"transcript": text, "confidence": 1.0, "words": []}]},
            "metadata": {"request_id": "r"},
        }
    )


async def recogniser(socket):
    """An interim for each tenth of a second, a final for each tenth of them; then Metadata."""
    heard = told = 0
    async for message in socket:
        if message == '{"type":"CloseStream"}':
            await socket.send('{"type":"Metadata","request_id":"r"}')
            return
        if isinstance(message, bytes):
            heard += len(message)
        for tenth in range(told + 1, heard // len(TENTH) + 1):
            start = (tenth - 1) // 10
            await socket.send(result(start, tenth / 10 - start, final=tenth % 10 == 0))
            told = tenth


@pytest.fixture
def credentials(key):
    return {"additional_headers": {"Authorization": f"Token {key}"}}


def close_stream(socket):
    socket.send('{"type":"CloseStream"}')
    return [json.loads(message) for message in socket]


def test_a_session_is_kept_with_its_final_results(live, upstream, credentials):
    upstream(recogniser)

    with connect(live.url + QUERY, **credentials) as socket:
        for _ in range(25):
            socket.send(TENTH)
        received = close_stream(socket)
        # Not waited for: whoever has been told that it is over finds all of it.
        session = LiveSession.objects.get()
        finals = list(FinalResult.objects.all())

    assert (session.state, session.reason) == (State.ENDED, "finished")
    assert session.options == {
        "model": "nova-3",
        "encoding": "linear16",
        "sample_rate": "16000",
        "interim_results": "true",
    }
    assert session.tags == ["a", "b"]
    assert session.key == ApiKey.objects.get()
    assert session.duration == 2.5
    assert session.request_id == "request-1"
    assert session.latency["results"] == len([each for each in received if each["type"] == "Results"])
    assert [(final.start, final.end) for final in finals] == [(0, 1), (1, 2)]
    told = [message for message in received if message.get("is_final")]
    assert [json.loads(final.raw) for final in finals] == told


def test_policy_is_the_projects_and_unknown_parameters_go_nowhere(live, upstream, credentials, project):
    provider = upstream(recogniser)

    for may_train in (False, True):
        project.improve_provider_models = may_train
        project.save()
        with connect(f"{live.url}{QUERY}&mip_opt_out=false&nonsense=1", **credentials) as socket:
            close_stream(socket)

    asked = [request.path.partition("?")[2].split("&") for request in provider.requests]
    wanted = ["model=nova-3", "encoding=linear16", "sample_rate=16000", "interim_results=true"]
    assert asked == [[*wanted, "mip_opt_out=true"], [*wanted, "mip_opt_out=false"]]


def test_what_the_project_has_left_out_is_left_out_live(live, upstream, credentials, project):
    project.redact = ["pci"]
    project.save()
    provider = upstream(recogniser)

    with connect(f"{live.url}{QUERY}&redact=false", **credentials) as socket:
        close_stream(socket)

    [request] = provider.requests
    asked = request.path.partition("?")[2].split("&")
    assert [pair for pair in asked if pair.startswith("redact")] == ["redact=pci"]


def test_a_callback_is_refused(live, upstream, credentials):
    upstream(recogniser)

    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{live.url}{QUERY}&callback=https://example.com", **credentials),
    ):
        pass

    assert refused.value.response.status_code == 400
    assert "callback" in refused.value.response.headers["dg-error"]


def refused_status(live, credentials):
    with pytest.raises(InvalidStatus) as refused, connect(live.url + QUERY, **credentials):
        pass
    return refused.value.response.status_code, refused.value.response.headers.get("retry-after")


def test_a_key_has_so_many_sessions_at_once(live, upstream, credentials, settings):
    upstream(recogniser)
    settings.KEY_LIVE_SESSIONS = 2

    with connect(live.url + QUERY, **credentials), connect(live.url + QUERY, **credentials) as second:
        assert refused_status(live, credentials) == (429, "5")
        close_stream(second)
        with connect(live.url + QUERY, **credentials) as third:
            close_stream(third)


def test_the_provider_has_so_many_connections_at_once(live, upstream, credentials, settings):
    provider = upstream(recogniser)
    settings.PROVIDER_MAX_LIVE = 1
    all_regions.cache_clear()

    with connect(live.url + QUERY, **credentials) as only:
        assert refused_status(live, credentials) == (429, "5")
        assert provider.open == 1
        close_stream(only)
    wait_until(lambda: limits.in_use(region_named("default"))[Kind.LIVE] == 0)
    with connect(live.url + QUERY, **credentials) as next_one:
        close_stream(next_one)


def test_without_quota_left_there_is_no_session(live, upstream, credentials, project):
    provider = upstream(recogniser)
    Project.objects.update(daily_minutes=1)
    quotas.count(project.pk, 60)

    with pytest.raises(InvalidStatus) as refused, connect(live.url + QUERY, **credentials):
        pass

    response = refused.value.response
    assert response.status_code == 429
    assert json.loads(response.body)["err_code"] == "TOO_MANY_REQUESTS"
    assert "1 min of audio a day" in response.headers["dg-error"]
    assert int(response.headers["retry-after"]) <= 86_400
    assert not provider.requests


def test_live_audio_counts_as_it_is_heard(live, upstream, credentials, project, settings):
    settings.HEARTBEAT_SECONDS = 0.2
    upstream(recogniser)
    Project.objects.update(daily_minutes=1)

    def used():
        return quotas.today(Project.objects.get()).used

    with connect(live.url + QUERY, **credentials) as socket:
        for _ in range(10):
            socket.send(TENTH)
        wait_until(lambda: used() == 1.0)
        for _ in range(5):
            socket.send(TENTH)
        close_stream(socket)

    wait_until(lambda: LiveSession.objects.get().is_ended)
    assert used() == 1.5


def test_a_process_has_so_many_sessions_at_once(live, upstream, credentials, settings, caplog):
    upstream(recogniser)
    settings.LIVE_SESSIONS = 1

    with connect(live.url + QUERY, **credentials) as only:
        assert refused_status(live, credentials) == (429, "5")
        close_stream(only)
    wait_until(lambda: finds_room(live, credentials))
    # Nothing is wrong with a refusal.
    assert errors_of_ours(caplog) == []


def finds_room(live, credentials):
    try:
        with connect(live.url + QUERY, **credentials) as another:
            close_stream(another)
    except InvalidStatus:
        return False
    return True


def test_few_are_opened_at_once_and_the_others_wait(live, upstream, credentials, monkeypatch):
    # Each takes milliseconds of the interpreter, for which whoever speaks would wait.
    upstream(recogniser)
    may_open, inside, most, done = threading.Semaphore(0), set(), [], []

    def slowly(scope):
        inside.add(id(scope))
        most.append(len(inside))
        may_open.acquire()
        inside.remove(id(scope))
        return opened(scope)

    def speak():
        with connect(live.url + QUERY, **credentials, open_timeout=60) as socket:
            done.append(close_stream(socket))

    monkeypatch.setattr(consumer, "opened", slowly)
    speakers = [threading.Thread(target=speak) for _ in range(5)]
    for speaker in speakers:
        speaker.start()
    for opening in range(1, 6):
        wait_until(lambda: inside)
        may_open.release()
        wait_until(lambda so_far=opening: len(done) == so_far)
    for speaker in speakers:
        speaker.join()

    assert max(most) == OPENED_AT_ONCE


def test_what_the_provider_refused_is_told_of_the_session(live, upstream, credentials):
    upstream(answer=lambda socket, request: socket.respond(400, "no such model"))

    assert refused_status(live, credentials)[0] == 400

    wait_until(lambda: LiveSession.objects.get().is_ended)
    session = LiveSession.objects.get()
    assert (session.reason, session.error_code) == ("refused", "Bad Request")


def test_a_client_that_vanishes_leaves_nothing_open(live, upstream, credentials):
    provider = upstream(recogniser)
    with connect(live.url + QUERY, **credentials) as socket:
        socket.send(TENTH)
        socket.recv(timeout=30)
        # Without a word of WebSocket.
        socket.socket.shutdown(SHUT_RDWR)

    wait_until(lambda: not provider.open)
    wait_until(lambda: LiveSession.objects.get().is_ended)


@pytest.mark.parametrize("vanishes", [False, True])
def test_what_a_session_held_is_given_back_without_the_garbage_collector(
    live, upstream, credentials, vanishes
):
    # With a thousand sessions one look at everything takes it a quarter of a second, so it comes seldom.
    upstream(recogniser)
    gc.collect()
    gc.disable()
    held = (Relay, Session, Client, WebSocket, Socket, LiveSession)
    others = [each for each in gc.get_objects() if type(each) in held]

    def of_it(*types):
        return [each for each in gc.get_objects() if type(each) in types and each not in others]

    try:
        with connect(live.url + QUERY, **credentials) as socket:
            for _ in range(15):
                socket.send(TENTH)
            wait_until(LiveSession.objects.filter(state=State.LIVE).exists)
            protocols = [ref(each.conn) for each in of_it(WebSocket)]
            protocols += [ref(each.protocol) for each in of_it(Socket)]
            assert len(protocols) == 2
            if vanishes:
                socket.socket.shutdown(SHUT_RDWR)
            else:
                close_stream(socket)
        wait_until(LiveSession.objects.filter(state=State.ENDED).exists)
        wait_until(lambda: not of_it(*held))
        wait_until(lambda: not any(protocol() for protocol in protocols))
    finally:
        gc.enable()


def test_a_client_that_leaves_while_the_provider_is_asked_is_no_error(live, upstream, credentials, caplog):
    asked, gone = threading.Event(), threading.Event()

    def answer(socket, request):
        asked.set()
        gone.wait(90)

    provider = upstream(recogniser, answer=answer)
    with create_connection(("127.0.0.1", live.port)) as client:
        client.sendall(handshake(credentials))
        assert asked.wait(90)
    gone.set()

    wait_until(lambda: LiveSession.objects.get().is_ended)
    wait_until(lambda: not provider.open)
    assert errors_of_ours(caplog) == []


def errors_of_ours(caplog):
    """What the provider's server in this process has to complain of is another matter."""
    return [each for each in caplog.records if each.levelname == "ERROR" and each.name != "websockets.server"]


def handshake(credentials):
    return (
        f"GET {QUERY} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: {credentials['additional_headers']['Authorization']}\r\n\r\n"
    ).encode()


def test_a_client_that_is_dead_without_a_word_is_noticed(live, upstream, credentials):
    """Its machine is gone, or hangs: nothing is closed, and no ping is answered."""
    provider = upstream(recogniser)
    live.ping_every(1)
    with create_connection(("127.0.0.1", live.port)) as dead:
        dead.sendall(handshake(credentials))
        assert dead.recv(1024).startswith(b"HTTP/1.1 101")
        wait_until(lambda: provider.open)
        wait_until(lambda: not provider.open)
        wait_until(lambda: LiveSession.objects.get().is_ended)

    assert LiveSession.objects.get().reason == "client_gone"


def test_a_client_that_does_not_read_is_closed_and_told_why(live, upstream, credentials, monkeypatch):
    given_up = threading.Event()

    async def talkative(socket):
        """Says more than all buffers take up, until it is told to end."""
        while not given_up.is_set():
            await socket.send(result(0, 1, final=False, text="hello " * 40_000))
            with suppress(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.01)
                given_up.set()

    upstream(talkative)
    monkeypatch.setattr("streaming.rules.session._BLOCKED", 0.5)

    with connect(live.url + QUERY, max_size=None, **credentials) as socket:
        assert given_up.wait(60)
        with pytest.raises(ConnectionClosedError) as closed:
            while True:
                socket.recv(timeout=30)

    assert closed.value.rcvd.code == 4008
    wait_until(lambda: LiveSession.objects.get().is_ended)
    assert LiveSession.objects.get().reason == "too_slow"


def test_a_message_of_over_two_megabytes_ends_the_session(live, upstream, credentials):
    upstream(recogniser)

    # With 1009, if that comes before the reset for what was sent and not read.
    with connect(live.url + QUERY, **credentials) as socket, pytest.raises(ConnectionClosedError):
        socket.send(bytes(3 << 20))
        socket.recv(timeout=60)

    wait_until(lambda: LiveSession.objects.get().is_ended)


def test_a_provider_that_hangs_is_told_of_as_one_that_breaks(live, upstream, credentials, monkeypatch):
    async def silent(socket):
        if len(provider.requests) > 1:
            await recogniser(socket)
        async for _ in socket:
            pass

    provider = upstream(silent)
    monkeypatch.setattr("streaming.rules.silence._WITH_INTERIMS", 0.5)
    failed = []
    monkeypatch.setattr(Breaker, "failed", lambda breaker, began_at: failed.append(began_at))

    with connect(live.url + QUERY, **credentials) as socket:
        for _ in range(10):
            socket.send(TENTH)
        json.loads(socket.recv(timeout=60))
        close_stream(socket)

    lost = LiveSession.objects.get().timeline.get(type=Happening.CONNECTION_LOST)
    assert lost.details == {"code": 1006, "connection": 1}
    assert len(failed) == 1


def test_what_a_client_has_seen_of_latency_is_kept_and_not_passed_on(live, upstream, credentials):
    upstream(recogniser)
    figures = {"p50_ms": 310.5, "p95_ms": 420, "p99_ms": 500, "results": 17}

    with connect(live.url + QUERY, **credentials) as socket:
        socket.send(json.dumps({"type": "ClientLatency", **figures}, separators=(",", ":")))
        close_stream(socket)

    wait_until(lambda: LiveSession.objects.get().is_ended)
    assert LiveSession.objects.get().client_latency == figures


def test_what_is_to_be_recorded_is_kept(live, upstream, credentials):
    upstream(recogniser)
    spoken = [bytes([number]) * 3200 for number in range(15)]

    with connect(f"{live.url}{QUERY}&record=true", **credentials) as socket:
        for audio in spoken:
            socket.send(audio)
        close_stream(socket)

    wait_until(lambda: LiveSession.objects.get().is_ended)
    kept = b""
    for part in AudioPart.objects.all():
        with storages["default"].open(part.stored_name) as stored:
            kept += stored.read()
    assert kept == b"".join(spoken)


def test_packets_without_a_container_cannot_be_recorded(live, upstream, credentials):
    upstream(recogniser)

    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{live.url}/v1/listen?model=nova-3&encoding=opus&record=true", **credentials),
    ):
        pass

    assert refused.value.response.status_code == 400


def test_a_region_that_cannot_be_reached_is_left_for_the_next(live, upstream, credentials, regions):
    provider = upstream(recogniser)
    regions(
        {"name": "away", "base_url": f"http://127.0.0.1:{free_port()}", "weight": 2},
        {"name": "there", "base_url": provider.url},
    )

    with connect(live.url + QUERY, open_timeout=30, **credentials) as socket:
        socket.send(TENTH)
        close_stream(socket)

    wait_until(lambda: LiveSession.objects.get().is_ended)
    assert LiveSession.objects.get().region == "there"


def test_a_region_that_dies_in_the_middle_hands_its_sessions_to_the_next(
    live, upstream, credentials, regions
):
    dying, there = Loopback(recogniser), upstream(recogniser)
    dying.__enter__()
    regions({"name": "dying", "base_url": dying.url}, {"name": "there", "base_url": there.url, "weight": 0})

    with connect(live.url + QUERY, open_timeout=30, **credentials) as socket:
        socket.send(TENTH)
        wait_until(lambda: LiveSession.objects.get().region == "dying")
        dying.__exit__()
        for _ in range(20):
            socket.send(TENTH)
        close_stream(socket)

    wait_until(lambda: LiveSession.objects.get().is_ended)
    session = LiveSession.objects.get()
    told = [entry.details for entry in session.timeline.filter(type=Happening.CONNECTED)]
    assert [details["region"] for details in told] == ["dying", "there"]


def test_a_session_whose_own_code_fails_is_closed_and_goes_not_quiet(
    live, upstream, credentials, monkeypatch, caplog
):
    upstream(recogniser)
    monkeypatch.setattr(Relay, "_send", lambda relay, data: 1 / 0)

    with connect(live.url + QUERY, **credentials) as socket, pytest.raises(ConnectionClosedError) as closed:
        socket.send(TENTH)
        socket.recv(timeout=30)

    assert closed.value.rcvd.code == 1011
    wait_until(lambda: "ZeroDivisionError" in caplog.text)


def test_what_cannot_be_stored_of_one_session_fails_that_one_alone(
    live, upstream, credentials, settings, monkeypatch, caplog
):
    """They are stored together, and nobody holds the one that failed any more."""
    upstream(recogniser)
    settings.LEASE_SECONDS, settings.HEARTBEAT_SECONDS = 1, 0.2
    store = lifecycle.store

    def storing(progress):
        if any(each.request_id == "request-1" for each in progress):
            raise DataError("too long")
        return store(progress)

    with (
        connect(live.url + QUERY, **credentials) as first,
        connect(live.url + QUERY, **credentials) as second,
    ):
        monkeypatch.setattr(lifecycle, "store", storing)
        for socket in (first, second):
            for _ in range(10):
                socket.send(TENTH)
        with pytest.raises(ConnectionClosedError) as closed:
            while True:
                first.recv(timeout=30)
        wait_until(lambda: LiveSession.objects.lapsed().filter(request_id="").exists())
        close_stream(second)

    assert closed.value.rcvd.code == 1011
    wait_until(lambda: LiveSession.objects.filter(request_id="request-2", state=State.ENDED).exists())
    assert FinalResult.objects.get().session.request_id == "request-2"
    assert "too long" in caplog.text
