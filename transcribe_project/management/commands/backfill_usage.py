"""`manage.py backfill_usage`: count what ended before usage was counted."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from jobs.management.database import require_tables
from transcribe_project.usage_backfill import fill_a_day


class Command(BaseCommand):
    help = "Counts jobs and live sessions of the days before the first that has usage."

    def handle(self, *args: Any, **options: Any) -> None:
        require_tables()
        days = 0
        while found := fill_a_day():
            day, lines = found
            self.stdout.write(f"{day}: {lines} lines")
            days += 1
        self.stdout.write(f"{days} days were counted." if days else "There is nothing that was not counted.")
