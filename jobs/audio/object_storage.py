"""Recordings and answers on S3, or what speaks its protocol, by django-storages.

What differs from it:
1. A file is read as a stream from where it was sought. There, the first read downloads all of it into memory.
2. One client serves all threads (botocore's are made for that); there, each thread makes its own, in 0.1 s.
3. Large files are sent part by part, 8 MB in memory each, and not ten at a time.
4. What goes wrong is an OSError, FileNotFoundError if there is no such object, as with any storage.

Nothing is ever made public: objects get no ACL, so the bucket's own rule (private by default) holds.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files import File
from storages.backends.s3 import S3Storage

READ_BYTES = 1 << 18
CONNECTIONS = 64
_MISSING = frozenset({"404", "NoSuchKey", "NoSuchUpload"})

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _MISSING:
            raise FileNotFoundError(str(error)) from error
        raise OSError(str(error)) from error
    except (BotoCoreError, Boto3Error) as error:
        raise OSError(str(error)) from error


def _raises_os_errors(function: Callable[P, T]) -> Callable[P, T]:
    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with _as_os_errors():
            return function(*args, **kwargs)

    return wrapper


class ObjectStorage(S3Storage):  # type: ignore[misc]  # without types
    """A bucket. Thread-safe."""

    signature_version = "s3v4"

    def __init__(self, **options: Any) -> None:
        self._making = Lock()
        self._resource: Any = None
        self.client_config = Config(
            signature_version="s3v4",
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "max_attempts": 3},
            max_pool_connections=CONNECTIONS,
            # Where the endpoint is one's own, the bucket is no part of its name.
            s3={"addressing_style": "path" if options.get("endpoint_url") else "auto"},
            # Newer checksums than most of what speaks S3 knows.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self.transfer_config = TransferConfig(use_threads=False)
        super().__init__(**options)

    @property
    def connection(self) -> Any:
        with self._making:
            if self._resource is None:
                self._resource = self._create_session().resource(
                    "s3",
                    region_name=self.region_name,
                    endpoint_url=self.endpoint_url,
                    config=self.client_config,
                )
            return self._resource

    @property
    def client(self) -> Any:
        return self.connection.meta.client

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        if mode != "rb":
            raise ValueError("Objects are read as bytes, and written by save() alone.")
        read = partial(self.client.get_object, **self._of(name))
        with _as_os_errors():
            found = self.client.head_object(**self._of(name))
        stored = _Object(partial(read, IfMatch=found["ETag"]), found["ContentLength"])
        return File(io.BufferedReader(stored, READ_BYTES), name)

    # A file that others send part by part, to signed URLs. FileNotFoundError once it is joined or dropped.

    @_raises_os_errors
    def begin_parts(self, name: str) -> str:
        begun = self.client.create_multipart_upload(**self._of(name))
        return str(begun["UploadId"])

    def part_url(self, name: str, upload: str, number: int) -> str:
        """Where to PUT the part, for as long as the credentials last and 24 hours at most."""
        part = {**self._of(name), "UploadId": upload, "PartNumber": number}
        return str(self.client.generate_presigned_url("upload_part", part, ExpiresIn=24 * 3600))

    @_raises_os_errors
    def stored_parts(self, name: str, upload: str) -> dict[int, int]:
        """The sizes of the parts that are there, by number."""
        return {part["PartNumber"]: part["Size"] for part in self._parts(name, upload)}

    @_raises_os_errors
    def join_parts(self, name: str, upload: str) -> None:
        named = ("PartNumber", "ETag")
        joined = [{field: part[field] for field in named} for part in self._parts(name, upload)]
        self.client.complete_multipart_upload(
            **self._of(name), UploadId=upload, MultipartUpload={"Parts": joined}
        )

    @_raises_os_errors
    def drop_parts(self, name: str, upload: str) -> None:
        self.client.abort_multipart_upload(**self._of(name), UploadId=upload)

    def _parts(self, name: str, upload: str) -> Iterator[dict[str, Any]]:
        for page in self.client.get_paginator("list_parts").paginate(**self._of(name), UploadId=upload):
            yield from page.get("Parts", ())

    def _of(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket_name, "Key": self._normalize_name(name)}

    _save = _raises_os_errors(S3Storage._save)
    delete = _raises_os_errors(S3Storage.delete)
    exists = _raises_os_errors(S3Storage.exists)
    size = _raises_os_errors(S3Storage.size)
    listdir = _raises_os_errors(S3Storage.listdir)


class _Object(io.RawIOBase):
    """The bytes of an object, asked for when they are read and from there on; `get(Range=…)` asks."""

    def __init__(self, get: Callable[..., Any], size: int) -> None:
        self._get = get
        self._size = size
        self._at = 0
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if at != self._at:
            self._leave()
            self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        with _as_os_errors():
            if self._body is None:
                self._body = self._get(Range=f"bytes={self._at}-")["Body"]
            part = self._body.read(len(buffer))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self) -> None:
        self._leave()
        super().close()

    def _leave(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
