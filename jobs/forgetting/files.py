"""Removing stored files together with the rows that named them.

A file can neither be removed in a transaction, which may be rolled back, nor safely after it, when the
process may be killed or the storage away and nothing names the file any more. So its name is written down in
the transaction (jobs.models.Removal), and crossed out once the file is gone: right after the commit, or else
by the next purge, as what the sweeper forgets always is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from uuid import UUID

from django.core.files.storage import storages
from django.db import DatabaseError, transaction

from jobs.database_clock import seconds_from_now
from jobs.models import Removal

logger = logging.getLogger(__name__)

AT_A_TIME = 200
AGAIN_AFTER_SECONDS = 3600.0
RESERVED_FOR_SECONDS = 24 * 3600.0
# Of what is removed at once, before the rest is left for later.
MOST_REFUSED = 3

_erasure: ContextVar[UUID | None] = ContextVar("erasure", default=None)
_left: ContextVar[bool] = ContextVar("left", default=False)


@contextmanager
def removed_for(erasure: UUID) -> Iterator[None]:
    """What is to be removed within is what this erasure (jobs.models.Erasure) waits for."""
    token = _erasure.set(erasure)
    try:
        yield
    finally:
        _erasure.reset(token)


@contextmanager
def left_to_the_purge() -> Iterator[None]:
    """What is to be removed within is only written down: whoever does this cannot wait for storage."""
    token = _left.set(True)
    try:
        yield
    finally:
        _left.reset(token)


def remove(names: Iterable[str]) -> None:
    """Remove these files once the transaction is committed. What is not there is no error."""
    erasure = _erasure.get()
    removals = Removal.objects.bulk_create(Removal(name=name, erasure=erasure) for name in names)
    if removals and not _left.get():
        transaction.on_commit(partial(_remove_now, removals))


def reserve(name: str) -> Removal:
    """Before a file is stored of which a row will tell later: should there be none in a day, it is removed.

    To be deleted in the transaction that writes the row.
    """
    return Removal.objects.create(name=name, due_at=seconds_from_now(RESERVED_FOR_SECONDS))


def remove_due() -> int:
    """Remove some of what could not be removed when it should have been; how many files are gone."""
    gone, refused = _remove(list(Removal.objects.due().order_by("due_at")[:AT_A_TIME]))
    Removal.objects.filter(pk__in=refused).update(due_at=seconds_from_now(AGAIN_AFTER_SECONDS))
    return len(gone)


def check_removed(erasure: UUID) -> None:
    """OSError if there is what storage refuses to remove for this erasure even now."""
    while remove_due():
        pass
    if refused := Removal.objects.filter(erasure=erasure).count():
        raise OSError(f"storage refuses to remove {refused} files; it is asked again in an hour")


def _remove_now(removals: Sequence[Removal]) -> None:
    try:
        _remove(removals)
    except DatabaseError as error:
        # They are gone, and will be found gone.
        logger.warning("Removed files could not be crossed out: %s", error)


def _remove(removals: Sequence[Removal]) -> tuple[list[int], list[int]]:
    """Remove these files: those that are gone, and those that storage refused; after a few it is away."""
    gone: list[int] = []
    refused: list[int] = []
    for removal in removals:
        try:
            storages["default"].delete(removal.name)
        except OSError as error:
            logger.warning("%s cannot be removed from storage yet: %s", removal.name, error)
            refused.append(removal.pk)
            if len(refused) == MOST_REFUSED:
                break
        else:
            gone.append(removal.pk)
    Removal.objects.filter(pk__in=gone).delete()
    return gone, refused
