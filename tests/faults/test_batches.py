"""Batches under workers that are killed."""

import io
import tarfile
import threading
from dataclasses import dataclass

import httpx
import pytest

from jobs.models import ApiKey, Batch, Event
from tests.faults.harness import open_jobs, promises_kept
from tests.jobs.rows import make_project
from tests.sandbox.sounds import wav

FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Kills:
    members: int
    kills: int


def archive_of(members: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as bundle:
        for number in range(members):
            audio = wav(1.0)
            info = tarfile.TarInfo(f"{number:04}.wav")
            info.size = len(audio)
            bundle.addfile(info, io.BytesIO(audio))
    return file.getvalue()


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Kills(40, 2), id="small", marks=pytest.mark.postgresql),
        pytest.param(Kills(1000, 20), id="full", marks=FULL),
    ],
)
def test_f18_workers_killed_while_they_open_an_archive_lose_and_double_nothing(stack, tell, load):
    project = make_project()
    _, key = ApiKey.objects.issue(project, "tests")
    with stack.web() as web:
        answer = httpx.post(
            f"{web.url}/api/v1/batches/",
            files={"archive": ("calls.tar.gz", archive_of(load.members))},
            headers={"Authorization": f"Token {key}"},
            trust_env=False,
        )
    assert answer.status_code == 202, answer.text
    batch = Batch.objects.get()
    pause = threading.Event()

    with stack.workers(2, concurrency=4) as supervisor:
        for number in range(load.kills):
            made = batch.jobs.count()
            supervisor.wait_until(
                lambda made=made: batch.jobs.count() > made or not batch.archives.unopened().exists(), 60
            )
            supervisor.workers[number % 2].kill()
            pause.wait(0.2)
        supervisor.wait_until(lambda: not batch.archives.unopened().exists() and not open_jobs(), 600)

    names = list(batch.jobs.values_list("recording__filename", flat=True))
    tell("F18", members=load.members, kills=load.kills, **promises_kept(load.members))
    assert sorted(names) == [f"{number:04}.wav" for number in range(load.members)]
    assert not batch.refused.exists()
    assert Event.objects.filter(batch=batch).count() == 1
    assert Batch.objects.get().finished_at
