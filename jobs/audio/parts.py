"""Where the bytes of an upload arrive: at the end of a file of ours, or in a bucket and never through us.

Either way they lie under the name that the recording will have, so that finishing moves nothing, and what is
there says how far the upload has come, whoever was killed meanwhile.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from io import BufferedRandom
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.core.files.storage import Storage, storages

from jobs.audio.received import LOOK_BYTES, READ_BYTES, ReceivedFile, check_disk
from jobs.models import Upload
from jobs.refusal import Refusal

if TYPE_CHECKING:
    from jobs.audio.object_storage import ObjectStorage

PART_BYTES = 16 << 20
MOST_PARTS = 1000


class UploadConflict(Refusal):
    """The upload is not in the state that this asks for. `code` is stable, `message` says what to do."""

    status = 409


class UploadIncomplete(UploadConflict):
    def __init__(self, upload: Upload, offset: int) -> None:
        there = f"{offset} of {upload.size} bytes are there. Send the rest first."
        super().__init__("upload_incomplete", there)


@dataclass(frozen=True, slots=True)
class Part:
    """`size` bytes from `offset` on, to be PUT to `url`."""

    number: int
    offset: int
    size: int
    url: str
    received: bool


class Parts(ABC):
    """What the uploads' storage can do. OSError if it fails, FileNotFoundError if the upload is not there."""

    @abstractmethod
    def begin(self, upload: Upload) -> str:
        """Make ready for the first byte; the storage's own name for the upload, if it has one."""

    @abstractmethod
    def received(self, upload: Upload) -> int:
        """How many bytes are there."""

    def to_send(self, upload: Upload) -> list[Part] | None:
        """What the client sends to the storage itself; None where it sends all to us."""
        return None

    def append(self, upload: Upload, offset: int, body: Iterable[bytes]) -> int:
        """Add what comes to the end, which must be at `offset`; how much is there then. OSError."""
        raise UploadConflict("upload_by_parts", "Send each part to its own url, with PUT.")

    @abstractmethod
    def whole(self, upload: Upload) -> AbstractContextManager[tuple[str, str]]:
        """The path of the whole file while it is looked at, and its SHA-256. UploadIncomplete."""

    @abstractmethod
    def discard(self, upload: Upload) -> None:
        """Remove all that is there."""


def parts() -> Parts:
    """Those of the default storage."""
    storage = storages["default"]
    return BucketParts(cast("ObjectStorage", storage)) if _is_bucket(storage) else DiskParts(storage)


def _is_bucket(storage: Storage) -> bool:
    # By what it can do: S3's library, which its class would bring along, takes 20 MB.
    return hasattr(storage, "begin_parts")


class DiskParts(Parts):
    """Bytes are appended to the file, by one at a time: their lock on it ends with them, however they end."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def begin(self, upload: Upload) -> str:
        path = self._path(upload)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, settings.FILE_UPLOAD_PERMISSIONS))
        return ""

    def received(self, upload: Upload) -> int:
        return self._path(upload).stat().st_size

    def append(self, upload: Upload, offset: int, body: Iterable[bytes]) -> int:
        with self._locked(upload) as file:
            at = look_at = file.seek(0, os.SEEK_END)
            if at != offset:
                raise UploadConflict("wrong_offset", f"The upload stands at {at}. Go on from there.")
            try:
                for part in body:
                    if at >= look_at:
                        check_disk(LOOK_BYTES)
                        look_at = at + LOOK_BYTES
                    file.write(part)
                    at += len(part)
            finally:
                # What has come is kept, also if the rest does not.
                file.flush()
                os.fsync(file.fileno())
        return at

    @contextmanager
    def whole(self, upload: Upload) -> Iterator[tuple[str, str]]:
        with self._locked(upload) as file:
            size = file.seek(0, os.SEEK_END)
            if size != upload.size:
                raise UploadIncomplete(upload, size)
            file.seek(0)
            yield str(self._path(upload)), hashlib.file_digest(file, "sha256").hexdigest()

    def discard(self, upload: Upload) -> None:
        self._storage.delete(upload.stored_name)

    def _path(self, upload: Upload) -> Path:
        return Path(self._storage.path(upload.stored_name))

    @contextmanager
    def _locked(self, upload: Upload) -> Iterator[BufferedRandom]:
        with self._path(upload).open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy = "Another request is working on this upload. Ask for its offset when that has ended."
                raise UploadConflict("upload_in_use", busy) from None
            yield file


class BucketParts(Parts):
    """Bytes go to the bucket by signed URLs, as S3's multipart uploads; each part can be sent again."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    def begin(self, upload: Upload) -> str:
        return self._storage.begin_parts(upload.stored_name)

    def received(self, upload: Upload) -> int:
        try:
            return sum(self._storage.stored_parts(upload.stored_name, upload.parts_id).values())
        except FileNotFoundError:
            # They have been joined.
            return int(self._storage.size(upload.stored_name))

    def to_send(self, upload: Upload) -> list[Part] | None:
        try:
            stored = self._storage.stored_parts(upload.stored_name, upload.parts_id)
        except FileNotFoundError:
            return []
        size = max(PART_BYTES, ceil(upload.size / MOST_PARTS))
        offsets = range(0, upload.size, size)
        return [
            Part(
                number=number,
                offset=offset,
                size=(part_size := min(size, upload.size - offset)),
                url=self._storage.part_url(upload.stored_name, upload.parts_id, number),
                received=stored.get(number) == part_size,
            )
            for number, offset in enumerate(offsets, 1)
        ]

    @contextmanager
    def whole(self, upload: Upload) -> Iterator[tuple[str, str]]:
        missing = [part for part in self.to_send(upload) or () if not part.received]
        if missing:
            raise UploadIncomplete(upload, upload.size - sum(part.size for part in missing))
        check_disk(upload.size)
        with suppress(FileNotFoundError):
            # By whoever was here before and was killed, or is at it.
            self._storage.join_parts(upload.stored_name, upload.parts_id)
        with self._storage.open(upload.stored_name) as stored, ReceivedFile() as file:
            while piece := stored.read(READ_BYTES):
                file.receive(piece)
            file.complete()
            if file.size != upload.size:
                raise UploadIncomplete(upload, file.size or 0)
            yield file.temporary_file_path(), file.sha256

    def discard(self, upload: Upload) -> None:
        if upload.parts_id:
            with suppress(FileNotFoundError):
                self._storage.drop_parts(upload.stored_name, upload.parts_id)
        self._storage.delete(upload.stored_name)
