"""The transcripts of a batch as one ZIP, written while it is sent: one transcript at a time."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from tempfile import SpooledTemporaryFile
from time import localtime

from django.db import connection
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

from jobs.audio.downloads import make_harmless
from jobs.models import Batch, Status, TranscriptionJob
from jobs.spreadsheets import BYTE_ORDER_MARK, cell
from jobs.transcripts.exports import FORMATS

READ_AT_A_TIME = 200
READ_CHARACTERS = 1 << 16
ROWS_IN_MEMORY = 1 << 20
MANIFEST = "manifest.csv"
COLUMNS = ("number", "id", "name", "status", "file", "seconds", "error", "tags", "metadata", "created_at")
_NOT_IN_NAMES = re.compile(r"[^\w-]+")


def export(batch: Batch, formats: Sequence[str]) -> StreamingHttpResponse:
    """A ZIP with the latest transcript of each completed job in these formats, and manifest.csv of all jobs.

    The names of the files are the jobs' numbers in the batch and what their recordings are called: no two are
    the same, and none has anything in it that a file system would heed.
    """
    return bundle(TranscriptionJob.objects.filter(batch=batch), _harmless(str(batch)) or "batch", formats)


def bundle(jobs: QuerySet[TranscriptionJob], name: str, formats: Sequence[str]) -> StreamingHttpResponse:
    """The same of any jobs, in the order of their making."""
    response = StreamingHttpResponse(_parts(jobs, formats), content_type="application/zip")
    filename = f"{name}.zip"
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=filename)
    make_harmless(response)
    return response


class _Pipe(io.RawIOBase):
    """What has been written and not been taken yet."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._written = b"".join(self._written), []
        return taken


def _parts(jobs: QuerySet[TranscriptionJob], formats: Sequence[str]) -> Iterator[bytes]:
    pipe = _Pipe()
    with (
        SpooledTemporaryFile(ROWS_IN_MEMORY, "w+", encoding="utf-8", newline="") as rows,
        # Not to be sought in: what its entries' sizes are stands behind each of them.
        zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as bundle,
    ):
        rows.write(BYTE_ORDER_MARK)
        write = csv.writer(rows).writerow
        write(COLUMNS)
        for number, job in _numbered(jobs):
            transcript = job.transcripts.last() if job.status == Status.COMPLETED else None
            # Whoever reads slowly has no connection of the database's meanwhile.
            connection.close()
            # With the job as it is in the bundle, whatever becomes of it while that is read.
            write(_row(number, job, has_file=transcript is not None))
            if transcript is None:
                continue
            for extension in formats:
                bundle.writestr(f"{_stem(number, job)}.{extension}", FORMATS[extension].write(transcript))
                yield pipe.take()
        rows.seek(0)
        entry = zipfile.ZipInfo(MANIFEST, localtime()[:6])  # or it would be of 1980
        entry.compress_type = zipfile.ZIP_DEFLATED
        with bundle.open(entry, "w") as manifest:
            while part := rows.read(READ_CHARACTERS):
                manifest.write(part.encode())
                yield pipe.take()
    yield pipe.take()


def _numbered(jobs: QuerySet[TranscriptionJob]) -> Iterator[tuple[int, TranscriptionJob]]:
    """All of them in the order of their making, counted from 1."""
    number, after = 0, None
    jobs = jobs.select_related("recording").order_by("pk")
    while True:
        page = list((jobs.filter(pk__gt=after) if after else jobs)[:READ_AT_A_TIME])
        for job in page:
            number += 1
            yield number, job
        if len(page) < READ_AT_A_TIME:
            return
        after = page[-1].pk


def _row(number: int, job: TranscriptionJob, *, has_file: bool) -> tuple[str, ...]:
    return (
        str(number),
        str(job.pk),
        cell(job.recording.filename if job.recording and job.recording.filename else job.url),
        job.status,
        _stem(number, job) if has_file else "",
        "" if job.duration is None else f"{job.duration:.3f}",
        cell(f"{job.error_code}: {job.error_message}" if job.error_code else ""),
        cell(", ".join(map(str, job.tags))),
        json.dumps(job.metadata, ensure_ascii=False) if job.metadata else "",
        job.created_at.isoformat(),
    )


def _stem(number: int, job: TranscriptionJob) -> str:
    called = PurePath(job.recording.filename).stem if job.recording else ""
    return f"{number:05}-{_harmless(called) or 'recording'}"


def _harmless(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)[:80].strip("_")
