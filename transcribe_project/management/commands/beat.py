"""What is to be done every few seconds whether or not a worker lives: one process, or two for safety.

Every worker does it as well. Where workers are scaled to nothing, or have all died, deadlines still pass,
what stalled is queued again, retention is kept, and metrics still tell of it.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from jobs.running import worker
from transcribe_project import operations


class Command(BaseCommand):
    help = "Sweeps, purges and watches, and runs no jobs. Answers /healthz and /metrics on WORKER_PORT."

    def handle(self, *args: Any, **options: Any) -> None:
        told_to_stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: told_to_stop.set())
        operations.serve(settings.WORKER_PORT)
        beat = worker.start(queues=[], concurrency=0)
        told_to_stop.wait()
        beat.drain(settings.SHUTDOWN_GRACE_SECONDS)
