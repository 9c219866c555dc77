"""Which processes are at work."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

ALIVE_FOR = timedelta(seconds=15)
FORGOTTEN_AFTER = timedelta(minutes=10)


class WorkerProcessManager(models.Manager["WorkerProcess"]):
    def alive(self) -> models.QuerySet[WorkerProcess]:
        """Those heard of within the last 15 s, by the database's clock."""
        return self.filter(seen_at__gt=Now() - ALIVE_FOR)


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

    objects: ClassVar[WorkerProcessManager] = WorkerProcessManager()

    def __str__(self) -> str:
        return self.name
