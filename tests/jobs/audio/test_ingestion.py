"""A job given by its URL, whose server on loopback does what the test wants."""

import logging
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import OperationalError, connection
from django.utils import timezone

from jobs import lifecycle
from jobs.audio import ingestion
from jobs.forgetting import files
from jobs.forgetting.deletion import delete_job
from jobs.models import Recording, Status, TranscriptionJob
from jobs.running import execution, sweeper
from jobs.running.execution import execute
from jobs.running.worker import Worker
from routing.breaker import breaker_of
from routing.transport import DeadlineTransport, client_over
from tests.conditions import wait_until
from tests.jobs.rows import QUEUE, ago, claim, fresh, make_job, make_project
from tests.routing.corpus import FORBIDDEN_URLS
from tests.routing.peer import Peer, answering, dripping_body, dripping_headers, silent
from tests.sandbox.sounds import wav

pytestmark = pytest.mark.django_db(transaction=True)

AUDIO = wav(1.0)
SECRET = "signature=top-secret"


@pytest.fixture(autouse=True)
def media(settings, tmp_path) -> Iterator[Path]:
    """Storage and temporary files that hold nothing else."""
    (tmp_path / "tmp").mkdir()
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "tmp"
    default = settings.STORAGES["default"]
    options = {"location": tmp_path / "media", "allow_overwrite": True}
    settings.STORAGES = settings.STORAGES | {"default": default | {"OPTIONS": options}}
    yield tmp_path
    # It keeps connections.
    ingestion._client(True).close()
    ingestion._client.cache_clear()


def run(url, leases, **fields):
    """What becomes of a job with this URL in its next attempt."""
    job = make_job(url=url, **fields)
    execute(claim(), leases)
    return fresh(job)


@contextmanager
def serving(status=200, body=AUDIO, path="/calls/monday.wav", **headers):
    with Peer(answering(status, body, **headers)) as peer:
        yield f"{peer.url}{path}?{SECRET}", peer


def kept(media):
    """Every file that there is."""
    return [path for path in media.rglob("*") if path.is_file()]


def test_the_audio_is_fetched_stored_and_transcribed(provider, leases):
    with serving() as (url, peer):
        job = run(url, leases)

    recording = job.recording
    assert (job.status, job.duration, job.url) == (Status.COMPLETED, 1.0, url)
    assert (recording.filename, recording.size, recording.media_type) == (
        "monday.wav",
        len(AUDIO),
        "audio/wav",
    )
    with storages["default"].open(recording.file.name) as file:
        assert file.read() == AUDIO
    assert recording.sha256 in provider.requests()["by_sha256"]
    assert peer.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("header", "filename"),
    [
        ('attachment; filename="call 1.wav"', "call 1.wav"),
        ("attachment; filename*=UTF-8''gespr%C3%A4ch.wav", "gespräch.wav"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ("attachment; filename*=UTF-8''a%0D%0A%00b.wav", "ab.wav"),
        ("attachment; filename*=UTF-8''%E2%80%AEvaw.exe", "vaw.exe"),
        (f'attachment; filename="{"a" * 400}"', "a" * 255),
        ("attachment", "monday.wav"),
        ("nonsense;;;=", "monday.wav"),
    ],
)
def test_the_file_is_called_as_its_server_calls_it(provider, leases, header, filename):
    with serving(content_disposition=header) as (url, _):
        assert run(url, leases).recording.filename == filename


def test_it_is_fetched_once_for_all_attempts_and_runs(provider, leases, settings):
    settings.RETRY_BASE_SECONDS = 0.0
    provider.set_faults("status=500")
    with serving() as (url, peer):
        job = run(url, leases)
        assert (job.status, job.error_code) == (Status.WAITING, "provider_error")
        provider.set_faults()
        execute(claim(), leases)
        lifecycle.requeue(fresh(job))
        execute(claim(), leases)

    assert (fresh(job).status, fresh(job).run) == (Status.COMPLETED, 2)
    assert (len(peer.requests), Recording.objects.count()) == (1, 1)


FINAL = [
    (404, AUDIO, "url_not_found"),
    (410, AUDIO, "url_not_found"),
    (401, AUDIO, "url_refused"),
    (403, AUDIO, "url_refused"),
    (204, b"", "url_refused"),
    (304, b"", "url_refused"),
    (200, b"<html>Sign in</html>", "unsupported_media"),
    (200, b"", "corrupt_media"),
    (200, AUDIO[:30], "corrupt_media"),
]
PASSING = [
    (500, "url_server_error"),
    (503, "url_server_error"),
    (408, "url_server_error"),
]


@pytest.mark.parametrize(("status", "body", "code"), FINAL)
def test_what_would_be_so_again_fails_at_once_and_keeps_nothing(provider, leases, media, status, body, code):
    with serving(status, body) as (url, _):
        job = run(url, leases)

    assert (job.status, job.error_code, job.attempts) == (Status.FAILED, code, 1)
    assert "secret" not in job.error_message
    assert (kept(media), Recording.objects.count(), provider.requests()["total"]) == ([], 0, 0)


