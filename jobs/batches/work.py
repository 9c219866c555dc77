"""What workers do to whole batches: move all of their jobs, and open the archives that came with them."""

from __future__ import annotations

from collections.abc import Callable

from jobs.batches.moves import move_some
from jobs.batches.unpacking import open_next
from jobs.models import Batch


def do_all(stopping: Callable[[], bool]) -> None:
    """Do what there is to do, until `stopping`. Moves go first: an archive may take an hour to be opened."""

    def wanted_elsewhere() -> bool:
        return stopping() or Batch.objects.moving().exists()

    while not stopping():
        for batch in Batch.objects.moving().select_related("project").order_by("moved_at"):
            while not stopping() and not move_some(batch):
                pass
        if not open_next(wanted_elsewhere):
            return
