"""The jobs of bench.memory: `memory_jobs FILE COUNT` makes them, `memory_jobs wait` waits for all to end."""

from __future__ import annotations

import json
import os
import sys
import time

import django

django.setup()

from django.core.files.storage import storages  # noqa: E402
from django.db.models import Count  # noqa: E402

from jobs import intake  # noqa: E402
from jobs.audio.probe import probe  # noqa: E402
from jobs.models import Project, Recording, TranscriptionJob  # noqa: E402
from jobs.transcripts.options import DEFAULTS  # noqa: E402


def make(path: str, count: int) -> None:
    project = Project.objects.create(name="bench")
    found = probe(path)
    for number in range(count):
        name = Recording.stored_name(f"bench-{number}")
        stored = storages["default"].path(name)
        os.makedirs(os.path.dirname(stored), exist_ok=True)
        os.link(path, stored)
        recording = Recording.objects.create(
            project=project,
            file=name,
            size=os.path.getsize(path),
            media_type=found.media_type,
            duration=found.duration,
        )
        order = intake.Order(project=project, options=dict(DEFAULTS), mode="async")
        intake.submit(order, recording=recording)


def wait() -> dict[str, int]:
    deadline = time.monotonic() + 300
    while TranscriptionJob.objects.open().exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return dict(TranscriptionJob.objects.values_list("status").annotate(Count("id")).order_by())


if __name__ == "__main__":
    if sys.argv[1] == "wait":
        print(json.dumps(wait()))
    else:
        make(sys.argv[1], int(sys.argv[2]))
