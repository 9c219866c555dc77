"""Keeping the audio of sessions that are recorded, and making a recording of it with a job.

While a session is live its relay keeps what came, a part every few seconds, each an object in storage and a
row. Once the session has ended, however it did, a worker puts the parts together: what was kept before a
kill is transcribed as well. Audio that the client sent and no process kept, since it died, is silence.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby
from typing import TypeAlias
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import IntegrityError, transaction
from django.utils import timezone
from structlog.contextvars import bound_contextvars

from jobs import intake
from jobs.audio.keeping import keep as keep_recording
from jobs.audio.probe import ProbeError
from jobs.audio.received import InsufficientStorage, ReceivedFile, check_disk
from jobs.forgetting.deletion import delete_if_unused, delete_jobs
from jobs.forgetting.files import remove
from jobs.models import Chore, Recording, TranscriptionJob
from jobs.refusal import NotAccepted
from routing.regions import UnknownRegion
from streaming import news
from streaming.as_recording import header_for, raw_encoding, recording_options, silence_for
from streaming.database import in_database
from streaming.models import AudioPart, Happening, LiveSession, TimelineEntry

logger = logging.getLogger(__name__)

# How much audio a kill may cost the recording.
PART_SECONDS = 5.0
# Of what storage does not take: the oldest is given up.
MOST_KEPT_BACK = 16 * 1024**2
CHORE = "recordings of live sessions"
LEASE_SECONDS = 600.0


class Tape:
    """What a relay has of a session's audio and has not kept yet, from byte `offset` of the client's on."""

    def __init__(self, session_id: UUID, epoch: int, offset: int = 0) -> None:
        self._session_id, self._epoch, self._offset = session_id, epoch, offset
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > MOST_KEPT_BACK:
            surplus = len(self._data) - MOST_KEPT_BACK
            del self._data[:surplus]
            self._offset += surplus

    async def keep(self) -> None:
        """Store what there is. OSError if storage fails, and what was not stored is still there.

        One call at a time; the last one before the session is ended.
        """
        data = bytes(self._data)
        if not data:
            return
        until = self._offset + len(data)
        part = AudioPart(session_id=self._session_id, epoch=self._epoch, offset=self._offset, size=len(data))
        await in_database(keep, part, data)
        # Of the oldest, some may have been given up meanwhile.
        del self._data[: max(0, until - self._offset)]
        self._offset = max(until, self._offset)


def keep(part: AudioPart, data: bytes) -> None:
    """Store a part, unless its session has its recording or is gone. Keeping it again changes nothing."""
    if not LiveSession.objects.filter(pk=part.session_id, recorded_at=None).exists():
        return
    # The row first: what is stored without one would be removed by nobody.
    try:
        AudioPart.objects.bulk_create(
            [part],
            update_conflicts=True,
            unique_fields=["session", "epoch", "offset"],
            update_fields=["size"],
        )
    except IntegrityError:
        return  # its session has just been deleted
    storages["default"].save(part.stored_name, ContentFile(data))
    if not AudioPart.objects.filter(session=part.session_id, epoch=part.epoch, offset=part.offset).exists():
        remove([part.stored_name])


def discard(sessions: Collection[UUID]) -> None:
    """Remove the parts that were kept of these."""
    with transaction.atomic():
        parts = AudioPart.objects.filter(session__in=sessions)
        remove([part.stored_name for part in parts])
        parts.delete()


def make_recordings(stopping: Callable[[], bool]) -> None:
    """Make those of the sessions that have ended. One process at a time does it."""
    if not LiveSession.objects.to_record().exists() or not Chore.objects.claim(CHORE, LEASE_SECONDS):
        return
    try:
        for session in LiveSession.objects.to_record().select_related("project", "created_by")[:100]:
            if stopping():
                break
            make_recording(session)
            Chore.objects.put_off(CHORE, LEASE_SECONDS)
    except InsufficientStorage:
        logger.warning("There is no room to put recordings of live sessions together.")
    finally:
        Chore.objects.put_off(CHORE, 0)


def make_recording(session: LiveSession) -> None:
    """Put together what was kept of a session that has ended, and queue a job for it.

    If this is killed, doing it again comes to the same: the recording has the session's id.
    """
    with bound_contextvars(session_id=str(session.pk)):
        try:
            job = _submitted(session)
        except (ProbeError, NotAccepted, UnknownRegion) as error:
            logger.warning("Live session %s is not recorded: %s", session.pk, error)
            _finish(session, None, getattr(error, "code", "unknown_region"))
            return
        _finish(session, job, "" if job else "nothing_kept")


def _submitted(session: LiveSession) -> TranscriptionJob | None:
    """The job of its recording; None if nothing was kept."""
    recording = Recording.objects.filter(pk=session.pk).first()
    if recording is None:
        stretches = list(_stretches(session.parts.all()))
        if not stretches:
            return None
        with _put_together(session, stretches) as file:
            recording = keep_recording(session.project, file, recording_id=session.pk)
    earlier = recording.jobs.first()
    if earlier is not None:
        return earlier
    order = intake.Order(
        project=session.project,
        options=recording_options(session.options),
        mode="async",
        # As it was heard.
        is_counted=False,
        metadata={"stream": str(session.pk)},
        tags=session.tags,
        user=session.created_by,
    )
    try:
        return intake.submit(order, recording=recording)
    except (NotAccepted, UnknownRegion):
        delete_if_unused(recording)
        raise


def _finish(session: LiveSession, job: TranscriptionJob | None, why_not: str) -> None:
    discard([session.pk])
    with transaction.atomic():
        mine = LiveSession.objects.filter(pk=session.pk)
        if not mine.update(recorded_at=timezone.now(), job=job, recording=job and job.recording):
            # Deleted meanwhile.
            delete_jobs([job.pk] if job else [])
        elif why_not:
            TimelineEntry.objects.create(
                session=session, type=Happening.NOT_RECORDED, details={"code": why_not}
            )
        news.tell([session.pk])


# A part, or silence, and how many of its bytes.
Stretch: TypeAlias = tuple[AudioPart | None, int]


def _stretches(parts: Iterable[AudioPart]) -> Iterator[Stretch]:
    """What follows what, from the first byte on."""
    chosen: list[tuple[AudioPart, int]] = []
    until = math.inf
    newest_first = sorted(parts, key=lambda part: (-part.epoch, part.offset))
    for _, of_epoch in groupby(newest_first, key=lambda part: part.epoch):
        kept = list(of_epoch)
        sizes = [int(min(part.size, until - part.offset)) for part in kept]
        chosen += [(part, size) for part, size in zip(kept, sizes, strict=True) if size > 0]
        until = min(until, kept[0].offset)
    at = 0
    for part, size in sorted(chosen, key=lambda each: each[0].offset):
        if part.offset > at:
            yield None, part.offset - at
        yield part, size
        at = part.offset + size


def _put_together(session: LiveSession, stretches: list[Stretch]) -> ReceivedFile:
    size = sum(size for _, size in stretches)
    check_disk(size)
    ending = ".wav" if raw_encoding(session.options) else ""
    file = ReceivedFile(f"live-{session.created_at:%Y%m%d-%H%M%S}{ending}")
    try:
        file.receive(header_for(session.options, size))
        for part, length in stretches:
            stored = b"" if part is None else _read(part)[:length]
            file.receive(stored)
            for silence in silence_for(session.options, length - len(stored)):
                file.receive(silence)
        file.complete()
    except BaseException:
        file.close()
        raise
    return file


def _read(part: AudioPart) -> bytes:
    try:
        with storages["default"].open(part.stored_name) as stored:
            return bytes(stored.read())
    except FileNotFoundError:
        # Whoever kept it was killed between row and file.
        return b""
