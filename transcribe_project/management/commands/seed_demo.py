"""`manage.py seed_demo`: make a demo that looks alive, as large as is wanted."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from django.utils import timezone

from jobs.management.database import require_tables
from transcribe_project.demo import seed


class Command(BaseCommand):
    help = "Make demo projects, people, keys, jobs of the last 30 days, live sessions and webhooks."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--jobs", type=int, default=2000, help="How many jobs (default: 2000).")

    def handle(self, *args: Any, **options: Any) -> None:
        def tell(done: int) -> None:
            if options["verbosity"] and not done % 50_000:
                self.stderr.write(f"{done} jobs")

        require_tables()
        made = seed(max(options["jobs"], 0), timezone.now(), tell)
        with connection.cursor() as cursor:
            # What pages ask of millions of rows depends on knowing how many there are.
            cursor.execute("VACUUM (ANALYZE)" if connection.vendor == "postgresql" else "ANALYZE")
        self.stdout.write(f"Made {', '.join(f'{count} {what}' for what, count in made.items())}.")
