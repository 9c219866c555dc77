"""`manage.py purge`: delete what is past its time now."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand

from jobs.forgetting.retention import purging


class Command(BaseCommand):
    help = "Delete what is past its time by the projects' policies, and erase deleted projects: now."

    def handle(self, *args: Any, **options: Any) -> None:
        deleted = sum(purging(), Counter[str]())
        told = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in sorted(deleted.items()))
        self.stdout.write(f"Deleted: {told or 'nothing'}.")
