"""What is in a ZIP or a tar file that a stranger sent. Standard library only.

Nothing is extracted under a name of the archive's: entries are read as streams, and their names are only
told. Neither what an archive declares nor what it compresses to is believed:

- the directory of a ZIP, and each header of a tar, are read from a bounded number of bytes, since both
  libraries take into memory whatever length the archive claims for them;
- what is unpacked is counted as it is read, for each entry and for all together;
- a compression ratio that no recording has ends an entry (ZIP) or the whole (tar.gz);
- links, devices, names that lead elsewhere, encrypted entries and archives within are refused one by one.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, Literal

from jobs.refusal import Refusal

RATIO = 300
# Silence compresses a thousandfold: only what is large is suspicious.
RATIO_FROM_BYTES = 64 << 20
SUSPICIOUS = f"It unpacks to more than {RATIO} times its size, which no recording does."
DIRECTORY_BYTES_PER_ENTRY = 512
DIRECTORY_BYTES = 1 << 20
HEADER_BYTES = 64 << 10
READ_BYTES = 1 << 18
NESTED = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
READABLE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_DRIVE = re.compile(r"[A-Za-z]:")
# What the libraries raise on what is damaged, or made to damage.
_CORRUPT = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,
    RecursionError,
    ValueError,
)


class ArchiveRefused(Refusal):
    """The archive cannot be opened, or not further than this. `code` is stable, the message for its sender.

    Codes: `unsupported_archive`, `corrupt_archive`, `archive_too_large`, `too_many_entries`,
    `suspicious_ratio`.
    """

    status = 415


class EntryRefused(ArchiveRefused):
    """One entry cannot be taken; others can.

    Codes: `unsafe_name`, `not_a_file`, `nested_archive`, `encrypted`, `unsupported_compression`, `too_large`,
    `suspicious_ratio`, `corrupt_entry`.
    """


@dataclass(frozen=True, slots=True)
class Limits:
    """`entries` of any kind; `entry_bytes` of one and `total_bytes` of all, unpacked."""

    entries: int
    entry_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive. `number` counts all entries from 0; `refusal`: why it is not to be read."""

    number: int
    name: str
    refusal: EntryRefused | None
    _parts: Callable[[], Iterator[bytes]]

    def parts(self) -> Iterator[bytes]:
        """Its content, bounded, to be read before the next entry is asked for.

        EntryRefused where it cannot be read on, ArchiveRefused where nothing can.
        """
        if self.refusal:
            raise self.refusal
        return self._parts()


def is_archive(file: IO[bytes]) -> bool:
    """Whether it begins as those do that can be opened."""
    try:
        _kind(file)
    except ArchiveRefused:
        return False
    return True


def check(file: IO[bytes], limits: Limits) -> None:
    """ArchiveRefused unless it can be opened, as far as its beginning or its directory tells."""
    if _kind(file) == "zip":
        with _directory(file, limits):
            pass


def entries(file: IO[bytes], limits: Limits, start: int = 0) -> Iterator[Entry]:
    """Its files from the entry of this number on; what file managers add of their own is left out.

    ArchiveRefused when it cannot be read on; what was given before stays good.
    """
    kind = _kind(file)
    found = _zip_entries(file, limits, start) if kind == "zip" else _tar_entries(file, kind, limits, start)
    return (entry for entry in found if not _is_litter(entry.name))


def _kind(file: IO[bytes]) -> Literal["zip", "tar", "tar.gz"]:
    file.seek(0)
    begins = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    if begins.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if begins.startswith(b"\x1f\x8b"):
        try:
            if _is_tar(gzip.GzipFile(fileobj=file).read(tarfile.BLOCKSIZE)):
                return "tar.gz"
        except (gzip.BadGzipFile, EOFError, zlib.error):
            pass
        finally:
            file.seek(0)
    if _is_tar(begins):
        return "tar"
    raise ArchiveRefused("unsupported_archive", "It cannot be opened: send a ZIP, a tar or a tar.gz.")


