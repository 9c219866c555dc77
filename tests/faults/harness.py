"""The service as real processes, to be killed, stopped and frozen, and what it promises meanwhile as SQL.

Workers are `celery -A transcribe_project worker`, the web is `python -m transcribe_project.server`, each with
an environment of its own; the database, Redis and the provider are those of the test. Faults within our own
code are brought in by tests/faults/sabotage.py, so that the product knows nothing of them.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from time import monotonic
from uuid import uuid4

import httpx
import psutil
from django.db import connection

from jobs.models import ApiKey, Attempt, Project, TranscriptionJob, WorkerProcess
from tests.conditions import PATIENCE, wait_until
from tests.environment import ROOT
from tests.jobs.rows import ago, build_job, make_project, make_recording
from tests.sandbox.sounds import wav
from tests.sandbox_process import SandboxProcess
from tests.services.process import Server, free_port

QUICK = {
    "LEASE_SECONDS": "4",
    "HEARTBEAT_SECONDS": "1",
    "SWEEP_SECONDS": "1",
    "POLL_SECONDS": "0.5",
    "RETRY_BASE_SECONDS": "0.1",
    "RETRY_MAX_SECONDS": "0.5",
}
"""What shortens a test where its figure is not about the lease."""

# How long a lease may have been over before somebody has noticed.
STALLED_AT_MOST_SECONDS = 15.0 * PATIENCE

COMPLETED_WITHOUT_RESULT = """
    SELECT count(*) FROM jobs_transcriptionjob AS job WHERE status = 'completed' AND 1 <> (
        SELECT count(*) FROM jobs_transcript WHERE job_id = job.id AND run = job.run)"""
RESULTS_OF_OTHERS = """
    SELECT count(*) FROM jobs_transcript JOIN jobs_transcriptionjob AS job ON job.id = job_id
    WHERE status <> 'completed'"""
ENDED_WITHOUT_EVENT = """
    SELECT count(*) FROM jobs_transcriptionjob AS job WHERE finished_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM jobs_event WHERE job_id = job.id AND sequence = job.run)"""
BROKEN_PROMISES = {
    "completed without result": COMPLETED_WITHOUT_RESULT,
    "results of others": RESULTS_OF_OTHERS,
    "ended without event": ENDED_WITHOUT_EVENT,
}
DOUBLED_RESULTS = """
    SELECT count(*) FROM (
        SELECT 1 FROM jobs_transcript GROUP BY job_id, run HAVING count(*) > 1) AS doubled"""
DOUBLED_EVENTS = """
    SELECT count(*) FROM (
        SELECT 1 FROM jobs_event WHERE job_id IS NOT NULL
        GROUP BY job_id, sequence HAVING count(*) > 1) AS doubled"""


class Program(Server):
    """One of our own programs, kept over restarts and never left behind."""

    prefix = "program"

    def __init__(self, *arguments: str, environment: dict[str, str], port: int | None = None) -> None:
        super().__init__(port)
        self._arguments = arguments
        self._environment = {"PYTHONPATH": str(ROOT)} | environment
        self.exit_codes: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return ["env", *(f"{name}={value}" for name, value in self._environment.items()), *self._arguments]

    def spawn(self) -> None:
        """Start it, without waiting until it answers."""
        if self._process is not None:
            self.exit_codes.append(self._process.wait())
            self._reap()
        self._spawn()

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def memory_bytes(self) -> int:
        return psutil.Process(self.pid).memory_info().rss

    @property
    def open_files(self) -> int:
        """Sockets included."""
        return psutil.Process(self.pid).num_fds()


class Web(Program):
    prefix = "web"

    def __init__(self, environment: dict[str, str]) -> None:
        port = free_port()
        arguments = (sys.executable, "-m", "transcribe_project.server", "--port", str(port))
        super().__init__(*arguments, environment=environment | {"PORT": str(port)}, port=port)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


class Worker(Program):
    prefix = "worker"

    def __init__(self, environment: dict[str, str], concurrency: int) -> None:
        super().__init__(
            *(sys.executable, "-m", "celery", "-A", "transcribe_project", "worker", "-P", "threads"),
            *("-c", str(concurrency), "-n", f"{uuid4().hex}@%h", "-l", "WARNING"),
            *("--without-gossip", "--without-mingle"),
            environment=environment,
        )

    def answers(self) -> bool:
        if not self.running:
            return False
        return WorkerProcess.objects.alive().filter(name__contains=f":{self.pid}:").exists()


class Supervisor:
    """Keeps workers running, as systemd or Kubernetes would: one that ends is started again."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers

    def look(self) -> None:
        for worker in self.workers:
            if not worker.running:
                worker.spawn()

    def wait_until(self, condition: Callable[[], object], seconds: float) -> float:
        """As tests.conditions has it, while the workers are looked after and no lease is forgotten."""

        def looked_after() -> bool:
            self.look()
            forgotten = TranscriptionJob.objects.filter(
                status="running", lease_until__lt=ago(STALLED_AT_MOST_SECONDS)
            )
            assert not forgotten.exists(), "a lease has run out and nobody noticed"
            return bool(condition())

        return wait_until(looked_after, seconds)

    def tell_logs(self) -> str:
        return "\n".join(f"{worker.prefix} {n}:\n{worker.output()}" for n, worker in enumerate(self.workers))


