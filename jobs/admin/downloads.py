"""Files for staff: transcripts in every format, several as one archive, and stored audio.

Whatever is in a recording or transcript, a browser only ever saves it: attachment, nosniff, an empty sandbox.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import PurePath
from typing import IO

from asgiref.sync import sync_to_async
from django.core.files.storage import storages
from django.http import FileResponse, HttpResponse, HttpResponseBase

from jobs.exports import Spoken, to_json, to_srt, to_txt, to_vtt
from jobs.models import Recording, TranscriptionJob

FORMATS: dict[str, tuple[Callable[[Spoken], str], str]] = {
    "txt": (to_txt, "text/plain; charset=utf-8"),
    "srt": (to_srt, "application/x-subrip; charset=utf-8"),
    "vtt": (to_vtt, "text/vtt; charset=utf-8"),
    "json": (to_json, "application/json"),
}
IN_MEMORY_BYTES = 4 << 20
CHUNK_BYTES = 64 << 10
_NOT_IN_NAMES = re.compile(r"[^\w-]+")


class StoredFileResponse(FileResponse):
    """A file in constant memory under ASGI too, where Django would read all of it before the first byte."""

    block_size = CHUNK_BYTES

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = iter(self.streaming_content)  # type: ignore[arg-type]
        read = sync_to_async(partial(next, chunks, None), thread_sensitive=False)
        while (chunk := await read()) is not None:
            yield chunk


def stem(job: TranscriptionJob) -> str:
    """A file name for the job without its ending: harmless everywhere, and no two jobs share it."""
    name = PurePath(job.recording.filename).stem if job.recording else "recording"
    return f"{_NOT_IN_NAMES.sub('_', name)[:80]}-{job.pk.hex[-8:]}"


def transcript_file(job: TranscriptionJob, transcript: Spoken, extension: str) -> HttpResponseBase:
    """KeyError for a format that there is none of."""
    export, media_type = FORMATS[extension]
    response = HttpResponse(export(transcript), content_type=media_type)
    response["Content-Disposition"] = f'attachment; filename="{_ascii(stem(job))}.{extension}"'
    return _harmless(response)


def recording_file(recording: Recording) -> HttpResponseBase:
    """FileNotFoundError if the audio is not stored (any more)."""
    file = storages["default"].open(recording.file.name or "", "rb")
    name = recording.filename or f"{recording.pk}"
    return _harmless(
        StoredFileResponse(file, as_attachment=True, filename=name, content_type=recording.media_type)
    )


def archive(
    jobs: Iterable[TranscriptionJob],
) -> tuple[IO[bytes], list[TranscriptionJob], list[TranscriptionJob]]:
    """A ZIP of each job's latest transcript in all formats; the jobs in it, those without."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - the response closes it
    included, without = [], []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for job in jobs:
            # One at a time: a transcript of a day is tens of megabytes.
            transcript = job.transcripts.last()
            if transcript is None:
                without.append(job)
                continue
            for extension, (export, _) in FORMATS.items():
                bundle.writestr(f"{stem(job)}.{extension}", export(transcript))
            included.append(job)
    file.seek(0)
    return file, included, without


def archive_file(file: IO[bytes]) -> HttpResponseBase:
    response = StoredFileResponse(
        file, as_attachment=True, filename="transcripts.zip", content_type="application/zip"
    )
    return _harmless(response)


def _ascii(name: str) -> str:
    return name.encode("ascii", "ignore").decode() or "transcript"


def _harmless(response: HttpResponseBase) -> HttpResponseBase:
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response
