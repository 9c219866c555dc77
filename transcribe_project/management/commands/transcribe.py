"""Transcribe files or URLs from the command line."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.markup import escape

from jobs import intake
from jobs.audio.keeping import keep
from jobs.audio.probe import ProbeError
from jobs.audio.received import received
from jobs.management.database import require_tables
from jobs.management.options import add_options, options_of
from jobs.models import Project, Status, TranscriptionJob
from jobs.running.alone import advance, is_alone
from jobs.transcripts.exports import FORMATS
from transcribe_project.sandbox_child import SandboxChild

LOOK_SECONDS = 0.1


class Command(BaseCommand):
    help = "Transcribes files or URLs: the results on standard output, what happens on standard error."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sources", nargs="+", metavar="FILE|URL")
        parser.add_argument("--format", choices=list(FORMATS), default="txt")
        parser.add_argument("--project", default="Command line", help="Made if there is none of this name.")
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        require_tables()
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        chosen = options_of(options["option"])
        project = Project.objects.shared(options["project"])
        # Nobody else may be there to run them; then they run here, one after the other.
        self.alone = is_alone()
        mode: Any = "sync" if self.alone else "async"
        # Whoever is there has the sandbox along; where nobody is, it has to be brought.
        sandbox = SandboxChild() if self.alone and settings.USES_SANDBOX else None
        try:
            if sandbox is not None:
                sandbox.wait_until_ready()
            done = [
                self._transcribe(
                    source, intake.Order(project=project, options=chosen, mode=mode), options["format"]
                )
                for source in options["sources"]
            ]
        finally:
            if sandbox is not None:
                sandbox.stop()
        if not all(done):
            sys.exit(1)

    def _transcribe(self, source: str, order: intake.Order, form: str) -> bool:
        job = self._submit(source, order)
        if job is None or not self._follow(source, job):
            return False
        self.stdout.write(FORMATS[form].write(job.transcripts.latest("version")))
        self.stdout.flush()
        return True

    def _submit(self, source: str, order: intake.Order) -> TranscriptionJob | None:
        if urlsplit(source).scheme in ("http", "https"):
            return intake.submit(order, url=source)
        path = Path(source)
        try:
            with received(path) as upload:
                recording = keep(order.project, upload)
        except OSError as error:
            self._fail(source, error.strerror or str(error))
            return None
        except ProbeError as error:
            self._fail(source, error.message)
            return None
        return intake.submit(order, recording=recording)

    def _follow(self, source: str, job: TranscriptionJob) -> bool:
        """Wait until the job has ended and tell how it goes; whether it has a transcript."""
        began, pause = timezone.now(), threading.Event()
        named = escape(source)
        with self.console.status(f"{named}: {job.status}") as line:
            while not job.is_ended:
                line.update(f"{named}: {job.status} {(timezone.now() - began).total_seconds():.0f} s")
                pause.wait(LOOK_SECONDS)
                advance(job, alone=self.alone)
        took = (timezone.now() - began).total_seconds()
        if job.status == Status.COMPLETED:
            self.console.print(f"[green]{named}[/]: {job.duration or 0:.1f} s of audio in {took:.1f} s")
            return True
        self._fail(source, f"{job.status}: {job.error_message} ({job.error_code})")
        return False

    def _fail(self, source: str, why: str) -> None:
        """What comes from outside may look like the console's markup."""
        self.console.print(f"[red]{escape(source)}[/]: {escape(why)}")
