"""`manage.py purge`: delete what is past its time now."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from jobs.forgetting.preview import preview
from jobs.forgetting.retention import purging
from jobs.models import Project


class Command(BaseCommand):
    help = "Delete what is past its time by the projects' policies, and erase deleted projects: now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only tell what would be deleted.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            projects = Project.objects.forgetting()
            for project in projects:
                goes = preview(project, project.keeps_audio_days, project.keeps_transcript_days)
                self.stdout.write(f"{project}: {goes}.")
            if not projects:
                self.stdout.write("Nothing: neither a project nor a setting says how long things are kept.")
            return
        deleted = sum(purging(), Counter[str]())
        told = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in sorted(deleted.items()))
        self.stdout.write(f"Deleted: {told or 'nothing'}.")
