"""The states of a job, and which may follow which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from jobs.refusal import Refusal

if TYPE_CHECKING:  # it imports this module
    from jobs.models.job import TranscriptionJob


class Status(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


class Mode(models.TextChoices):
    SYNC = "sync"
    ASYNC = "async"


class RequestedMode(models.TextChoices):
    AUTO = "auto"
    SYNC = "sync"
    ASYNC = "async"


class Priority(models.IntegerChoices):
    """Lower goes first. People and the API name them by their labels."""

    HIGH = 0, "high"
    NORMAL = 1, "normal"
    LOW = 2, "low"

    @classmethod
    def named(cls, label: str) -> Priority:
        """ValueError if there is none."""
        return cls(cls.values[cls.labels.index(label)])


OPEN = (Status.QUEUED, Status.RUNNING, Status.WAITING)
ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.DEAD)

ENTERED_FROM: dict[Status, tuple[Status, ...]] = {
    Status.RUNNING: (Status.QUEUED, Status.WAITING),
    Status.WAITING: (Status.RUNNING,),
    Status.QUEUED: (Status.RUNNING, *ENDED),
    Status.COMPLETED: (Status.RUNNING,),
    Status.FAILED: OPEN,
    Status.CANCELLED: OPEN,
    Status.DEAD: (Status.RUNNING,),
}


# What people ask of a job, by the status that it enters: where from, and how that is told.
MOVES_OF_PEOPLE = {
    Status.CANCELLED: (OPEN, "only an open one can be cancelled"),
    Status.QUEUED: (ENDED, "only one that has ended can be requeued"),
}


class InvalidTransition(Refusal):
    """The job is not (or no longer) in a status that allows the move, or its lease is another's now."""

    status = 409

    def __init__(self, message: str, code: str = "invalid_transition") -> None:
        super().__init__(code, message)

    @classmethod
    def into(cls, job: TranscriptionJob, status: Status) -> InvalidTransition:
        allowed, rule = MOVES_OF_PEOPLE.get(status, (tuple(Status), ""))
        if job.status in allowed:
            return cls(f"Job {job.pk} cannot become {status}: it ended or is another's by now.")
        return cls(f"The job is {job.status}; {rule}.")


class AudioDeleted(InvalidTransition):
    """There is nothing left to transcribe."""

    def __init__(self, job: TranscriptionJob) -> None:
        message = f"The audio of job {job.pk} was deleted after its project's audio_days."
        super().__init__(message, "audio_deleted")


class NotInLine(InvalidTransition):
    """Its priority decides nothing any more."""

    def __init__(self, job: TranscriptionJob) -> None:
        rule = "only one that is queued or waits can change its priority"
        super().__init__(f"The job is {job.status}; {rule}.")
