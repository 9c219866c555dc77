"""Files as they come in: written once, below FILE_UPLOAD_TEMP_DIR, and hashed on the way.

That directory is on the file system of the recordings, where storing one is a rename.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler

READ_BYTES = 1 << 18
# From one look at the disk's room to the next.
LOOK_BYTES = 4 << 20
SUFFIX = ".upload"
ABANDONED_AFTER_SECONDS = 60.0

logger = logging.getLogger(__name__)


class InsufficientStorage(OSError):
    """There is no room left for what is to be received (HTTP 507)."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "There is no room left beside DISK_RESERVE_BYTES")


def check_disk(size: int) -> None:
    """InsufficientStorage unless `size` bytes fit, and DISK_RESERVE_BYTES beside them."""
    if shutil.disk_usage(settings.FILE_UPLOAD_TEMP_DIR).free < size + settings.DISK_RESERVE_BYTES:
        raise InsufficientStorage()


def remove_abandoned() -> None:
    """Remove what was being received by processes that were killed meanwhile.

    A file is locked as long as whoever receives it lives; one that was made just now may not be yet.
    """
    for path in Path(settings.FILE_UPLOAD_TEMP_DIR).glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            if time.time() - path.stat().st_mtime < ABANDONED_AFTER_SECONDS:
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                logger.warning("Removed %s, which nobody receives any more.", path.name)


class ReceivedFile(UploadedFile):  # type: ignore[type-arg]  # not generic at run time
    """A file that somebody sent, or is still sending. Closed, it is gone, unless it was stored by then."""

    def __init__(self, name: str = "", content_type: str = "") -> None:
        # Under a name with nothing of the user's in it, which what reads it might heed.
        self._written = tempfile.NamedTemporaryFile(suffix=SUFFIX, dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115
        fcntl.flock(self._written, fcntl.LOCK_EX)
        super().__init__(self._written, None, content_type, 0)
        # Not its own name below that directory, which Django takes where none is given.
        self.name = name or None
        self._digest = hashlib.sha256()
        self._look_at = 0

    @property
    def sha256(self) -> str:
        """Of what has been received so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def receive(self, part: bytes) -> None:
        """Append what came. InsufficientStorage if that would take of DISK_RESERVE_BYTES, OSError."""
        size = self.size or 0
        if size >= self._look_at:
            check_disk(LOOK_BYTES)
            self._look_at = size + LOOK_BYTES
        self._written.write(part)
        self._digest.update(part)
        self.size = size + len(part)

    def complete(self) -> None:
        """All of it has come, and outlives the power: what is accepted is not lost."""
        self._written.flush()
        os.fsync(self._written.fileno())
        self._written.seek(0)

    def temporary_file_path(self) -> str:
        """Where it lies. Storing moves it away from there."""
        return self._written.name

    def close(self) -> None:
        # Not there to be removed if it was stored.
        with contextlib.suppress(FileNotFoundError):
            super().close()


def received(path: PurePath) -> ReceivedFile:
    """A copy of a file of this machine, as if it had been sent."""
    file = ReceivedFile(path.name)
    with open(path, "rb") as source:
        while part := source.read(READ_BYTES):
            file.receive(part)
    file.complete()
    return file


def named_in_form(name: str) -> str:
    """A file's name as it was before a form was made of it, but for line breaks, which Django leaves out too.

    Browsers escape a quotation mark, CR and LF, and not the percent sign (HTML, "Multipart form data").
    """
    return "".join(filter(str.isprintable, re.sub("%22|%0D|%0A", lambda escaped: unquote(escaped[0]), name)))


class ReceiveFiles(FileUploadHandler):
    """How Django takes the files of a form. InsufficientStorage before the first byte if they do not fit."""

    chunk_size = READ_BYTES

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: Any = None
    ) -> None:
        check_disk(content_length)

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.file = ReceivedFile(named_in_form(self.file_name or ""), self.content_type or "")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.file.receive(raw_data)

    def file_complete(self, file_size: int) -> ReceivedFile:
        self.file.complete()
        return self.file

    def upload_interrupted(self) -> None:
        if hasattr(self, "file"):
            self.file.close()
