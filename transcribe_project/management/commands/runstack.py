"""Everything in one process tree: web, worker, sweeper, and the sandbox where no key of Deepgram's is set."""

from __future__ import annotations

import fcntl
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill
from time import monotonic
from typing import IO, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs import intake
from jobs.audio.keeping import keep
from jobs.audio.received import received
from jobs.models import Project, TranscriptionJob
from jobs.running import sweeper, worker
from jobs.transcripts.options import DEFAULTS
from transcribe_project.embedded import EmbeddedWorker
from transcribe_project.sandbox_child import SandboxChild
from transcribe_project.secrets_file import kept_secret
from transcribe_project.server import Server, leave, listen

SAMPLE_SECONDS = 120.0


class Command(BaseCommand):
    help = "Runs everything: the admin, the API, the worker and, without a Deepgram key, the sandbox."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=settings.PORT)
        parser.add_argument(
            "--no-sample", action="store_true", help="Do not transcribe a sample at the first start."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        began = monotonic()
        lock = self._only_one()
        try:
            listening = listen(options["host"], options["port"])
        except OSError as error:
            raise CommandError(
                f"Port {options['port']} cannot be used ({error.strerror}). Choose another: PORT=9000"
            ) from None
        sandbox = SandboxChild() if settings.USES_SANDBOX else None
        call_command("migrate", verbosity=0, interactive=False)
        address = f"http://{options['host']}:{options['port']}"
        self._say(f"Admin     {address}/admin/   {self._first_admin()}")
        self._say(f"API       {address}/api/docs/")
        self._say(f"Live      {address}/live/")
        usual = settings.DATA_DIR == settings.BASE_DIR / "var"
        where = "" if usual else f"DATA_DIR={settings.DATA_DIR} "
        self._say(f"Key       {where}{sys.executable} manage.py create_api_key NAME")
        if sandbox is not None:
            self._say(
                f"Provider  the sandbox at {settings.DEEPGRAM_BASE_URL}, since DEEPGRAM_API_KEY is not set: "
                "recognition runs on this machine, in English."
            )
            # Before anything is claimed: a provider that is not there yet would cost a job its attempts.
            sandbox.wait_until_ready()
        sweeper.reclaim_from_the_dead()
        celery = EmbeddedWorker(settings.WORKER_CONCURRENCY)
        celery.start()

        def drain() -> None:
            self._say("Stopping: what runs now may end first.")
            celery.stop()
            worker.current().drain(settings.SHUTDOWN_GRACE_SECONDS)

        server = Server(drain)
        if not options["no_sample"] and not TranscriptionJob.objects.exists():
            threading.Thread(target=self._sample, args=(began,), name="sample", daemon=True).start()
        server.serve_until_told(listening)
        if sandbox is not None:
            sandbox.stop()
        lock.close()
        leave()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _only_one(self) -> IO[str]:
        """The lock on DATA_DIR; it goes with the process, however that ends."""
        lock = open(settings.DATA_DIR / "lock", "w")  # noqa: SIM115 (held until the end)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(f"{settings.DATA_DIR} is in use by another runstack already.") from None
        return lock

    def _first_admin(self) -> str:
        """Make the first superuser if there is none; how to sign in, for the terminal."""
        users = get_user_model().objects.filter(is_superuser=True)
        kept = settings.DATA_DIR / "admin_password"
        if not users.exists():
            password = kept_secret(kept, length=12)
            get_user_model().objects.create_superuser("admin", "", password)
        admin = users.order_by("pk").first()
        if admin is not None and kept.exists() and admin.check_password(kept.read_text().strip()):
            return f"user {admin.get_username()}, password {kept.read_text().strip()} (kept in {kept})"
        return "sign in as you are used to"

    def _sample(self, began: float) -> None:
        """Transcribe the recording that comes with moonshine-voice and show what was said."""
        spec = find_spec("moonshine_voice")
        found = list(Path(spec.origin).parent.rglob("two_cities.wav")) if spec and spec.origin else []
        if not found:
            return
        admin = get_user_model().objects.filter(is_superuser=True).earliest("pk")
        project = Project.objects.personal(admin)
        with received(found[0]) as upload:
            recording = keep(project, upload)
        job = intake.submit(
            intake.Order(project=project, options=dict(DEFAULTS), mode="async", user=admin),
            recording=recording,
        )
        deadline, pause = monotonic() + SAMPLE_SECONDS, threading.Event()
        while not job.is_ended and monotonic() < deadline:
            pause.wait(0.1)
            job.refresh_from_db()
        transcript = job.transcripts.last()
        if transcript is not None:
            self._say(f"Sample    {recording.filename}, {monotonic() - began:.1f} s after the start:")
            self._say(fill(transcript.text, 100, initial_indent="          ", subsequent_indent="          "))
