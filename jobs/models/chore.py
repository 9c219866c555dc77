"""Work that is done now and then by whichever process comes first."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from jobs.database_clock import seconds_from_now


class ChoreManager(models.Manager["Chore"]):
    def claim(self, name: str, lease_seconds: float) -> bool:
        """Whether the chore is due and now the caller's, for so long unless put off again."""
        if self.filter(name=name, run_at__lte=Now()).update(run_at=seconds_from_now(lease_seconds)):
            return True
        if not self.filter(name=name).exists():
            # Its first time: whoever looks next takes it.
            self.bulk_create([Chore(name=name)], ignore_conflicts=True)
        return False

    def put_off(self, name: str, seconds: float) -> None:
        """Have it done then; with 0, as soon as anybody looks."""
        self.filter(name=name).update(run_at=seconds_from_now(seconds))


class Chore(models.Model):
    """When it is to be done next. While somebody does it, that is when somebody else takes over."""

    name = models.CharField(primary_key=True, max_length=30)
    run_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[ChoreManager] = ChoreManager()

    def __str__(self) -> str:
        return self.name
