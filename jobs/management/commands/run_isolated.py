"""The child of jobs.running.isolation: one job, with limits, under the lease that its parent holds."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from jobs.models import Status, TranscriptionJob
from jobs.running import isolation
from jobs.running.execution import execute
from jobs.running.leases import LeaseKeeper

PR_SET_PDEATHSIG = 1


class Command(BaseCommand):
    help = "Runs one job apart. Called by workers only."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job")
        parser.add_argument("lease_token")

    def handle(self, *args: Any, **options: Any) -> None:
        if sys.platform == "linux":
            # Not to outlive the parent, who keeps the lease.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        isolation.limit_this_process()
        job = TranscriptionJob.objects.select_related("project", "recording").get(
            pk=options["job"], lease_token=options["lease_token"], status=Status.RUNNING
        )
        sys.stdout.buffer.write(isolation.BEGUN)
        sys.stdout.buffer.flush()
        execute(job, LeaseKeeper())
