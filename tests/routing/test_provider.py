"""The client against a scripted Deepgram: real sockets on loopback, the real SDK in between."""

import hashlib
import io
import json
import subprocess
import sys
import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs

import pytest

from routing.backoff import ErrorKind
from routing.provider import (
    AudioFile,
    AudioUnreadable,
    Call,
    CallAborted,
    Provider,
    ProviderEndpoint,
    ProviderError,
    ProviderRefusedCredentials,
    ProviderRejected,
    ProviderUnavailable,
    provider_for,
)
from tests.routing.peer import (
    Connection,
    Peer,
    answering,
    deaf,
    dripping_body,
    dripping_headers,
    silent,
)

KEY = "canary-key-0123456789"
LONG = 20.0
SHORT = 0.2
SOON = 10.0


def provider_at(peer: Peer, **changes) -> Provider:
    return Provider(ProviderEndpoint(peer.url, KEY, **changes))


def audio(content: bytes = b"RIFF") -> AudioFile:
    return AudioFile(io.BytesIO(content), len(content))


def ask(behave, *, seconds=LONG, source=None, options=(), **changes):
    """The answer or the error of one request to a provider that behaves like this."""
    with Peer(behave) as peer:
        provider = provider_at(peer, **changes)
        try:
            return provider.transcribe(source or audio(), options, call=Call(seconds))
        except (ProviderError, CallAborted, AudioUnreadable) as error:
            return error
        finally:
            provider.close()


def test_the_answer_is_what_the_provider_sent_byte_for_byte():
    body = b'{ "results" : {"odd spacing": 1.0000000000000001} }'

    answer = ask(answering(200, body, dg_request_id="req-1"))

    assert (answer.body, answer.request_id, answer.status) == (body, "req-1", 200)
    assert 0 < answer.elapsed < SOON


def test_an_answer_that_is_no_json_is_left_to_the_caller_to_judge():
    assert ask(answering(200, b"<html>")).body == b"<html>"


def test_options_are_sent_as_they_are_and_repeated_names_repeatedly():
    with Peer(answering()) as peer:
        provider = provider_at(peer)
        options = [
            ("model", "nova-3"),
            ("keyterm", "a b&c"),
            ("keyterm", "d"),
            ("smart_format", "true"),
            ("new", ""),
        ]
        provider.transcribe(audio(), options, call=Call(LONG))
        provider.close()

    path, _, query = peer.requests[0].target.partition("?")
    assert path == "/v1/listen"
    assert parse_qs(query, keep_blank_values=True) == {
        "model": ["nova-3"],
        "keyterm": ["a b&c", "d"],
        "smart_format": ["true"],
        "new": [""],
    }


@pytest.mark.parametrize("suffix", ["/deepgram", "/deepgram/"])
def test_a_path_in_the_base_url_is_kept(suffix):
    with Peer(answering()) as peer:
        provider = Provider(ProviderEndpoint(peer.url + suffix, KEY))
        provider.transcribe(audio(), [], call=Call(LONG))
        provider.close()

    assert peer.requests[0].target == "/deepgram/v1/listen"


def test_a_file_is_sent_from_where_it_stands_with_its_length_and_type():
    file = io.BytesIO(b"headerAUDIOtrailer")
    file.seek(6)
    with Peer(answering()) as peer:
        provider = provider_at(peer)
        provider.transcribe(AudioFile(file, 5), [], call=Call(LONG), content_type="audio/flac")
        provider.close()

    request = peer.requests[0]
    assert request.body == b"AUDIO"
    assert request.headers["content-length"] == "5"
    assert request.headers["content-type"] == "audio/flac"
    assert request.headers["authorization"] == f"Token {KEY}"


def test_a_large_file_is_streamed_in_constant_memory(tmp_path):
    size = 64 * 1024 * 1024
    path = tmp_path / "large.wav"
    with path.open("wb") as file:
        file.truncate(size)
    digest = hashlib.sha256()

    def receive(connection: Connection) -> None:
        request = connection.read_head()
        left = int(request.headers["content-length"])
        buffer = bytearray(65536)
        while left:
            received = connection._file.readinto(memoryview(buffer)[: min(left, len(buffer))])
            digest.update(buffer[:received])
            left -= received
        connection.answer()

    with path.open("rb") as file:
        tracemalloc.start()
        try:
            ask(receive, source=AudioFile(file, size))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert digest.hexdigest() == hashlib.sha256(bytes(size)).hexdigest()
    assert peak < 4 * 1024 * 1024


def test_connections_are_kept_and_shared():
    with Peer(answering()) as peer:
        provider = provider_at(peer)
        for _ in range(3):
            provider.transcribe(audio(), [], call=Call(LONG))
        provider.close()

    assert (peer.connections, len(peer.requests)) == (1, 3)


