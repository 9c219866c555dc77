"""Opening the archives that were sent with batches: one member after the other becomes a job, or is refused.

1. An archive is a row, claimed under a lease; the row says which member is next.
2. A member's job, or its refusal, is written in one transaction with the row's going on to the next member,
   which asks for the lease. Whoever is killed leaves the rest to another, and no member is taken twice.
3. The row also reserves the id of the next member's recording. One that was stored before a kill is found
   under it, and what was only half stored is written over.
4. What fails for reasons of ours, such as a storage that is away, is tried again later.
5. An archive that brings its worker down CLAIMS_AT_MOST times at the same member is given up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath

from django.conf import settings
from django.core.files.storage import storages
from django.db import DatabaseError, connection, transaction

from jobs import intake, quotas
from jobs.audio.keeping import keep
from jobs.audio.probe import ProbeError
from jobs.audio.received import ReceivedFile
from jobs.batches import making
from jobs.batches.archives import ArchiveRefused, Entry, EntryRefused, entries
from jobs.batches.completion import finish_if_done
from jobs.forgetting.deletion import delete_if_unused, remove_archive
from jobs.intake import Order, TooManyOpenJobs
from jobs.models import ArchiveLost, BatchArchive, Recording
from jobs.quotas import LongerThanQuota, QuotaExceeded
from jobs.refusal import NotAccepted, Refusal
from routing.regions import UnknownRegion

logger = logging.getLogger(__name__)

CLAIMS_AT_MOST = 5
# Until a key that has as many open jobs as it may is looked at again.
ROOM_SECONDS = 5.0
# Until a project that has used up its quota is: tomorrow it has more, but it may be given more before.
QUOTA_SECONDS = 60.0
# Until what failed for reasons of ours is tried again.
AGAIN_SECONDS = 30.0
KILLS = "Whoever opened it was ended at this point, several times. The files before it were taken."


def open_next(stopping: Callable[[], bool]) -> bool:
    """Open the archive that has waited longest, until `stopping`; False if there is none."""
    archive = BatchArchive.objects.claim(settings.LEASE_SECONDS)
    if archive is None:
        return False
    try:
        with _renewed(archive):
            _open(archive, stopping)
    except ArchiveLost:
        logger.info("Archive %s was cancelled or taken over while it was opened here.", archive.pk)
    return True


@contextmanager
def _renewed(archive: BatchArchive) -> Iterator[None]:
    """Keep the lease meanwhile: to skip to a member, or to store one, may take longer than it lasts."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(settings.HEARTBEAT_SECONDS):
            try:
                archive.renew(settings.LEASE_SECONDS)
            except ArchiveLost:
                # The block finds out where it asks for it.
                return
            except DatabaseError as error:
                logger.warning("The lease of archive %s cannot be renewed: %s", archive.pk, error)
            finally:
                connection.close()

    renewing = threading.Thread(target=renew, name="archive", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()


def _open(archive: BatchArchive, stopping: Callable[[], bool]) -> None:
    order = replace(making.order_of(archive.batch), of_archive=True)
    try:
        if archive.claims > CLAIMS_AT_MOST:
            raise ArchiveRefused("killed_its_worker", KILLS)
        # Asked before anything is unpacked.
        intake.first_place_for(order)
        intake.check_room(order.key)
        quotas.check(order.project)
        with storages["default"].open(archive.file) as file:
            for entry in entries(file, making.archive_limits(), archive.next_member):
                if stopping():
                    archive.give_back()
                    return
                _take(archive, entry, order)
    except TooManyOpenJobs:
        archive.give_back(for_seconds=ROOM_SECONDS)
    except QuotaExceeded:
        archive.give_back(for_seconds=QUOTA_SECONDS)
    except (ArchiveRefused, NotAccepted) as refusal:
        _end(archive, refusal)
    except UnknownRegion as error:
        _end(archive, NotAccepted("unknown_region", str(error)))
    except FileNotFoundError:
        _end(archive, NotAccepted("not_stored", "The archive is not stored any more. Send it again."))
    except (ProbeError, OSError) as error:
        # Ours and not the archive's: no room, the storage away, no child to probe with.
        logger.warning("Archive %s cannot be opened on now: %s", archive.pk, error)
        archive.give_back(for_seconds=AGAIN_SECONDS)
    else:
        _end(archive)


def _end(archive: BatchArchive, refusal: Refusal | None = None) -> None:
    """The archive is dealt with, to its end or as far as it could be read."""
    with transaction.atomic():
        archive.end()
        if refusal:
            making.refuse(archive.batch, archive.filename or "archive", refusal)
        finish_if_done(archive.batch_id)
        remove_archive(archive)


def _take(archive: BatchArchive, entry: Entry, order: Order) -> None:
    recording: Recording | None = None
    refusal: Refusal | None = None
    try:
        recording = _recording(archive, entry)
    except (EntryRefused, ProbeError) as error:
        if error.code == "probe_unavailable":
            raise
        refusal = error
    try:
        with transaction.atomic():
            archive.pass_to(entry.number + 1, settings.LEASE_SECONDS)
            if recording:
                try:
                    intake.submit(order, recording=recording)
                except LongerThanQuota as error:
                    refusal = error
            if refusal:
                making.refuse(archive.batch, entry.name, refusal)
    except ArchiveLost:
        if recording and not BatchArchive.objects.unopened().filter(pk=archive.pk).exists():
            # Whoever has it now, if anybody, has found the recording under the id that was reserved for it.
            delete_if_unused(recording)
        raise


def _recording(archive: BatchArchive, entry: Entry) -> Recording:
    """The entry, unpacked, probed and stored, unless that was done before a kill."""
    kept = Recording.objects.filter(pk=archive.recording_id).first()
    if kept is not None:
        return kept
    with ReceivedFile(PurePosixPath(entry.name).name) as unpacked:
        for part in entry.parts():
            unpacked.receive(part)
        unpacked.complete()
        return keep(archive.batch.project, unpacked, recording_id=archive.recording_id)
