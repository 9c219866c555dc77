"""What is to be known of each process, beside what Python and Django tell of themselves."""

from __future__ import annotations

import shutil

from django.conf import settings
from prometheus_client import Gauge, disable_created_metrics

from jobs.running.leases import keeper

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