def _is_tar(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except _CORRUPT as error:
        raise ArchiveRefused("corrupt_archive", f"It is damaged: {error}"[:200]) from None


class _BoundedReads(io.RawIOBase):
    """A file of which `most` bytes can be read at a time, whatever a directory claims to have."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile("an offset before its beginning")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        if size <= self._most:
            part = self._file.read(self._most + 1 if size < 0 else size)
            if len(part) <= self._most:
                return part
        raise ArchiveRefused("too_many_entries", "Its directory is larger than is read.")


@contextmanager
def _directory(file: IO[bytes], limits: Limits) -> Iterator[zipfile.ZipFile]:
    most = max(DIRECTORY_BYTES, limits.entries * DIRECTORY_BYTES_PER_ENTRY)
    with _reading():
        opened = zipfile.ZipFile(_BoundedReads(file, most))
    with opened:
        infos = opened.infolist()
        if len(infos) > limits.entries:
            raise _too_many(limits)
        if sum(info.file_size for info in infos) > limits.total_bytes:
            raise _too_large(limits)
        yield opened


def _zip_entries(file: IO[bytes], limits: Limits, start: int) -> Iterator[Entry]:
    with _directory(file, limits) as opened:
        for number, info in enumerate(opened.infolist()):
            if number >= start and not info.is_dir():
                parts = partial(_zip_parts, opened, info, limits)
                yield Entry(number, _told(info.filename), _refusal_of_zipped(info, limits), parts)


def _zip_parts(opened: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> Iterator[bytes]:
    # The library reads no more than the declared size, and no more of all together than `_directory` allows.
    try:
        with opened.open(info) as content:
            yield from _counted(content, limits)
    except _CORRUPT as error:
        raise EntryRefused("corrupt_entry", f"It is damaged: {error}"[:200]) from None


def _refusal_of_zipped(info: zipfile.ZipInfo, limits: Limits) -> EntryRefused | None:
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        return _not_a_file()
    if info.flag_bits & 0x1:
        return EntryRefused("encrypted", "It is encrypted: send it without a password.")
    if info.compress_type not in READABLE_METHODS:
        return EntryRefused("unsupported_compression", "Its compression is not read: use Deflate.")
    if info.file_size > RATIO_FROM_BYTES and info.file_size > RATIO * info.compress_size:
        return EntryRefused("suspicious_ratio", SUSPICIOUS)
    return _refusal_of(info.filename, info.file_size, limits)


class _Forward(io.RawIOBase):
    """What a tar is read from, unpacked and counted; only ever forward, also where it is skipped."""

    def __init__(self, unpacked: IO[bytes], packed: IO[bytes], limits: Limits) -> None:
        self._unpacked, self._packed, self._limits = unpacked, packed, limits
        self._at = 0
        self._header_left = HEADER_BYTES
        self.in_header = True

    def begin_header(self) -> None:
        self._header_left, self.in_header = HEADER_BYTES, True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._at:
            raise ArchiveRefused("corrupt_archive", "Its entries are not in order.")
        while self._at < offset and self._take(min(READ_BYTES, offset - self._at)):
            pass
        return self._at

    def read(self, size: int = -1) -> bytes:
        if self.in_header:
            self._header_left -= size
            if size < 0 or self._header_left < 0:
                raise ArchiveRefused("corrupt_archive", f"A header in it has more than {HEADER_BYTES} bytes.")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        part = self._unpacked.read(size)
        self._at += len(part)
        if self._at > self._limits.total_bytes + self._limits.entries * HEADER_BYTES:
            raise _too_large(self._limits)
        if self._at > RATIO_FROM_BYTES and self._at > RATIO * self._packed.tell():
            raise ArchiveRefused("suspicious_ratio", SUSPICIOUS)
        return part


def _tar_entries(file: IO[bytes], kind: str, limits: Limits, start: int) -> Iterator[Entry]:
    unpacked: Any = gzip.GzipFile(fileobj=file) if kind == "tar.gz" else file
    source: Any = _Forward(unpacked, file, limits)
    with _reading():
        opened = tarfile.TarFile(fileobj=source, encoding="utf-8", errors="surrogateescape")
    number = 0
    total = 0
    while (info := _next(opened, source)) is not None:
        if number >= limits.entries:
            raise _too_many(limits)
        refusal = _refusal_of_tarred(info, limits)
        total += 0 if refusal else info.size
        if total > limits.total_bytes:
            raise _too_large(limits)
        if number >= start and not info.isdir():
            yield Entry(number, _told(info.name), refusal, partial(_tar_parts, opened, info, limits))
        number += 1


def _next(opened: tarfile.TarFile, source: _Forward) -> tarfile.TarInfo | None:
    source.begin_header()
    with _reading():
        try:
            return opened.next()
        finally:
            source.in_header = False


def _tar_parts(opened: tarfile.TarFile, info: tarfile.TarInfo, limits: Limits) -> Iterator[bytes]:
    with _reading():
        content = opened.extractfile(info)
        if content is None:
            raise _not_a_file()
        yield from _counted(content, limits)


def _refusal_of_tarred(info: tarfile.TarInfo, limits: Limits) -> EntryRefused | None:
    if not info.isreg() or info.issparse():
        return _not_a_file()
    return _refusal_of(info.name, info.size, limits)


def _counted(content: IO[bytes], limits: Limits) -> Iterator[bytes]:
    read = 0
    while part := content.read(READ_BYTES):
        read += len(part)
        if read > limits.entry_bytes:
            raise _entry_too_large(limits)
        yield part


def _refusal_of(name: str, size: int, limits: Limits) -> EntryRefused | None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or _DRIVE.match(name) or "\0" in name:
        return EntryRefused("unsafe_name", "Its name leads out of the archive: use a relative one.")
    if path.suffix.lower() in NESTED:
        return EntryRefused("nested_archive", "Archives within archives are not opened: send it by itself.")
    return _entry_too_large(limits) if size > limits.entry_bytes else None


def _is_litter(name: str) -> bool:
    """What macOS and Windows put beside the files that somebody packs."""
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name.startswith("._") or path.name in (".DS_Store", "Thumbs.db")


def _told(name: str) -> str:
    """The name in characters that can be stored and shown."""
    return name.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _not_a_file() -> EntryRefused:
    return EntryRefused("not_a_file", "It is no file but a link, a device or the like.")


def _entry_too_large(limits: Limits) -> EntryRefused:
    return EntryRefused("too_large", f"It has more than {limits.entry_bytes} bytes.")


def _too_large(limits: Limits) -> ArchiveRefused:
    return ArchiveRefused("archive_too_large", f"It unpacks to more than {limits.total_bytes} bytes.")


def _too_many(limits: Limits) -> ArchiveRefused:
    return ArchiveRefused("too_many_entries", f"It has more than {limits.entries} entries.")