def test_threads_get_their_own_answers():
    def echo(connection: Connection) -> None:
        while request := connection.read_request():
            connection.answer(200, request.body, dg_request_id=request.body.decode())

    wrong = []
    with Peer(echo) as peer:
        provider = provider_at(peer)

        def work(thread: int) -> None:
            for turn in range(20):
                content = f"{thread}-{turn}"
                answer = provider.transcribe(audio(content.encode()), [], call=Call(LONG))
                if (answer.body.decode(), answer.request_id) != (content, content):
                    wrong.append((content, answer))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        provider.close()

    assert wrong == []
    assert len(peer.requests) == 160


@pytest.mark.parametrize(
    ("status", "family", "code", "kind"),
    [
        (302, ProviderUnavailable, "provider_error", ErrorKind.UNAVAILABLE),
        (400, ProviderRejected, "provider_rejected", ErrorKind.REJECTED),
        (401, ProviderRefusedCredentials, "provider_unauthorized", ErrorKind.CREDENTIALS),
        (402, ProviderRefusedCredentials, "provider_payment_required", ErrorKind.CREDENTIALS),
        (403, ProviderRefusedCredentials, "provider_forbidden", ErrorKind.CREDENTIALS),
        (404, ProviderRejected, "provider_rejected", ErrorKind.REJECTED),
        (405, ProviderRejected, "provider_rejected", ErrorKind.REJECTED),
        (408, ProviderUnavailable, "provider_error", ErrorKind.UNAVAILABLE),
        (411, ProviderRejected, "provider_rejected", ErrorKind.REJECTED),
        (413, ProviderRejected, "provider_too_large", ErrorKind.REJECTED),
        (414, ProviderRejected, "provider_rejected", ErrorKind.REJECTED),
        (415, ProviderRejected, "provider_unsupported_media", ErrorKind.REJECTED),
        (422, ProviderRejected, "provider_rejected", ErrorKind.REJECTED),
        (425, ProviderUnavailable, "provider_error", ErrorKind.UNAVAILABLE),
        (429, ProviderUnavailable, "provider_rate_limited", ErrorKind.BUSY),
        (499, ProviderUnavailable, "provider_error", ErrorKind.UNAVAILABLE),
        (500, ProviderUnavailable, "provider_error", ErrorKind.UNAVAILABLE),
        (502, ProviderUnavailable, "provider_error", ErrorKind.UNAVAILABLE),
        (503, ProviderUnavailable, "provider_error", ErrorKind.UNAVAILABLE),
        (504, ProviderUnavailable, "provider_error", ErrorKind.UNAVAILABLE),
    ],
)
def test_each_status_has_its_error(status, family, code, kind):
    body = json.dumps(
        {"err_code": "Bad Request", "err_msg": "No such model.", "request_id": "req-2"}
    ).encode()

    error = ask(answering(status, body))

    assert type(error) is family
    assert (error.code, error.kind, error.status) == (code, kind, status)
    assert (error.message, error.request_id) == ("No such model.", "req-2")


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b'{"category":"INVALID_JSON","message":"Bad JSON."}', {}, "Bad JSON."),
        (b'{"error_code":"Service Unavailable","err_msg":"Try later"}', {}, "Try later"),
        (b"UUID parsing failed", {"content_type": "text/plain; charset=utf-8"}, "UUID parsing failed"),
        (b"<html><h1>504</h1></html>", {"content_type": "text/html"}, "The provider answered 400."),
        (b'["a list"]', {}, "The provider answered 400."),
        (b'{"err_msg": 7}', {}, "The provider answered 400."),
        (b"", {}, "The provider answered 400."),
        (b"\xff\xfe", {"content_type": "text/plain"}, "��"),
        (json.dumps({"err_msg": "x" * 5000}).encode(), {}, "x" * 1000),
    ],
    ids=["modern", "legacy", "text", "html", "list", "number", "empty", "not-utf8", "long"],
)
def test_the_providers_words_are_passed_on_if_it_has_any(body, headers, message):
    assert ask(answering(400, body, **headers)).message == message


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("1000000", 600.0), ("soon", None)])
def test_retry_after_is_handed_on_in_seconds_and_bounded(status, header, seconds):
    assert ask(answering(status, retry_after=header)).retry_after == seconds


def test_a_retry_after_date_is_read_by_the_providers_own_clock():
    theirs = datetime(2020, 1, 1, tzinfo=UTC)

    error = ask(
        answering(
            503,
            date=format_datetime(theirs, usegmt=True),
            retry_after=format_datetime(theirs + timedelta(seconds=30), usegmt=True),
        )
    )

    assert error.retry_after == 30.0