@pytest.mark.parametrize(("status", "code"), PASSING)
def test_what_may_pass_is_tried_again_and_leaves_the_provider_alone(provider, leases, media, status, code):
    with serving(status) as (url, _):
        job = run(url, leases)

    assert (job.status, job.error_code, job.attempts) == (Status.WAITING, code, 1)
    assert breaker_of("default").admits()
    assert (kept(media), provider.requests()["total"]) == ([], 0)


def test_a_server_that_asks_for_patience_gets_it_and_costs_no_attempt(provider, leases):
    with serving(429, retry_after="7") as (url, _):
        job = run(url, leases)

    assert (job.status, job.error_code, job.attempts, job.deferrals) == ("waiting", "url_busy", 0, 1)
    assert 6 < (job.run_at - timezone.now()).total_seconds() < 10
    assert breaker_of("default").admits()


def test_the_last_attempt_that_fails_fails_the_job(provider, leases):
    with serving(500) as (url, _):
        job = run(url, leases, attempts=2)

    assert (job.status, job.error_code, job.attempts) == (Status.FAILED, "url_server_error", 3)


def resetting(connection):
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + AUDIO)
    connection.reset()


def truncating(connection):
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + AUDIO)


def babbling(connection):
    connection.read_request()
    connection.send(b"HELLO\r\n\r\n")


@pytest.mark.parametrize("behave", [resetting, truncating, babbling])
def test_a_connection_that_breaks_is_tried_again(provider, leases, media, behave):
    with Peer(behave) as peer:
        job = run(peer.url, leases)

    assert (job.status, job.error_code, job.attempts) == (Status.WAITING, "url_unreachable", 1)
    assert kept(media) == []


@pytest.mark.parametrize("behave", [silent, dripping_headers, dripping_body])
def test_a_server_that_does_not_come_to_an_end_is_left_at_the_deadline(
    provider, leases, settings, media, behave
):
    settings.FETCH_DEADLINE_SECONDS = 0.5
    begun = monotonic()
    with Peer(behave) as peer:
        job = run(peer.url, leases)

    assert monotonic() - begun < 0.5 + 8
    assert (job.status, job.error_code) == (Status.WAITING, "url_timeout")
    assert kept(media) == []


def test_a_server_that_is_too_slow_is_left_before_the_deadline(provider, leases, monkeypatch):
    monkeypatch.setattr(ingestion, "WATCHED_SECONDS", 0.2)
    with Peer(dripping_body) as peer:
        job = run(peer.url, leases)

    assert (job.status, job.error_code) == (Status.WAITING, "url_too_slow")


def endless(connection):
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.send(bytes(1 << 16))


@pytest.mark.parametrize("behave", [endless, answering(200, bytes(10_001))])
def test_more_than_is_accepted_is_not_received(provider, leases, settings, media, behave):
    settings.MAX_UPLOAD_BYTES = 10_000
    with Peer(behave) as peer:
        job = run(peer.url, leases)

    assert (job.status, job.error_code) == (Status.FAILED, "url_too_large")
    assert kept(media) == []


def test_what_comes_compressed_all_the_same_is_not_taken(provider, leases):
    with serving(200, zlib.compress(AUDIO), content_encoding="deflate") as (url, _):
        assert run(url, leases).error_code == "url_encoded"


def redirecting(times):
    """Sends on `times` times before it answers."""

    def behave(connection):
        while request := connection.read_request():
            done = int(request.target.strip("/") or 0)
            if done == times:
                connection.answer(200, AUDIO)
            else:
                connection.answer(302, location=f"/{done + 1}")

    return behave


@pytest.mark.parametrize(
    ("times", "ends"), [(3, (Status.COMPLETED, "")), (4, (Status.FAILED, "url_redirects"))]
)
def test_three_redirects_are_followed(provider, leases, times, ends):
    with Peer(redirecting(times)) as peer:
        job = run(peer.url, leases)

    assert (job.status, job.error_code) == ends


@pytest.mark.parametrize("url", ["", "/calls/monday.wav"])
def test_logs_and_messages_tell_host_and_address_but_not_path_or_query(provider, leases, caplog, url):
    caplog.set_level(logging.DEBUG)
    with serving(path=url or "/calls/gone.wav", status=200 if url else 404) as (url, _):
        job = run(url, leases)

    assert "127.0.0.1" in caplog.text
    assert not any(word in caplog.text + job.error_message for word in ("secret", "calls"))


@pytest.mark.parametrize("lost", ["cancelled", "taken over", "deleted"])
def test_losing_the_lease_ends_the_fetch(provider, leases, media, lost):
    with Peer(dripping_body) as peer:
        job = make_job(url=peer.url)
        claimed = claim()
        fetching = threading.Thread(target=lambda: (execute(claimed, leases), connection.close()))
        fetching.start()
        wait_until(lambda: kept(media))

        match lost:
            case "cancelled":
                lifecycle.cancel(fresh(job))
            case "deleted":
                delete_job(fresh(job))
            case "taken over":
                TranscriptionJob.objects.filter(pk=job.pk).update(lease_until=ago(1))
                sweeper.sweep()

        fetching.join(90)
        assert not fetching.is_alive()
    assert (kept(media), Recording.objects.count()) == ([], 0)


