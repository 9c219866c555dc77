"""Disks that are full (small ones, in memory): of uploads, of recordings and answers, of the database."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from jobs.models import ApiKey, Recording, TranscriptionJob
from tests.conditions import wait_until
from tests.faults.embedded import Runstack
from tests.faults.harness import Stopwatch, ended_jobs, open_jobs, promises_kept
from tests.jobs.rows import make_project
from tests.sandbox.sounds import wav
from tests.services.process import free_port

DISK_BYTES = 24 * 1000**2
AUDIO = wav(1.0)
LONG_AUDIO = wav(240.0)
FORM_HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="mode"\r\n\r\nasync\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
)
FORM_END = b"\r\n--b--\r\n"


class Disk:
    """A file system of its own at `path`, and what fills it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    def fill(self) -> None:
        """To the last byte."""
        with self._filling.open("ab", buffering=0) as file, suppress(OSError):
            # Less is written when there is less room, and an error is raised when there is none.
            while True:
                file.write(bytes(1 << 16))

    def free(self) -> None:
        self._filling.unlink()

    def files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.is_file() and path != self._filling]


@contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("Only root may mount a small disk to fill.")
    path.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"A small disk to fill cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def full_stack(stack, tmp_path):
    """With data below `tmp_path`, and uploads taken to the last byte."""
    return replace(stack, settings=stack.settings | {"DATA_DIR": str(tmp_path), "DISK_RESERVE_BYTES": "0"})


class Client:
    def __init__(self, url):
        _, key = ApiKey.objects.issue(make_project(), "key")
        self._url = f"{url}/api/v1/jobs/"
        self._headers = {"authorization": f"Token {key}"}

    def submit(self, audio=AUDIO):
        return self._post(audio, "audio/wav", params={"mode": "async"})

    def submit_slowly(self, audio, meanwhile, *, form):
        """`meanwhile` happens in the middle of the body."""
        head, end = (FORM_HEAD, FORM_END) if form else (b"", b"")

        def body():
            yield head + audio[: len(audio) // 2]
            meanwhile()
            yield audio[len(audio) // 2 :] + end

        length = {"content-length": str(len(head) + len(audio) + len(end))}
        if form:
            return self._post(body(), "multipart/form-data; boundary=b", headers=length)
        return self._post(body(), "audio/wav", headers=length, params={"mode": "async"})

    def _post(self, content, content_type, headers=None, **more):
        headers = self._headers | {"content-type": content_type} | (headers or {})
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.post(self._url, content=content, headers=headers, **more)


def refused_for_room(answer):
    return answer.status_code == 507 and answer.json()["error"]["code"] == "insufficient_storage"


@pytest.mark.postgresql
def test_f15_uploads_that_fill_their_disk_are_refused_and_leave_nothing(full_stack, tmp_path, tell):
    full_stack.settings["DATA_DIR"] = str(tmp_path / "data")
    with small_disk(tmp_path / "data") as disk, full_stack.web() as web:
        client = Client(web.url)
        for form in (False, True):
            answer = client.submit_slowly(LONG_AUDIO, disk.fill, form=form)
            assert refused_for_room(answer), answer.text
            assert not TranscriptionJob.objects.exists()
            assert not Recording.objects.exists()
            wait_until(lambda: not [file for file in disk.files() if file.suffix == ".upload"])
            # At the header, since it is full by now.
            assert refused_for_room(client.submit(LONG_AUDIO))
            disk.free()
        accepted = client.submit(LONG_AUDIO)
        assert accepted.status_code == 202
    tell("F15 uploads", refused=4, accepted=TranscriptionJob.objects.count())


@pytest.mark.postgresql
def test_f15_jobs_are_done_while_recordings_and_answers_find_no_room(full_stack, provider, tmp_path, tell):
    provider.set_faults("latency=2")
    with (
        small_disk(tmp_path / "media") as disk,
        full_stack.web() as web,
        full_stack.workers(1) as supervisor,
    ):
        client = Client(web.url)
        jobs = [client.submit().json()["id"] for _ in range(5)]
        wait_until(lambda: provider.requests()["active"] == len(jobs), 20)
        stored = set(disk.files())
        disk.fill()

        answer = client.submit(LONG_AUDIO)

        assert refused_for_room(answer), answer.text
        assert Recording.objects.count() == len(jobs)
        supervisor.wait_until(lambda: ended_jobs() == len(jobs), 30)
        without_answer = TranscriptionJob.objects.filter(status="completed", transcripts__answer="").count()
        # Neither half of a recording nor half of an answer.
        assert set(disk.files()) == stored
        disk.free()
        assert client.submit(LONG_AUDIO).status_code == 202
        supervisor.wait_until(lambda: not open_jobs(), 30)
    tell("F15 media", jobs=6, refused=1, **promises_kept(6), without_answer=without_answer)
    assert without_answer == len(jobs)


@dataclass(frozen=True)
class Starved:
    seconds: float


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Starved(6), id="small"),
        pytest.param(Starved(60), id="full", marks=[pytest.mark.full_load, pytest.mark.timeout(600)]),
    ],
)
def test_f15_a_database_without_room_loses_nothing_and_goes_on_when_there_is(provider, tmp_path, tell, load):
    provider.set_faults("latency=1")
    with small_disk(tmp_path / "database") as disk:
        data = (str(tmp_path / "data"), free_port(), str(disk.path / "db.sqlite3"))
        (tmp_path / "data").mkdir()
        with Runstack(provider.url, *data) as running:
            key = running.make_key()
            for _ in range(10):
                running.submit(key).raise_for_status()
            wait_until(lambda: provider.requests()["active"], 10)
            disk.fill()
            # What the log of SQLite has allotted already it still uses.
            refused = []
            while not refused:
                answer = running.submit(key)
                assert running.accepted < 1000, "it never was without room"
                if not answer.is_success:
                    refused.append(answer)
            starved = Stopwatch()
            wait_until(lambda: starved.seconds > load.seconds, load.seconds + 5)
            refused += [running.submit(key) for _ in range(3)]
            disk.free()
            again = wait_until(lambda: running.submit(key).is_success, 10)
            wait_until(lambda: running.ended() == running.accepted, 60 + running.accepted / 10)
            rows = running.count("SELECT count(*) FROM jobs_transcriptionjob")
            sound = running.count("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'")
            kept = running.promises_kept()
    tell(
        "F15 database",
        database="embedded",
        jobs=running.accepted,
        refused=len(refused),
        **kept,
        starved_for=load.seconds,
        accepting_again_after=round(again, 1),
    )
    assert {(answer.status_code, "retry-after" in answer.headers) for answer in refused} == {(503, True)}
    assert rows == running.accepted
    assert sound == 1
