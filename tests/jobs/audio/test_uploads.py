"""Uploads at a real server: what a broken connection, a killed server and two clients at once leave."""

import hashlib
import os
import signal
import socket
from contextlib import contextmanager

import httpx
import pytest

from jobs.models import ApiKey, Recording
from tests.conditions import wait_until
from tests.jobs.rows import make_project
from tests.sandbox.sounds import wav
from tests.web_process import WebProcess

MEGABYTE = 1 << 20
AUDIO = wav(8 * MEGABYTE / 32000)
# What may be on its way between the connection and the file.
UNDER_WAY = 1 << 18
UPLOADS = "/api/v1/uploads/"


@pytest.fixture
def key(transactional_db):
    return ApiKey.objects.issue(make_project(), "tests")[1]


@pytest.fixture
def web(key, database_url, tmp_path):
    with WebProcess({"DATA_DIR": str(tmp_path), "DATABASE_URL": database_url}) as web:
        yield web


@pytest.fixture
def client(web, key):
    headers = {"authorization": f"Token {key}", "tus-resumable": "1.0.0"}
    with httpx.Client(base_url=web.url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def address(client):
    announced = {"filename": "hour.wav", "size": len(AUDIO), "sha256": hashlib.sha256(AUDIO).hexdigest()}
    answer = client.post(UPLOADS, json=announced)
    assert answer.status_code == 201, answer.text
    return httpx.URL(answer.headers["location"]).path


def offset(client, address):
    return int(client.head(address).headers["upload-offset"])


def send(client, address, at):
    headers = {"upload-offset": str(at), "content-type": "application/offset+octet-stream"}
    return client.patch(address, content=AUDIO[at:], headers=headers)


@contextmanager
def sending(web, key, address, begins, ends):
    """A client that announces all from `begins` on, has sent up to `ends`, and says nothing more."""
    lines = [f"PATCH {address} HTTP/1.1", "Host: localhost", f"Upload-Offset: {begins}"]
    lines += [f"Authorization: Token {key}"] if key else []
    lines += ["Content-Type: application/offset+octet-stream", f"Content-Length: {len(AUDIO) - begins}"]
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + AUDIO[begins:ends])
        yield connection


def arrived(client, address, ends):
    return offset(client, address) > ends - UNDER_WAY


def finished(client, address):
    answer = client.post(f"{address}complete/")
    assert answer.status_code == 200, answer.text
    return Recording.objects.get().sha256 == hashlib.sha256(AUDIO).hexdigest()


def test_what_came_before_the_connection_broke_is_kept(web, client, key, address):
    with sending(web, key, address, 0, 5 * MEGABYTE):
        wait_until(lambda: arrived(client, address, 5 * MEGABYTE))

    def goes_on():
        return send(client, address, offset(client, address)).status_code == 204

    # As soon as the server has noticed that the other has gone.
    wait_until(goes_on)
    assert finished(client, address)


def test_of_two_who_send_at_once_one_is_sent_away(web, client, key, address):
    with sending(web, key, address, 0, 4 * MEGABYTE) as first:
        wait_until(lambda: arrived(client, address, 4 * MEGABYTE))

        second = send(client, address, offset(client, address))
        first.sendall(AUDIO[4 * MEGABYTE :])
        answer = first.recv(65536)

    assert (second.status_code, second.json()["error"]["code"]) == (409, "upload_in_use")
    assert answer.startswith(b"HTTP/1.1 204")
    assert finished(client, address)


def test_what_a_killed_server_had_written_is_what_it_tells_when_it_is_back(
    web, client, key, address, tmp_path
):
    with sending(web, key, address, 0, 5 * MEGABYTE):
        wait_until(lambda: arrived(client, address, 5 * MEGABYTE))
        os.killpg(web.process.pid, signal.SIGKILL)
    web.stop()
    [file] = (tmp_path / "media" / "recordings").iterdir()

    web.start()

    at = offset(client, address)
    assert at == file.stat().st_size > 4 * MEGABYTE
    assert send(client, address, at).status_code == 204
    assert finished(client, address)


def test_who_has_no_key_is_told_before_a_byte_is_read(web, client, address):
    with sending(web, None, address, 0, 0) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")

    assert offset(client, address) == 0
