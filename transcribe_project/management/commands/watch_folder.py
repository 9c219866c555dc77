"""Make jobs of the files that come into a folder or a bucket."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import Storage, storages
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, close_old_connections

from jobs.batches.completion import seal
from jobs.batches.watching import Watch
from jobs.intake import Order
from jobs.management.database import require_tables
from jobs.management.options import add_options, options_of
from jobs.models import Batch, BatchSealed, Priority, Project, WorkerProcess
from jobs.transcripts.exports import FORMATS
from transcribe_project.storage_url import storage_at


class Command(BaseCommand):
    help = "Makes a job of each file that comes into a folder or a bucket, and moves it to done/ or refused/."
    # What the place or the database last went away with, and has not come back from.
    away = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("place", metavar="DIR|s3://BUCKET/PREFIX", help="an S3 URL is as STORAGE_URL")
        parser.add_argument(
            "--project", default="Watched folders", help="Made if there is none of this name."
        )
        parser.add_argument("--batch", metavar="NAME", help="That they go into; made if none of it is open.")
        parser.add_argument("--priority", choices=Priority.labels, default="normal")
        parser.add_argument("--write", metavar="FORMATS", default="", help="of results beside them: txt,srt")
        parser.add_argument(
            "--once", action="store_true", help="End when nothing is left, and seal the batch."
        )
        parser.add_argument("--every", type=float, default=2.0, help="seconds from one look to the next")
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        require_tables()
        chosen = options_of(options["option"])
        project = Project.objects.shared(options["project"])
        batch = _batch(project, options["batch"], chosen) if options["batch"] else None
        priority = Priority.named(options["priority"])
        watch = Watch(
            _storage(options["place"]),
            options["place"],
            Order(project=project, options=chosen, mode="async", priority=priority, batch=batch),
            writes=_formats(options["write"]),
            tell=self._tell,
        )
        if not WorkerProcess.objects.alive().exists():
            self._tell("No worker is alive: the jobs wait in the queue until one is (make run).")
        pause = threading.Event()
        try:
            while self._look(watch) or not options["once"]:
                pause.wait(options["every"])
        except KeyboardInterrupt:
            sys.exit(130)
        except BatchSealed as error:
            raise CommandError(str(error)) from None
        if batch:
            seal(batch)

    def _look(self, watch: Watch) -> int:
        """How many files are left, at least one while the place or the database cannot be asked."""
        try:
            left = watch.look()
        except (OSError, OperationalError, InterfaceError) as error:
            close_old_connections()
            reason = _first_line(error)
            if reason != self.away:
                self._tell(f"Waiting, since something is away: {reason}")
            self.away = reason
            return 1
        if self.away:
            self._tell("It is back.")
            self.away = ""
        return left

    def _tell(self, line: str) -> None:
        self.stderr.write(line)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _storage(place: str) -> Storage:
    if not place.startswith("s3:") and not Path(place).is_dir():
        raise CommandError(f"There is no folder {place}.")
    try:
        storage = storages.create_storage(
            storage_at(place if place.startswith("s3:") else "", Path(place).resolve())
        )
        storage.listdir("")
    except ImproperlyConfigured as error:
        raise CommandError(str(error).replace("STORAGE_URL", "The address")) from None
    except OSError as error:
        raise CommandError(f"{place} cannot be looked into: {_first_line(error)}") from None
    return storage


def _batch(project: Project, name: str, options: dict[str, Any]) -> Batch:
    open_ones = Batch.objects.shown().filter(project=project, name=name, sealed_at=None)
    return open_ones.first() or Batch.objects.create(project=project, name=name, options=options)


def _formats(text: str) -> list[str]:
    formats = [name for name in text.split(",") if name]
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise CommandError(f"There is no format {unknown[0]}; there are {', '.join(FORMATS)}.")
    return formats
