"""Large recordings through real processes, with everything on S3: how much memory each takes."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.memory import write_sparse_wav
from jobs.models import ApiKey, Recording, Status, TranscriptionJob
from tests.faults.harness import open_jobs
from tests.jobs.rows import make_project
from tests.services import S3Server

MB = 1_000_000
FULL = [pytest.mark.full_load, pytest.mark.timeout(600)]


def peak_bytes(pid: int) -> int:
    """The most that was resident at once since the process began."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) * 1024


def parts_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            yield part


@pytest.mark.postgresql
@pytest.mark.parametrize(
    "size", [pytest.param(60 * MB, id="small"), pytest.param(300 * MB, id="full", marks=FULL)]
)
def test_a_large_file_on_s3_is_taken_in_sent_and_given_out_in_constant_memory(
    stack, provider, tell, tmp_path, size
):
    # Or hours of words would be what takes the memory.
    provider.set_transcript("hello")
    path = tmp_path / "hours.wav"
    write_sparse_wav(path, size)
    key = ApiKey.objects.issue(make_project(), "tests")[1]
    headers = {"authorization": f"Token {key}", "content-type": "audio/wav", "content-length": str(size)}
    with S3Server() as s3:
        stack.settings |= s3.environment
        with (
            stack.web() as web,
            httpx.Client(base_url=web.url, trust_env=False, timeout=300) as client,
        ):
            before = peak_bytes(web.pid)
            answer = client.post("/api/v1/jobs/?mode=async", content=parts_of(path), headers=headers)
            assert answer.status_code == 202, answer.text
            taken = peak_bytes(web.pid) - before
            with stack.workers(1) as supervisor:
                idle = peak_bytes(supervisor.workers[0].pid)
                supervisor.wait_until(lambda: not open_jobs(), 240)
                sent = peak_bytes(supervisor.workers[0].pid) - idle
            got = 0
            audio = f"/api/v1/jobs/{answer.json()['id']}/audio/"
            with client.stream("GET", audio, headers={"authorization": headers["authorization"]}) as out:
                for part in out.iter_bytes():
                    got += len(part)
            given = peak_bytes(web.pid) - before

    tell("S3", megabytes=size // MB, web_mb=max(taken, given) // MB, worker_mb=sent // MB)
    assert TranscriptionJob.objects.get().status == Status.COMPLETED
    assert got == Recording.objects.get().size == size
    assert max(taken, given, sent) < 48 * MB
