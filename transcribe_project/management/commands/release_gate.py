"""Says by its exit code whether a release holds."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from transcribe_project.release import PrometheusUnavailable, Seen, seen_since

HOLDS, FAILS, UNKNOWN = 0, 1, 2
LOOK_SECONDS = 5.0


class Command(BaseCommand):
    help = (
        "Asks Prometheus whether the release holds. Exit code 0: it does. 1: it does not, roll it back. "
        "2: that cannot be told, since Prometheus cannot be asked or too little has happened."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="Its address.")
        parser.add_argument(
            "--since", type=float, required=True, metavar="SECONDS", help="How long ago it was deployed."
        )
        parser.add_argument("--max-latency-ms", type=float, default=400.0, help="p95 of live results.")
        parser.add_argument("--max-failures", type=float, default=1.0, help="Per cent of live connections.")
        parser.add_argument("--min-connections", type=int, default=20, help="Fewer are not judged.")
        parser.add_argument("--min-results", type=int, default=200, help="Fewer are not judged.")
        parser.add_argument(
            "--wait", type=float, default=0.0, metavar="SECONDS", help="How long to wait for as many."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        while True:
            waited = time.monotonic() - began
            seen = self._seen(options["prometheus"], options["since"] + waited)
            has_results = seen.results >= options["min_results"]
            has_connections = seen.connections >= options["min_connections"]
            if (has_results and has_connections) or waited >= options["wait"]:
                break
            time.sleep(min(LOOK_SECONDS, max(0.1, options["wait"] - waited)))
        self.stdout.write(str(seen))
        faults = []
        if has_results and seen.latency > options["max_latency_ms"] / 1000:
            faults.append(f"results take longer than {options['max_latency_ms']:g} ms")
        if has_connections and seen.failing > options["max_failures"] / 100:
            faults.append(f"more than {options['max_failures']:g} % of connections fail")
        if faults:
            raise CommandError(f"The release does not hold: {' and '.join(faults)}.", returncode=FAILS)
        # Connections without results are what a release looks like that answers nobody.
        if not has_results or not has_connections:
            few = " and ".join(["live connections"] * (not has_connections) + ["results"] * (not has_results))
            raise CommandError(f"Too little has happened to tell: too few {few}.", returncode=UNKNOWN)
        self.stdout.write("The release holds.")

    def _seen(self, prometheus: str, since: float) -> Seen:
        try:
            return seen_since(prometheus, since)
        except PrometheusUnavailable as error:
            raise CommandError(f"Prometheus cannot be asked: {error}", returncode=UNKNOWN) from None
