"""The service embedded, as a process to be stopped, killed and starved; its promises, as SQLite tells."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import httpx

from tests.environment import ROOT
from tests.faults.harness import BROKEN_PROMISES, DOUBLED_EVENTS, DOUBLED_RESULTS, QUICK, Program, Stopwatch
from tests.sandbox.sounds import wav

AUDIO = wav(1.0)
GRACE_SECONDS = 2


class Runstack(Program):
    """`manage.py runstack` with its data below `data_dir`, the database too unless it is put elsewhere."""

    prefix = "runstack"
    manage = (sys.executable, str(ROOT / "manage.py"))

    def __init__(self, provider_url: str, data_dir: str, port: int, database: str = "") -> None:
        self.database = database or f"{data_dir}/db.sqlite3"
        environment = {
            **QUICK,
            "DATA_DIR": data_dir,
            "DATABASE_URL": f"sqlite:///{self.database}",
            "DEEPGRAM_BASE_URL": provider_url,
            "PORT": str(port),
            "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
        }
        super().__init__(*self.manage, "runstack", "--no-sample", environment=environment, port=port)
        self.accepted = 0

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def make_key(self) -> str:
        prefix = self.command()[: -len(("runstack", "--no-sample"))]
        made = subprocess.run(
            [*prefix, "create_api_key", "tester"], capture_output=True, text=True, timeout=60, check=True
        )
        return made.stdout.strip()

    def submit(self, key: str) -> httpx.Response:
        answer = httpx.post(
            f"{self.url}/api/v1/jobs/?mode=async",
            content=AUDIO,
            headers={"authorization": f"Token {key}", "content-type": "audio/wav"},
            trust_env=False,
            timeout=30,
        )
        self.accepted += answer.is_success
        return answer

    def count(self, sql: str) -> int:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as database:
            return int(database.execute(sql).fetchone()[0])

    def ended(self) -> int:
        return self.count("SELECT count(*) FROM jobs_transcriptionjob WHERE status = 'completed'")

    def promises_kept(self) -> dict[str, int]:
        found = {
            "lost": self.accepted - self.ended(),
            "doubled": self.count(DOUBLED_RESULTS) + self.count(DOUBLED_EVENTS),
        }
        broken = {name: self.count(sql) for name, sql in BROKEN_PROMISES.items()}
        assert not any((*found.values(), *broken.values())), {**found, **broken}
        return found

    def end(self, how: signal.Signals) -> tuple[int, float]:
        """Its exit code and how long it took, at most 20 s."""
        watch = Stopwatch()
        self._process.send_signal(how)
        return self._process.wait(90), watch.seconds
