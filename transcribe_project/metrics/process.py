"""What is to be known of each process, beside what Python and Django tell of themselves."""

from __future__ import annotations

import shutil

from django.conf import settings
from prometheus_client import Gauge, disable_created_metrics

from jobs import metrics as of_jobs
from jobs.running.leases import keeper
from routing import metrics as of_providers
from routing.regions import all_regions
from streaming import metrics as of_streams

# When each series began, which doubles them and which Prometheus has no use for.
disable_created_metrics()  # type: ignore[no-untyped-call]

LEASES = Gauge("transcribe_leases_held", "Jobs that this process runs.")
DISK_FREE_BYTES = Gauge("transcribe_disk_free_bytes", "Room on the disk of DATA_DIR.")
DISK_RESERVE_BYTES = Gauge(
    "transcribe_disk_reserve_bytes", "What uploads leave free there; with less they are refused."
)
LEASES.set_function(lambda: float(len(keeper())))
DISK_FREE_BYTES.set_function(lambda: float(shutil.disk_usage(settings.DATA_DIR).free))
DISK_RESERVE_BYTES.set(settings.DISK_RESERVE_BYTES)


def expect_regions() -> None:
    """Have what is counted by region begin at 0, for those that this process knows."""
    for region in all_regions.known or ():
        of_providers.expect(region)
        of_jobs.expect(region)
        of_streams.expect(region)
