"""Leaving a region that cannot do its work: what is queued or waits there goes to another.

New jobs are sent elsewhere when they are made, those that fail when they wait for their next attempt, and
those that run when their lease ends: they are queued then, and move with the rest. What is pinned, or may go
nowhere else, stays, and is told why (`held_up_by`).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction

from jobs.models import Project, Status, TranscriptionJob
from jobs.placing import elsewhere
from jobs.running.wakeups import wake
from routing import health
from routing.choice import Capability
from routing.regions import Region, all_regions

logger = logging.getLogger(__name__)

# So many in one statement, and so many of them in one sweep: the next goes on.
MOVED_AT_A_TIME = 500
STATEMENTS = 20
IN_LINE = (Status.QUEUED, Status.WAITING)


def leave_regions() -> None:
    """Move what stands in line where it cannot be done now, as far as another region can."""
    for region in all_regions().values():
        why = health.obstacle(region.name, Capability.ASYNC)
        if why and (moved := _leave(region)):
            logger.warning("Region %s: %s. %d jobs were moved.", region.name, why, moved)


@dataclass(frozen=True, slots=True)
class HeldUp:
    """`why`, and what to do, for people. `since`: None if that cannot be told (any more)."""

    why: str
    since: datetime | None


def held_up_by(job: TranscriptionJob) -> HeldUp | None:
    """What keeps a job in line from being begun where it is; None if nothing does but those before it."""
    if job.status not in IN_LINE:
        return None
    if why := health.obstacle(job.region, Capability.ASYNC):
        return _held_up(job, Capability.ASYNC, _in_words(job, why))
    if job.status == Status.QUEUED and health.report_of(job.region).is_full:
        return _held_up(
            job,
            health.FULL,
            f"It waits for a place in region {job.region}: its provider is given no more recordings at once "
            "(max_recordings and max_calls of the region). It is begun when it is its turn and one is free.",
        )
    return None


def _in_words(job: TranscriptionJob, why: str) -> str:
    if job.pinned:
        return (
            f"It waits for region {job.region}, to which it is pinned: {why}. It is begun when that is over; "
            "to have it done elsewhere, cancel it and submit it without a region."
        )
    return (
        f"It waits for region {job.region}: {why}. It is begun there, or in another region that its project "
        "may use, as soon as one can."
    )


def _held_up(job: TranscriptionJob, by: str, why: str) -> HeldUp:
    since = health.report_of(job.region).since.get(by)
    return HeldUp(why, since and max(since, job.queued_at))


def _leave(region: Region) -> int:
    moved, stay = 0, set[UUID]()
    for _ in range(STATEMENTS):
        groups = _next_in_line(region, stay)
        if not groups:
            break
        for (project_id, priority), ids in groups.items():
            target = elsewhere(Project.objects.get(pk=project_id), region.name)
            if target is None:
                stay.add(project_id)
            else:
                moved += _move(ids, project_id, priority, region, target)
    return moved


def _next_in_line(region: Region, stay: set[UUID]) -> dict[tuple[UUID, int], list[UUID]]:
    """Jobs that may leave, by project and priority."""
    jobs = TranscriptionJob.objects.filter(queue=region.queue, status__in=IN_LINE, pinned=False)
    rows = jobs.exclude(project__in=stay).order_by().values_list("project", "priority", "pk")
    groups = defaultdict(list)
    for project_id, priority, pk in rows[:MOVED_AT_A_TIME]:
        groups[project_id, priority].append(pk)
    return groups


def _move(ids: list[UUID], project_id: UUID, priority: int, region: Region, target: Region) -> int:
    """Into the line of `target`, in the order in which they stood. What was claimed meanwhile stays."""
    with transaction.atomic():
        moved = TranscriptionJob.objects.filter(pk__in=ids, queue=region.queue).move(
            Project(pk=project_id), priority, region=target.name, queue=target.queue
        )
        transaction.on_commit(partial(wake, target.queue))
    return moved
