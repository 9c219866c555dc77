"""A folder, or a prefix of a bucket, whose files become jobs as they come.

1. A file is taken when its size and the time of its last change have stood still from one look to the next.
2. Its recording's id is made of where it lies, its size and that time. Whoever is killed after storing it
   finds the recording again, and the job that was made of it, under a lock: one file is one job, however many
   look.
3. Then it is moved to `done/`, or to `refused/` with the reason beside it. With results to be written it
   stays until its job has ended, and they are written beside it in `done/`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import PurePosixPath
from uuid import UUID

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage
from django.db import transaction

from jobs import intake, quotas
from jobs.audio.keeping import keep
from jobs.audio.probe import ProbeError
from jobs.audio.received import READ_BYTES, ReceivedFile
from jobs.ids import uuid7_of
from jobs.intake import Order
from jobs.models import Recording, Status, TranscriptionJob
from jobs.refusal import NotAccepted
from jobs.transcripts.exports import FORMATS

logger = logging.getLogger(__name__)

# What may be otherwise at the next look.
PASSING = frozenset({"probe_unavailable", "too_many_open_jobs", "quota_exceeded"})
DONE, REFUSED = "done", "refused"


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was at one look. Two that are equal stand still."""

    name: str
    size: int
    changed_at: datetime


class Watch:
    """Takes what lies in `storage`, called `place`, for jobs as `order` asks; `tell` is told of each file.

    `writes`: the formats of jobs.transcripts.exports in which transcripts are written back.
    """

    def __init__(
        self,
        storage: Storage,
        place: str,
        order: Order,
        *,
        writes: Sequence[str] = (),
        tell: Callable[[str], object] = logger.info,
    ) -> None:
        self._storage, self._place, self._order = storage, place, order
        self._writes, self._tell = writes, tell
        self._seen: dict[str, Found] = {}
        self._jobs: dict[Found, TranscriptionJob] = {}
        self._failed: dict[str, str] = {}

    def look(self) -> int:
        """Take what stands still and has not been taken; how many files are not dealt with yet."""
        seen, left = self._seen, 0
        self._seen = {}
        for name in self._names():
            found = self._found(name)
            if found is None:
                continue
            self._seen[name] = found
            if seen.get(name) != found or not self._try(found):
                left += 1
        return left

    def _try(self, found: Found) -> bool:
        """`_deal_with`, but that one that cannot be read holds up no others."""
        try:
            dealt_with = self._deal_with(found)
        except FileNotFoundError:
            # Somebody took it away, or is changing it.
            return False
        except OSError as error:
            if self._failed.get(found.name) != str(error):
                self._tell(f"{found.name}: cannot be taken yet: {error}")
            self._failed[found.name] = str(error)
            return False
        self._failed.pop(found.name, None)
        return dealt_with

    def _deal_with(self, found: Found) -> bool:
        """Whether the file is out of the way."""
        try:
            job = self._jobs.get(found) or self._job_of(found)
        except (ProbeError, NotAccepted) as refusal:
            if refusal.code in PASSING:
                return False
            self._refuse(found, f"{refusal.message} ({refusal.code})")
            return True
        if not self._writes:
            self._move(found.name, DONE)
            return True
        self._jobs[found] = job
        job.refresh_from_db()
        if not job.is_ended:
            return False
        del self._jobs[found]
        if job.status == Status.COMPLETED:
            self._write(found, job)
        else:
            self._refuse(found, f"{job.status}: {job.error_message} ({job.error_code})")
        return True

    def _job_of(self, found: Found) -> TranscriptionJob:
        recording_id = uuid7_of(found.changed_at, f"{self._place}\0{found.name}\0{found.size}")
        recording = Recording.objects.filter(pk=recording_id).first()
        if recording is None:
            # Asked before anything is stored.
            intake.first_place_for(self._order)
            intake.check_room(self._order.key)
            quotas.check(self._order.project)
            recording = self._keep(found, recording_id)
        with transaction.atomic():
            # Whoever else looks here waits, and then finds the job.
            Recording.objects.select_for_update().get(pk=recording_id)
            job = recording.jobs.order_by("-pk").first()
            if job is None:
                job = intake.submit(self._order, recording=recording)
                self._tell(f"{found.name}: job {job.pk}")
            else:
                self._tell(f"{found.name}: has been taken before, as job {job.pk}")
        return job

    def _keep(self, found: Found, recording_id: UUID) -> Recording:
        if found.size > settings.MAX_UPLOAD_BYTES:
            raise NotAccepted("too_large", f"It has more than {settings.MAX_UPLOAD_BYTES} bytes.")
        with (
            ReceivedFile(PurePosixPath(found.name).name) as file,
            self._storage.open(found.name) as source,
        ):
            while part := source.read(READ_BYTES):
                file.receive(part)
            file.complete()
            if self._found(found.name) != found:
                raise FileNotFoundError(found.name)
            return keep(self._order.project, file, recording_id)

    def _names(self, below: str = "") -> Iterator[str]:
        directories, files = self._storage.listdir(below)
        for name in sorted(files):
            path = f"{below}{name}"
            if name and not name.startswith(".") and not self._is_link(path):
                yield path
        for name in sorted(directories):
            path = f"{below}{name}"
            if name and not name.startswith(".") and path not in (DONE, REFUSED) and not self._is_link(path):
                yield from self._names(f"{path}/")

    def _is_link(self, name: str) -> bool:
        """Whoever may put files here need not be allowed to read all that this process can."""
        return isinstance(self._storage, FileSystemStorage) and os.path.islink(self._storage.path(name))

    def _found(self, name: str) -> Found | None:
        try:
            return Found(name, self._storage.size(name), self._storage.get_modified_time(name))
        except FileNotFoundError:
            return None

    def _write(self, found: Found, job: TranscriptionJob) -> None:
        transcript = job.transcripts.latest("version")
        target = self._free_name(found.name, DONE)
        for extension in self._writes:
            text = FORMATS[extension].write(transcript)
            # Of the whole name: another file may differ in the last part alone.
            self._storage.save(f"{target}.{extension}", ContentFile(text.encode()))
        self._move(found.name, DONE)
        self._tell(f"{found.name}: transcribed")

    def _refuse(self, found: Found, reason: str) -> None:
        target = self._free_name(found.name, REFUSED)
        self._storage.save(f"{target}.txt", ContentFile(f"{reason}\n".encode()))
        self._move(found.name, REFUSED)
        self._tell(f"{found.name}: refused: {reason}")

    def _move(self, name: str, directory: str) -> None:
        target = self._free_name(name, directory)
        if isinstance(self._storage, FileSystemStorage):
            path = self._storage.path(target)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.replace(self._storage.path(name), path)
            return
        with self._storage.open(name) as file:
            self._storage.save(target, file)
        self._storage.delete(name)

    def _free_name(self, name: str, directory: str) -> str:
        """Where the file goes: another of its name, of another day, may be there."""
        path = PurePosixPath(directory, name)
        others = (path.with_name(f"{path.stem} ({number}){path.suffix}") for number in count(2))
        return next(str(one) for one in chain([path], others) if not self._storage.exists(str(one)))
