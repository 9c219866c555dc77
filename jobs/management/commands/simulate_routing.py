"""`manage.py simulate_routing`: what other thresholds would have done with the last jobs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from jobs.management.database import require_tables
from jobs.models import TranscriptionJob
from jobs.simulation import simulate
from routing.modes import Thresholds


class Command(BaseCommand):
    help = "Choose the mode of the last jobs once more with other thresholds, and print what would change."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--jobs", type=int, default=1000, help="how many of the last (default: 1000)")
        parser.add_argument("--sync-max", type=float, metavar="SECONDS", help="in place of SYNC_MAX_SECONDS")
        parser.add_argument(
            "--async-min", type=float, metavar="SECONDS", help="in place of ASYNC_MIN_SECONDS"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require_tables()
        asked = {"sync_max": options["sync_max"], "async_min": options["async_min"]}
        now = {"sync_max": settings.SYNC_MAX_SECONDS, "async_min": settings.ASYNC_MIN_SECONDS}
        then = now | {name: value for name, value in asked.items() if value is not None}
        last = TranscriptionJob.objects.order_by("-id").only("receipt", "region", "options")
        found = simulate(last[: max(0, options["jobs"])], Thresholds(**then))

        told = ", ".join(f"{name.upper()}_SECONDS {now[name]:g} -> {value:g}" for name, value in then.items())
        self.stdout.write(f"The last {found.changes.total()} jobs, {told}:")
        before, after = found.by_mode(after=False), found.by_mode(after=True)
        for mode in ("sync", "async"):
            self.stdout.write(f"  {mode:5}  {before[mode]:6} -> {after[mode]:6}")
        self.stdout.write(f"{found.moved.total()} would be of another mode.")
        for (was, becomes), many in found.moved.most_common():
            self.stdout.write(f"  {many:6}  {was.mode} ({was.rule}) -> {becomes.mode} ({becomes.rule})")
