"""Transcripts as files for staff: one in any format, or those of many jobs as one archive."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterable
from io import SEEK_END
from pathlib import PurePath
from typing import IO

from django.http import HttpResponse, HttpResponseBase
from django.utils.http import content_disposition_header

from jobs.admin.wording import short_id
from jobs.audio.downloads import Download, make_harmless
from jobs.models import TranscriptionJob
from jobs.transcripts.exports import FORMATS, Spoken

IN_MEMORY_BYTES = 4 << 20
_NOT_IN_NAMES = re.compile(r"[^\w-]+")


def stem(job: TranscriptionJob) -> str:
    """A file name for the job without its ending: harmless everywhere, and no two jobs share it."""
    called = PurePath(job.recording.filename).stem if job.recording else ""
    return f"{_NOT_IN_NAMES.sub('_', called)[:80].strip('_') or 'recording'}-{short_id(job)}"


def transcript_file(job: TranscriptionJob, transcript: Spoken, extension: str) -> HttpResponseBase:
    """KeyError for a format that there is none of."""
    export = FORMATS[extension]
    response = HttpResponse(export.write(transcript), content_type=export.media_type)
    filename = f"{stem(job)}.{extension}"
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=filename)
    make_harmless(response)
    return response


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
            for extension, export in FORMATS.items():
                bundle.writestr(f"{stem(job)}.{extension}", export.write(transcript))
            included.append(job)
    return file, included, without


def archive_file(file: IO[bytes]) -> HttpResponseBase:
    size = file.seek(0, SEEK_END)
    return Download(file, size, filename="transcripts.zip", content_type="application/zip")
