"""Which processes are at work."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

ALIVE_FOR = timedelta(seconds=15)
FORGOTTEN_AFTER = timedelta(minutes=10)
# A receiver refuses a webhook that was signed five minutes off by its own clock (Standard Webhooks).
CLOCK_TOLERANCE = timedelta(seconds=30)


class WorkerProcessManager(models.Manager["WorkerProcess"]):
    def alive(self) -> models.QuerySet[WorkerProcess]:
        """Those heard of within the last 15 s, by the database's clock."""
        return self.filter(seen_at__gt=Now() - ALIVE_FOR)

    def slots(self, queue: str) -> int:
        """How many jobs of this queue those that are alive run at once."""
        return sum(worker.concurrency for worker in self.alive() if queue in worker.queues)


class WorkerProcess(models.Model):
    """A process that claims jobs, as it last reported itself.

    `name` is `host:pid:start`, unique for the life of the process; it is the holder named on leases.
    """

    name = models.CharField(primary_key=True, max_length=120)
    queues = models.JSONField(default=list)
    concurrency = models.PositiveIntegerField()
    running = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField()
    clock_at = models.DateTimeField(null=True, help_text="What its own clock showed at seen_at.")

    objects: ClassVar[WorkerProcessManager] = WorkerProcessManager()

    class Meta:
        verbose_name = "worker"

    def __str__(self) -> str:
        return self.name

    @property
    def clock_ahead(self) -> timedelta | None:
        """How far its host's clock is ahead of the database's, negative if it is behind.

        None while it is as good as right: within CLOCK_TOLERANCE, which the way to the database is part of.
        """
        ahead = timedelta() if self.clock_at is None else self.clock_at - self.seen_at
        return ahead if abs(ahead) > CLOCK_TOLERANCE else None
