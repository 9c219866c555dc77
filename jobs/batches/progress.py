"""How far batches are, from the rows of their jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from django.db.models import Count

from jobs.models import Batch, BatchArchive, RefusedItem, Status, TranscriptionJob
from jobs.models.state import ENDED
from jobs.prices import cost_of


@dataclass(slots=True)
class Tally:
    """What has become of a batch's items. `counts` are jobs by status, with all statuses.

    `seconds` of audio are those of the jobs whose duration is known; of `unknown` jobs it is not. `cost` is
    that of all of the audio, as far as its models have a price.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Status.values, 0))
    refused: int = 0
    unopened: int = 0
    seconds: float = 0.0
    seconds_ended: float = 0.0
    unknown: int = 0
    cost: Decimal | None = None

    @property
    def jobs(self) -> int:
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        return sum(self.counts[status] for status in ENDED)

    @property
    def seconds_left(self) -> float:
        """Of audio. What is not known to be longer or shorter counts as the others do on average."""
        known = self.jobs - self.unknown
        guessed = self.seconds / known * self.unknown if known else 0.0
        return self.seconds - self.seconds_ended + guessed

    @property
    def share_of_jobs(self) -> float | None:
        """From 0 to 1; None without jobs."""
        return self.ended / self.jobs if self.jobs else None

    @property
    def share_of_audio(self) -> float | None:
        """From 0 to 1; None as long as nothing is known of any audio."""
        return self.seconds_ended / self.seconds if self.seconds else None


def tally_of(batch: Batch) -> Tally:
    return tallies_of([batch])[batch.pk]


def tallies_of(batches: Iterable[Batch]) -> dict[UUID, Tally]:
    """By the batch's id. Three queries for however many batches."""
    found = {batch.pk: Tally() for batch in batches}
    for row in TranscriptionJob.objects.filter(batch__in=found).measured("batch", "status"):
        tally, status = found[row["batch"]], row["status"]
        tally.counts[status] += row["jobs"]
        seconds = row["seconds"] or 0.0
        tally.seconds += seconds
        if status in ENDED:
            tally.seconds_ended += seconds
        else:
            tally.unknown += row["jobs"] - row["known"]
        cost = cost_of(row["billed"] or 0.0, row["model"])
        if cost is not None:
            tally.cost = (tally.cost or Decimal()) + cost
    refused = RefusedItem.objects.filter(batch__in=found).order_by().values_list("batch")
    for batch_id, count in refused.annotate(count=Count("id")):
        found[batch_id].refused = count
    unopened = BatchArchive.objects.unopened().filter(batch__in=found).order_by().values_list("batch")
    for batch_id, count in unopened.annotate(count=Count("id")):
        found[batch_id].unopened = count
    return found
