"""What recordings look like to who listens to them: measured when first asked for, and then kept."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from django.conf import settings
from django.core.files.storage import storages
from django.db import IntegrityError, connection

from jobs.audio.probe import ProbeError, peaks
from jobs.audio.received import check_disk
from jobs.models import Recording, Waveform


def waveform(recording: Recording) -> bytes:
    """Peaks as jobs.audio.probe has them; none for what cannot be drawn.

    OSError if the audio is not to be had (any more); ProbeError (probe_unavailable): try again.
    """
    kept = Waveform.objects.filter(recording=recording).values_list("peaks", flat=True).first()
    if kept is not None:
        return bytes(kept)
    # It takes seconds, in which others may use the connection.
    connection.close()
    with _in_file(recording) as audio:
        try:
            found = peaks(audio)
        except ProbeError as error:
            if error.code == "probe_unavailable":
                raise
            found = b""
    # Whoever asked at the same time has measured the same; a recording that is deleted by now keeps nothing.
    with suppress(IntegrityError):
        Waveform.objects.bulk_create([Waveform(recording=recording, peaks=found)], ignore_conflicts=True)
    return found


@contextmanager
def _in_file(recording: Recording) -> Iterator[IO[bytes]]:
    """The audio in a file of this machine: a copy, where it is stored elsewhere."""
    with storages["default"].open(recording.file.name or "") as stored:
        try:
            stored.fileno()
        except (AttributeError, io.UnsupportedOperation):
            check_disk(recording.size)
            with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as copy:
                shutil.copyfileobj(stored, copy, 1 << 20)
                copy.flush()
                yield copy
        else:
            yield stored