@dataclass
class Stack:
    """Where processes find the database, the broker and the provider; `settings` are theirs beside these."""

    database_url: str
    redis_url: str
    provider: SandboxProcess
    settings: dict[str, str]

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "DEEPGRAM_BASE_URL": self.provider.url,
            "WEBHOOK_ALLOW_PRIVATE": "1",
            # Kept to, and not reached but where that is the test.
            "PROVIDER_MAX_RECORDINGS": "1000",
            **self.settings,
            **settings,
        }

    @contextmanager
    def workers(self, count: int, *, concurrency: int = 10, **settings: str) -> Iterator[Supervisor]:
        """That many workers, once they all run."""
        workers = [Worker(self.environment(**settings), concurrency) for _ in range(count)]
        supervisor = Supervisor(workers)
        try:
            for worker in workers:
                worker.spawn()
            # Looked after from the start: a poison pill may end one before it has said that it is there.
            supervisor.wait_until(lambda: all(worker.answers() for worker in workers), 60)
            yield supervisor
        except BaseException:
            sys.stderr.write(supervisor.tell_logs())
            raise
        finally:
            for worker in workers:
                worker.kill()
                worker.close()

    @contextmanager
    def web(self, **settings: str) -> Iterator[Web]:
        with Web(self.environment(**settings)) as web:
            yield web


@dataclass(frozen=True)
class Refusal:
    """`status` is None where no answer came."""

    status: int | None
    retry_after: str | None
    text: str


class Submitter:
    """Submits recordings at a steady rate from a thread of its own, with the fields of `queries` in turn."""

    def __init__(self, url: str, rate: float, queries: Iterable[str] = repeat("mode=async")) -> None:
        _, key = ApiKey.objects.issue(make_project("API"), "key")
        self._client = httpx.Client(
            base_url=url, headers={"authorization": f"Token {key}"}, trust_env=False, timeout=20
        )
        self._audio = wav(1.0)
        self._rate = rate
        self._queries = iter(queries)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted: list[str] = []
        self.seconds: list[float] = []
        self.refused: list[Refusal] = []

    @property
    def p99(self) -> float:
        return percentile(self.seconds, 0.99)

    def submit(self, query: str = "mode=async") -> None:
        begun = monotonic()
        try:
            answer = self._client.post(
                f"/api/v1/jobs/?{query}", content=self._audio, headers={"content-type": "audio/wav"}
            )
        except httpx.HTTPError as error:
            self.refused.append(Refusal(None, None, repr(error)))
            return
        if answer.is_success:
            self.seconds.append(monotonic() - begun)
            self.accepted.append(answer.json()["id"])
        else:
            refusal = Refusal(answer.status_code, answer.headers.get("retry-after"), answer.text)
            self.refused.append(refusal)

    def _run(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            while not self._stop.wait(1 / self._rate):
                pool.submit(self.submit, next(self._queries))

    def __enter__(self) -> "Submitter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.close()

    def close(self) -> None:
        self._client.close()


def queue_jobs(count: int, project: Project | None = None, **fields: object) -> list[TranscriptionJob]:
    """That many jobs of one short recording, accepted."""
    project = project or make_project()
    recording = make_recording(project, wav(1.0))
    jobs = [build_job(project=project, recording=recording, url="", **fields) for _ in range(count)]
    return TranscriptionJob.objects.bulk_create(jobs, batch_size=500)


def open_jobs() -> int:
    return TranscriptionJob.objects.open().count()


def ended_jobs() -> int:
    return TranscriptionJob.objects.filter(finished_at__isnull=False).count()


def count_by(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


def lost_and_doubled(accepted: int) -> dict[str, int]:
    """Of the jobs accepted, how many have not ended, and how many results and events there are twice."""
    return {"lost": accepted - ended_jobs(), "doubled": count_by(DOUBLED_RESULTS) + count_by(DOUBLED_EVENTS)}


def promises_kept(accepted: int) -> dict[str, int]:
    """`lost` and `doubled`, both 0: AssertionError unless every one of the jobs accepted has ended, with one
    event, and with one transcript if it completed."""
    broken = {name: count_by(sql) for name, sql in BROKEN_PROMISES.items()}
    found = lost_and_doubled(accepted)
    assert not any((*broken.values(), *found.values())), {**found, **broken}
    return found


def outcomes() -> dict[str, int]:
    """Attempts by how they ended."""
    counted: dict[str, int] = {}
    for outcome in Attempt.objects.values_list("outcome", flat=True):
        counted[outcome] = counted.get(outcome, 0) + 1
    return counted


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


class Stopwatch:
    def __init__(self) -> None:
        self._begun = monotonic()

    @property
    def seconds(self) -> float:
        return monotonic() - self._begun