def test_without_retry_after_there_is_none():
    assert ask(answering(429)).retry_after is None


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_no_status_is_retried_here(status):
    with Peer(answering(status)) as peer:
        provider = provider_at(peer)
        with pytest.raises(ProviderError):
            provider.transcribe(audio(), [], call=Call(LONG))
        provider.close()

    assert len(peer.requests) == 1


def reset_after_request(connection: Connection) -> None:
    connection.read_request()
    connection.reset()


def reset_during_upload(connection: Connection) -> None:
    connection.read_head()
    connection.reset()


def close_after_request(connection: Connection) -> None:
    connection.read_request()


def truncate(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\ndg-request-id: req-3\r\ncontent-length: 100\r\n\r\n{")


def not_http(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"220 smtp.example ESMTP\r\n\r\n")


@pytest.mark.parametrize(
    ("behave", "code"),
    [
        (reset_after_request, "provider_unreachable"),
        (close_after_request, "provider_unreachable"),
        (truncate, "provider_unreachable"),
        (not_http, "provider_unreachable"),
        (silent, "provider_timeout"),
        (dripping_headers, "provider_timeout"),
        (dripping_body, "provider_timeout"),
    ],
)
def test_a_request_that_was_sent_in_full_without_an_answer_may_have_been_done(behave, code):
    error = ask(behave, seconds=SHORT if code == "provider_timeout" else LONG)

    assert type(error) is ProviderUnavailable
    assert (error.code, error.outcome_unknown, error.status) == (code, True, None)


@pytest.mark.parametrize(
    ("behave", "code"), [(deaf, "provider_timeout"), (reset_during_upload, "provider_unreachable")]
)
def test_a_request_that_was_not_sent_in_full_has_not_been_done(behave, code, tmp_path):
    size = 64 * 1024 * 1024  # more than any buffer on the way holds
    with (tmp_path / "large.wav").open("w+b") as file:
        file.truncate(size)
        error = ask(behave, seconds=1.0, source=AudioFile(file, size))

    assert (error.code, error.outcome_unknown) == (code, False)


def test_a_provider_that_is_not_there_is_unreachable():
    with Peer(answering()) as peer:
        gone = provider_at(peer)

    with pytest.raises(ProviderUnavailable) as caught:
        gone.transcribe(audio(), [], call=Call(LONG))

    assert (caught.value.code, caught.value.outcome_unknown) == ("provider_unreachable", False)
    assert "127.0.0.1" in caught.value.message


def test_the_request_id_is_kept_when_the_answer_breaks_off():
    assert ask(truncate).request_id == "req-3"


def test_a_dripping_provider_cannot_outlast_the_deadline():
    started = time.monotonic()

    ask(dripping_headers, seconds=SHORT)

    assert time.monotonic() - started < SHORT + SOON


def test_an_early_refusal_of_an_upload_is_heard(tmp_path):
    def refuse(connection: Connection) -> None:
        connection.read_head()
        connection.answer(413, b'{"err_msg":"Too large."}', connection="close")

    size = 16 * 1024 * 1024
    with (tmp_path / "large.wav").open("w+b") as file:
        file.truncate(size)
        error = ask(refuse, source=AudioFile(file, size))

    assert (error.code, error.message) == ("provider_too_large", "Too large.")


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_monstrous_answer_is_cut_off(sends_length):
    def flood(connection: Connection) -> None:
        connection.read_request()
        length = b"content-length: 99999999999\r\n" if sends_length else b""
        connection.send(b"HTTP/1.1 200 OK\r\ndg-request-id: req-4\r\n" + length + b"\r\n")
        while True:
            connection.send(b"x" * 65536)

    error = ask(flood, max_answer_bytes=1_000_000)

    assert type(error) is ProviderRejected
    assert (error.code, error.request_id) == ("provider_answer_too_large", "req-4")


def test_an_answer_of_exactly_the_limit_is_taken():
    assert len(ask(answering(200, b"x" * 1000), max_answer_bytes=1000).body) == 1000


def test_another_thread_can_abort_the_call():
    asked = threading.Event()
    call = Call(LONG)

    def think(connection: Connection) -> None:
        connection.read_request()
        asked.set()
        connection.stopped.wait()

    def abort() -> None:
        asked.wait()
        call.abort()

    with Peer(think) as peer:
        provider = provider_at(peer)
        thread = threading.Thread(target=abort)
        thread.start()
        started = time.monotonic()
        with pytest.raises(CallAborted):
            provider.transcribe(audio(), [], call=call)
        thread.join()
        provider.close()

    assert time.monotonic() - started < SOON


def test_a_file_that_ends_early_is_our_fault_and_leaves_the_provider_usable():
    with Peer(answering()) as peer:
        provider = provider_at(peer)
        with pytest.raises(AudioUnreadable, match="5 bytes early"):
            provider.transcribe(AudioFile(io.BytesIO(b"12345"), 10), [], call=Call(LONG))
        answer = provider.transcribe(audio(), [], call=Call(LONG))
        provider.close()

    assert answer.status == 200


def test_a_storage_that_fails_while_reading_is_our_fault():
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError("disk gone")

    error = ask(answering(), source=AudioFile(Broken(), 10))

    assert type(error) is AudioUnreadable
    assert "disk gone" in str(error)


def everything_in(error: BaseException) -> str:
    """What a log with local variables would show of an error, libraries' frames included."""
    shown = []
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        pending += [current.__cause__, current.__context__]
        shown += [repr(current), str(current), repr(current.args), repr(vars(current))]
        traceback = current.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename != __file__:
                shown += [f"{name}={value!r}" for name, value in traceback.tb_frame.f_locals.items()]
            traceback = traceback.tb_next
    return "\n".join(shown)


@pytest.mark.parametrize(
    "behave",
    [
        answering(401, b'{"err_msg":"Invalid credentials."}'),
        answering(400, json.dumps({"err_msg": f"Key {KEY} is wrong"}).encode()),
        answering(503),
        reset_after_request,
        dripping_body,
        not_http,
    ],
    ids=["refused", "quoted", "down", "reset", "dripping", "not-http"],
)
def test_the_key_is_nowhere_in_an_error_nor_in_its_traceback(behave):
    error = ask(behave, seconds=SHORT)

    assert isinstance(error, ProviderError)
    assert KEY not in everything_in(error)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_the_key_is_in_no_repr():
    endpoint = ProviderEndpoint("https://api.deepgram.com", KEY)

    assert KEY not in repr(endpoint) + repr(Provider(endpoint))


def test_transcripts_are_in_no_repr():
    answer = ask(answering(200, b'{"transcript":"private words"}'))

    assert "private" not in repr(answer)


@pytest.mark.parametrize("key", ["", "gr\u00fcn", "two\nlines"])
def test_a_key_that_cannot_be_sent_is_refused_before_anything_is_sent(key):
    with Peer(answering()) as peer:
        provider = Provider(ProviderEndpoint(peer.url, key))
        with pytest.raises(ProviderRefusedCredentials) as caught:
            provider.transcribe(audio(), [], call=Call(LONG))
        provider.close()

    assert (caught.value.code, peer.connections) == ("provider_unauthorized", 0)


def test_a_grant_is_asked_for_with_its_time_to_live():
    with Peer(answering(200, b'{"access_token":"jwt","expires_in":30}')) as peer:
        provider = provider_at(peer)
        grant = provider.grant(30, call=Call(LONG))
        provider.close()

    assert (grant.access_token, grant.expires_in) == ("jwt", 30)
    assert "jwt" not in repr(grant)
    assert peer.requests[0].target == "/v1/auth/grant"
    assert json.loads(peer.requests[0].body) == {"ttl_seconds": 30}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"access_token":1,"expires_in":30}', b"<html>"])
def test_a_grant_that_cannot_be_read_is_an_error(body):
    with Peer(answering(200, body)) as peer:
        provider = provider_at(peer)
        with pytest.raises(ProviderUnavailable) as caught:
            provider.grant(30, call=Call(LONG))
        provider.close()

    assert caught.value.code == "provider_malformed_answer"


def test_a_grant_that_is_refused_is_an_error_like_any_other():
    with Peer(answering(403, b'{"err_msg":"No."}')) as peer:
        provider = provider_at(peer)
        with pytest.raises(ProviderRefusedCredentials):
            provider.grant(30, call=Call(LONG))
        provider.close()


def test_an_endpoint_has_one_client_in_the_process():
    first, second = (ProviderEndpoint("https://a.example", KEY) for _ in range(2))

    assert provider_for(first) is provider_for(second)
    assert provider_for(first) is not provider_for(ProviderEndpoint("https://a.example", KEY + "2"))


def test_a_forked_child_opens_connections_of_its_own():
    script = """
import os
from routing.provider import ProviderEndpoint, provider_for
endpoint = ProviderEndpoint("https://a.example", "key")
parents = provider_for(endpoint)
if (pid := os.fork()) == 0:
    os._exit(0 if provider_for(endpoint) is not parents else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert provider_for(endpoint) is parents
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr


def test_what_the_provider_wrote_can_be_stored():
    error = ProviderRejected("provider_rejected", "nul\0inside", request_id="r" * 300)

    assert error.message == "nulinside"
    assert error.request_id == "r" * 100
