"""Bodies that are received as they are read, at a real server."""

import hashlib
import os
import socket
import threading
from contextlib import contextmanager
from time import monotonic

import httpx
import psutil
import pytest
from django.contrib.auth.models import User

from jobs.models import ApiKey, Project, Recording
from tests.conditions import wait_until
from tests.sandbox.sounds import wav
from tests.sandbox_process import SandboxProcess
from tests.web_process import WebProcess
from transcribe_project.body import DRAIN_SECONDS

MEGABYTE = 1 << 20
RAW = {"Content-Type": "audio/wav"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FORM_BEGINS = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
JOBS = "/api/v1/jobs/"
# What becomes of bytes is the same on both databases.
pytestmark = pytest.mark.postgresql


@pytest.fixture
def key(transactional_db):
    _, text = ApiKey.objects.issue(Project.objects.create(name="p"), "k")
    return text


@pytest.fixture(scope="module")
def running_web(database_address, tmp_path_factory):
    environment = {"DATA_DIR": str(tmp_path_factory.mktemp("data")), "MAX_UPLOAD_BYTES": str(64 * MEGABYTE)}
    with (
        SandboxProcess() as sandbox,
        WebProcess(environment | {"DATABASE_URL": database_address, "DEEPGRAM_BASE_URL": sandbox.url}) as web,
    ):
        yield web


@pytest.fixture
def web(key, database_url, running_web):
    if running_web.process is None:
        running_web.start()
    return running_web


@contextmanager
def connection(web):
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as client:
        yield client


def header(key, length, **more):
    lines = [f"POST {JOBS} HTTP/1.1", "Host: localhost"]
    lines += [f"Authorization: Token {key}"] if key else []
    lines += [f"Content-Length: {length}"] if length is not None else ["Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in (RAW | more).items()]
    return "\r\n".join([*lines, "", ""]).encode()


def status_of(client):
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(65536)
    return int(answer.split()[1])


def kept_for_nothing(web):
    return os.listdir(os.path.join(web.data_dir, "tmp"))


def long_wav(seconds):
    """Silence, but for its beginning: as large as is wanted, and quickly made."""
    head = wav(1.0)
    body = bytearray(head[:44]) + head[44:] + bytes(int((seconds - 1) * 32000))
    body[4:8] = (len(body) - 8).to_bytes(4, "little")
    body[40:44] = (len(body) - 44).to_bytes(4, "little")
    return bytes(body)


@pytest.mark.parametrize(
    ("given_key", "length", "expected"),
    [
        pytest.param(False, 32 * MEGABYTE, 401, id="without a key"),
        pytest.param(True, 66 * MEGABYTE, 413, id="too large"),
        pytest.param(True, None, 411, id="in chunks"),
        pytest.param(True, 10**17, 413, id="absurd"),
    ],
)
def test_what_is_refused_is_refused_at_its_header(web, key, given_key, length, expected):
    with connection(web) as client:
        client.sendall(header(key if given_key else None, length))
        status = status_of(client)

    assert status == expected
    assert kept_for_nothing(web) == []


def test_what_does_not_fit_on_the_disk_is_refused_at_its_header(key, database_url, tmp_path):
    environment = {"DATA_DIR": str(tmp_path), "DATABASE_URL": database_url}
    with (
        WebProcess(environment | {"DISK_RESERVE_BYTES": str(1 << 60)}) as web,
        connection(web) as client,
    ):
        client.sendall(header(key, 5 * MEGABYTE))
        status = status_of(client)

    assert status == 507


def test_who_asks_first_is_not_told_to_go_on_with_what_is_refused(web):
    took = []
    for _ in range(5):
        with connection(web) as client:
            began = monotonic()
            client.sendall(header(None, 32 * MEGABYTE, Expect="100-continue"))
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 401")
        took.append(monotonic() - began)

    # Never only after the time that others are given to finish, however busy the machine is now and then.
    assert min(took) < DRAIN_SECONDS


def test_who_was_refused_may_send_a_little_more_and_then_reads_the_answer(web):
    answer = httpx.post(
        f"{web.url}{JOBS}", content=bytes(16 * MEGABYTE), headers={"content-type": "audio/wav"}, timeout=20
    )

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_authenticated"


def test_who_was_refused_and_sends_for_ever_is_cut_off(web):
    with connection(web) as client:
        client.sendall(header(None, 10 * 1024 * MEGABYTE))
        began = monotonic()
        with pytest.raises(OSError):
            while monotonic() - began < 20:
                client.sendall(bytes(MEGABYTE))

    assert 1 < monotonic() - began < 20


def test_a_large_recording_is_kept_as_it_was_sent(web, key):
    audio = long_wav(900)

    raw = httpx.post(
        f"{web.url}{JOBS}?mode=async",
        content=audio,
        headers={"authorization": f"Token {key}", "content-type": "audio/wav"},
        timeout=60,
    )
    form = httpx.post(
        f"{web.url}{JOBS}",
        files={"file": ("long.wav", audio, "audio/wav")},
        data={"mode": "async"},
        headers={"authorization": f"Token {key}"},
        timeout=60,
    )

    assert (raw.status_code, form.status_code) == (202, 202), (raw.text, form.text, web.stop())
    digest = hashlib.sha256(audio).hexdigest()
    for recording in Recording.objects.all():
        assert recording.sha256 == digest
        stored = os.path.join(web.data_dir, "media", recording.file.name)
        with open(stored, "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    assert kept_for_nothing(web) == []


@pytest.mark.parametrize(("kind", "begins"), [(RAW, b""), (FORM, FORM_BEGINS)], ids=["raw", "form"])
def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(web, key, kind, begins):
    with connection(web) as client:
        client.sendall(header(key, 32 * MEGABYTE, **kind) + begins + bytes(4 * MEGABYTE))
        wait_until(lambda: kept_for_nothing(web), 10)

    wait_until(lambda: not kept_for_nothing(web), 10)
    assert not Recording.objects.exists()
    assert "Traceback" not in web.stop()


def test_a_page_reads_a_large_form_of_nobody_but_staff(web, database_url):
    User.objects.create_user("someone", password="a password")
    with httpx.Client(base_url=web.url) as client:
        client.get("/admin/login/")
        token = client.cookies["csrftoken"]
        large = client.post(
            "/admin/login/",
            data={"csrfmiddlewaretoken": token},
            files={"file": bytes(8 * MEGABYTE)},
            headers={"x-csrftoken": token},
        )

    assert large.status_code == 403
    assert kept_for_nothing(web) == []


@pytest.mark.parametrize(
    ("path", "in_chunks"),
    [
        pytest.param(f"{JOBS}?mode=async", False, id="the API"),
        pytest.param("/v1/listen?callback=http://127.0.0.1:9/", True, id="the gateway, in chunks"),
    ],
)
def test_uploads_take_constant_memory_and_hold_up_nobody(web, key, path, in_chunks):
    audio = long_wav(1800)
    process = psutil.Process(web.process.pid)
    slowest = 0.0

    def send():
        parts = (audio[start : start + MEGABYTE] for start in range(0, len(audio), MEGABYTE))
        httpx.post(
            f"{web.url}{path}",
            content=parts if in_chunks else audio,
            headers={"authorization": f"Token {key}", "content-type": "audio/wav"},
            timeout=120,
        ).raise_for_status()

    before = process.memory_info().rss
    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    peak = before
    while any(sender.is_alive() for sender in senders):
        began = monotonic()
        httpx.get(f"{web.url}/healthz", timeout=20).raise_for_status()
        slowest = max(slowest, monotonic() - began)
        peak = max(peak, process.memory_info().rss)

    assert Recording.objects.count() == 4
    assert peak - before < 40 * MEGABYTE, f"{(peak - before) / MEGABYTE:.0f} MB more"
    # Other tests run beside this one; `python -m bench uploads` measures what it is alone.
    assert slowest < 5.0, f"/healthz took {slowest:.2f} s"