def test_what_was_fetched_by_one_who_lost_the_lease_is_removed(provider, leases, media):
    with serving() as (url, _):
        job = make_job(url=url)
        late = claim()
        TranscriptionJob.objects.filter(pk=job.pk).update(lease_until=ago(1))
        sweeper.sweep()
        again = claim()

        execute(late, leases)
        assert (kept(media), Recording.objects.count()) == ([], 0)
        execute(again, leases)

    assert fresh(job).status == Status.COMPLETED
    assert storages["default"].exists(fresh(job).recording.file.name)


@pytest.mark.parametrize("end", ["lost", "cancelled"])
def test_what_was_stored_by_one_who_was_killed_before_it_was_the_jobs_is_removed(media, end):
    job = make_job()
    killed = claim()
    storages["default"].save(Recording.stored_name(killed.lease_token), ContentFile(AUDIO))
    assert len(kept(media)) == 1

    if end == "cancelled":
        lifecycle.cancel(fresh(job))
    else:
        TranscriptionJob.objects.filter(pk=job.pk).update(lease_until=ago(1))
        sweeper.sweep()
        files.remove_due()

    assert kept(media) == []


def test_what_was_attached_in_the_last_moment_stays(provider, leases, media):
    """The sweeper had read the job before it had its recording."""
    with serving() as (url, _):
        job = make_job(url=url)
        held = claim()
        seen = fresh(job)
        lifecycle.attach(held, ingestion.fetch(held, execution.Call(10)))
        TranscriptionJob.objects.filter(pk=job.pk).update(lease_until=ago(1))

        lifecycle.lose_lease(seen)

    assert storages["default"].exists(fresh(job).recording.file.name)


def test_a_recording_that_cannot_be_attached_is_when_the_database_is_back(provider, leases, monkeypatch):
    monkeypatch.setattr(execution, "DATABASE_REST_SECONDS", 0.01)
    broken = iter([True] * 3)

    def losing(execute_sql, sql, params, many, context):
        if sql.startswith("INSERT") and "jobs_recording" in sql and next(broken, False):
            raise OperationalError("the server closed the connection")
        return execute_sql(sql, params, many, context)

    with serving() as (url, peer), connection.execute_wrapper(losing):
        job = run(url, leases)

    assert (job.status, len(peer.requests), Recording.objects.count()) == (Status.COMPLETED, 1, 1)


def test_a_recording_attached_without_its_being_known_is_attached_once(provider, leases):
    with serving() as (url, _):
        make_job(url=url)
        job = claim()
        recording = ingestion.fetch(job, execution.Call(10))

    lifecycle.attach(job, recording)
    lifecycle.attach(job, recording)

    assert Recording.objects.get() == fresh(job).recording


def test_a_storage_that_is_full_is_an_attempt(provider, leases, monkeypatch):
    def full(name, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storages["default"], "save", full)
    with serving() as (url, _):
        job = run(url, leases)

    assert (job.status, job.error_code, job.attempts) == (Status.WAITING, "not_stored", 1)


@pytest.mark.parametrize(("url", "code"), FORBIDDEN_URLS)
def test_w4_no_internal_address_is_dialled(settings, leases, monkeypatch, url, code):
    settings.FETCH_ALLOW_PRIVATE = False
    # Plain http, on its ports too, is allowed for audio.
    expected = {"http://example.com/": "url_unreachable", "https://example.com:80/": "url_unreachable"}
    dialled = []
    monkeypatch.setattr("socket.socket.connect", lambda _, address: dialled.append(address))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [])
    job = TranscriptionJob(url=url, project=make_project())

    with pytest.raises(ingestion.FetchFailed) as caught:
        ingestion.fetch(job, execution.Call(10))

    assert (caught.value.code, dialled) == (expected.get(url, code), [])


def test_w4_each_redirect_is_checked_anew(provider, leases, monkeypatch, settings):
    """Loopback plays the public address here, so that the redirect can begin on a real server."""
    names = {"audio.example": ["127.0.0.1"], "internal.example": ["127.0.0.2"]}
    egress = DeadlineTransport(
        resolve=lambda host, port: names[host], admit=lambda address: address == "127.0.0.1"
    )
    with (
        client_over(egress, read_seconds=5) as client,
        Peer(answering(), host="127.0.0.2") as internal,
        Peer(answering(302, location=f"http://internal.example:{internal.port}/")) as public,
        monkeypatch.context() as patched,
    ):
        patched.setattr(ingestion, "_client", lambda _: client)
        job = run(f"http://audio.example:{public.port}/", leases)

    assert (job.status, job.error_code) == (Status.FAILED, "url_address")
    assert (len(public.requests), internal.connections) == (1, 0)


def test_fetched_jobs_wait_in_line_like_any_other(provider, leases):
    with serving() as (url, _):
        jobs = [make_job(url=url, project=make_project()) for _ in range(3)]
        Worker([QUEUE], 1, leases).run_available(QUEUE)

    assert {fresh(job).status for job in jobs} == {Status.COMPLETED}
