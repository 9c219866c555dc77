"""What stands beside jobs and has rows of its own in projects: looked after along with them.

Such an app imports jobs; nothing here imports it. It joins when it is ready (AppConfig.ready).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from django.db.models import QuerySet

from jobs.models import Erasure, Project


class Companion(Protocol):
    """Usually a module with these functions."""

    def sweep(self, stopping: Callable[[], bool]) -> None:
        """Look after what nobody does, every SWEEP_SECONDS, in each worker; they may overlap."""

    def forget(self, project: Project) -> Counter[str]:
        """Delete some of what is past its time by the project's policies; what it was, nothing when done."""

    def would_forget(self, project: Project, days: int) -> int:
        """How much of what was said is older than so many days."""

    def end_all(self, project: Project) -> None:
        """End what is open and tell nobody: the project is deleted."""

    def erase(self, project: Project) -> Iterator[Counter[str]]:
        """Delete all that the project, which is deleted, has; what each step, a transaction, deleted."""

    def tables(self) -> Sequence[tuple[str, QuerySet[Any]]]:
        """Its tables of what callers submit, by what they are called in reports."""

    def erase_part(self, erasure: Erasure) -> Iterator[Counter[str]]:
        """The same for what is asked for of a project that stays."""


_companions: list[Companion] = []


def join(companion: Companion) -> None:
    _companions.append(companion)


def companions() -> Sequence[Companion]:
    return _companions
