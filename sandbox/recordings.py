"""The audio of a request, on disk for as long as it is worked on."""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from sandbox import errors
from sandbox.messages import Request

MAX_BYTES = 2 * 1024**3
"""Deepgram's limit."""


class Recording:
    """A temporary file, gone when the `with` block ends."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="sandbox-")
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb", buffering=1 << 20)
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def fill(self, chunks: AsyncIterator[bytes], limit: int) -> None:
        """Stores all chunks. Raises DeepgramError 413 past `limit` bytes, and what `chunks` raises."""
        async for chunk in chunks:
            self.size += len(chunk)
            if self.size > limit:
                raise errors.too_large()
            self._hash.update(chunk)
            self._file.write(chunk)
        self._file.flush()


async def receive(request: Request, recording: Recording, limit: int) -> None:
    """Stores the body of `request`. Raises DeepgramError 413, ClientGone."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise errors.too_large()
    await recording.fill(request.chunks(), limit)
    request.sha256, request.size = recording.sha256, recording.size


async def fetch(client: httpx.AsyncClient, url: str, recording: Recording, limit: int) -> None:
    """Stores what is at `url`. Raises DeepgramError 400 REMOTE_CONTENT_ERROR.

    Deepgram refuses addresses that are not publicly routable; a sandbox is used with servers on loopback.
    """
    try:
        async with client.stream("GET", url, follow_redirects=True) as answer:
            if answer.is_client_error or answer.is_server_error:
                side = "client" if answer.is_client_error else "server"
                status = f"{answer.status_code} {answer.reason_phrase}"
                raise errors.remote_content(
                    f"The remote server hosting the media returned a {side} error: {status}"
                )
            await recording.fill(answer.aiter_bytes(), limit)
    except httpx.TooManyRedirects:
        raise errors.remote_content("The remote server hosting the media sent too many redirects.") from None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise errors.remote_content(
            "The remote server hosting the media failed to return valid data."
        ) from None
