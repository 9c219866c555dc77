"""Files on their way out: in constant memory, whole or one range of them.

Whatever is in a recording or transcript, a browser only ever saves it: attachment, nosniff, an empty sandbox.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import IO, Any, TypeAlias

from asgiref.sync import sync_to_async
from django.core.files.storage import storages
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from jobs.models import Recording

READ_BYTES = 1 << 18
_ONE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")

# The first byte, and the one after the last.
Range: TypeAlias = tuple[int, int]


class RangeNotSatisfiable(Exception):
    """The file has no byte of the range that is asked for (HTTP 416)."""


class Download(StreamingHttpResponse):
    """`size` bytes of an open file, which is closed with the response.

    Under ASGI Django would read the whole of a synchronous iterator before it sends any: here each part is
    read in a thread when it is its turn.
    """

    def __init__(
        self, file: IO[bytes], size: int, *, filename: str, content_type: str, chosen: Range | None = None
    ) -> None:
        start, end = chosen or (0, size)
        self._file, self._left = file, end - start
        file.seek(start)
        super().__init__(self._parts(), status=206 if chosen else 200, content_type=content_type)
        self._resource_closers.append(file.close)  # type: ignore[attr-defined]
        if chosen:
            self["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self["Accept-Ranges"] = "bytes"
        self["Content-Length"] = str(end - start)
        self["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=filename)
        make_harmless(self)

    def _read(self) -> bytes:
        part = self._file.read(min(READ_BYTES, self._left))
        self._left -= len(part)
        return part

    def _parts(self) -> Iterator[bytes]:
        while part := self._read():
            yield part

    async def __aiter__(self) -> AsyncIterator[Any]:
        while part := await sync_to_async(self._read, thread_sensitive=False)():
            yield part


def recording_file(recording: Recording, range_header: str | None = None) -> Download:
    """The recording as it was submitted. FileNotFoundError if it is not stored (any more)."""
    chosen = byte_range(range_header, recording.size)
    return Download(
        storages["default"].open(recording.file.name or ""),
        recording.size,
        filename=recording.filename or str(recording.pk),
        content_type=recording.media_type,
        chosen=chosen,
    )


def make_harmless(response: HttpResponseBase) -> None:
    """Whoever opens it in a browser runs nothing of it."""
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"


def byte_range(header: str | None, size: int) -> Range | None:
    """What is asked for of a file of this size; None for the whole. RangeNotSatisfiable if there is no such.

    RFC 9110, section 14.2: what is not understood, several ranges too, is as if it had not been asked for.
    """
    asked = _ONE_RANGE.fullmatch(header or "")
    if asked is None or not any(asked.groups()):
        return None
    first, last = asked.groups()
    if first and last and int(last) < int(first):
        return None
    if first:
        start, end = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, end = max(0, size - int(last)), size
    if start >= end:
        raise RangeNotSatisfiable
    return start, end
