"""S3: whatever is sent as a recording, reading it harms nobody but the child that reads it.

Mutants of every format, playlists, bombs and liars; the seeds are fixed, so that a finding can be repeated.
"""

import math
import os
import random
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from jobs.api.errors import exception_handler
from jobs.audio.probe import CONCURRENT_PROBES, ProbeError, probe
from jobs.audio.probe_server import MEMORY_BYTES, WALL_SECONDS
from tests.jobs.audio.test_probe import server_process
from tests.jobs.media import FORMATS, MANIFESTS, recording, write_wav
from tests.listener import counting_listener

EXTREMES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x01",
    b"\x80\0\0\0",
)


@dataclass
class Findings:
    """What came of the files: how many, the answers by code, the slowest with its number, and the largest."""

    answers: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, 0)
    largest_bytes: int = 0

    @property
    def count(self) -> int:
        return self.answers.total()


def mutants(
    original: bytes, others: list[bytes], lures: list[bytes], count: int, seed: str
) -> Iterator[bytes]:
    """Damaged, cut, doubled, mixed with other formats, with fields at their extremes or a lure inside."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def place(size: int) -> int:
        """Most often where the headers are."""
        return int(size * chance.random() ** chance.choice((1, 4)))

    for _ in range(count):
        mutant = bytearray(original)
        for _ in range(chance.choice((1, 1, 4, 40))):
            at = place(len(mutant))
            match chance.randrange(8):
                case 0 | 1 | 2:
                    mutant[at] = chance.choice((0, 0x7F, 0xFF, chance.randrange(256)))
                case 3 | 4:
                    mutant[at : at + 4] = chance.choice(EXTREMES)
                case 5:
                    end = at + chance.randrange(1, 512)
                    mutant[at:at] = mutant[at:end]
                case 6:
                    other = chance.choice(others)
                    begin = place(len(other))
                    mutant[at : at + 64] = other[begin : begin + chance.choice((16, 64, 1024))]
                case 7:
                    mutant[at:at] = chance.choice(lures)
        yield bytes(mutant[: chance.choice((len(mutant), chance.randrange(1, len(mutant) + 1)))])


def of_all_formats(folder: Path, lures: list[bytes], count: int) -> Iterator[bytes]:
    originals = {name: recording(folder, name).read_bytes() for name in FORMATS}
    for name, original in originals.items():
        yield from mutants(original, [*originals.values()], lures, count, seed=name)


def of_manifests(manifests: list[bytes], count: int) -> Iterator[bytes]:
    """Playlists, and mutants of them that still name what they name."""
    for number, manifest in enumerate(manifests):
        yield manifest
        yield b"ID3\x04\0\0\0\0\0\0" + manifest
        chance = random.Random(number)  # noqa: S311
        for _ in range(count):
            lines = manifest.splitlines(keepends=True)
            lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
            if chance.random() < 0.5:
                lines.pop(chance.randrange(len(lines)))
            yield b"".join(lines)


def with_count(content: bytes, atom: bytes, after: int, claimed: int) -> bytes:
    """An MP4 whose table `atom` claims that many entries."""
    at = content.index(atom) + 4 + after
    return content[:at] + struct.pack(">I", claimed) + content[at + 4 :]


def compressed_tag(declared: int) -> bytes:
    """An ID3v2.4 tag with one compressed frame: 200 MB of zeros in 200 kB."""
    packed = zlib.compress(bytes(200 << 20), 9)

    def seven_bits(number: int) -> bytes:
        return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))

    frame = b"TXXX" + seven_bits(len(packed) + 4) + b"\0\x09" + seven_bits(declared) + packed
    return b"ID3\x04\0\0" + seven_bits(len(frame)) + frame


def of_bombs(folder: Path) -> Iterator[bytes]:
    """Little that claims, or unpacks to, much."""
    movie = recording(folder, "m4a").read_bytes()
    for atom, after in [(b"stsz", 8), (b"stts", 4), (b"stsc", 4), (b"stco", 4), (b"elst", 4), (b"dref", 4)]:
        for claimed in (0xFFFFFFFF, 0x7FFFFFFF, 0x0FFFFFFF):
            yield with_count(movie, atom, after, claimed)
    yield movie[:32] + b"".join(struct.pack(">I4s", 1 << 24, b"moov") for _ in range(100_000))
    yield movie[:32] + b"".join(struct.pack(">I4s", 8, b"trak") for _ in range(200_000))
    mp3 = recording(folder, "mp3").read_bytes()
    yield compressed_tag(200 << 20) + mp3
    yield compressed_tag(0x0FFFFFFF) + mp3
    yield b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + mp3
    yield b"RIFF\xff\xff\xff\xffWAVE" + b"junk\0\0\0\0" * 200_000
    yield b"fLaC" + b"\x04\xff\xff\xff" + bytes(1 << 20)
    yield b"OggS" + bytes(22) + b"\xff" + b"\xff" * 255 + bytes(1 << 16)
    yield b"\x1a\x45\xdf\xa3" + b"\x01" + b"\xff" * 7 + bytes(1 << 16)
    yield b"caff\0\x01\0\0" + (b"info" + struct.pack(">q", 1 << 62)) * 1000
    for claimed in (0, 0xFFFF):
        sound = bytearray(write_wav(folder / "liar").read_bytes())
        sound[22:24] = struct.pack("<H", claimed)
        sound[20:22] = b"\x02\0"  # ADPCM, which is FFmpeg's to read
        yield bytes(sound)


def of_long_recordings(folder: Path) -> Iterator[bytes]:
    """Hours in megabytes: honest ones."""
    for name, seconds in [("flac", 10 * 3600.0), ("ogg", 3600.0)]:
        yield recording(folder, name, seconds=seconds, silent=True).read_bytes()
    magic, frame = b"#!AMR\n", b"\x3c" + bytes(31)
    yield magic + frame * (23 * 3600 * 50)


class Watcher(threading.Thread):
    """Notes the most memory that any child of the fork server has held."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.server = server_process()
        self.done = threading.Event()
        self.largest_bytes = 0

    def run(self) -> None:
        while not self.done.wait(0.02):
            with suppress(psutil.Error):
                for child in self.server.children():
                    with suppress(psutil.Error):
                        self.largest_bytes = max(self.largest_bytes, child.memory_info().rss)


def read_all(files: Iterable[bytes], folder: Path) -> Findings:
    """Probe each. AssertionError, and the file kept, if it is answered by anything but a refusal."""
    findings = Findings()

    def read(number: int, content: bytes) -> None:
        path = folder / f"{number}.wav"
        path.write_bytes(content)
        began = time.monotonic()
        try:
            found = probe(path)
        except ProbeError as error:
            code, status = error.code, exception_handler(error, {}).status_code
            assert 400 <= status < 500, f"{path}: {code}"
        else:
            code = "measured"
            assert found.channels > 0, path
            assert math.isfinite(found.duration), path
        findings.answers[code] += 1
        findings.slowest = max(findings.slowest, (time.monotonic() - began, number))
        path.unlink()

    probe(recording(folder, "flac"))
    before, watcher = server_process(), Watcher()
    watcher.start()
    with ThreadPoolExecutor(CONCURRENT_PROBES - 1) as pool:
        waiting: list[object] = []
        for number, content in enumerate(files):
            waiting.append(pool.submit(read, number, content))
            if len(waiting) == 200:
                for each in waiting:
                    each.result()
                waiting.clear()
        for each in waiting:
            each.result()
    watcher.done.set()
    watcher.join()
    findings.largest_bytes = watcher.largest_bytes
    assert server_process() == before, "the fork server died"
    return findings


NEVER = 0


def make_unread(path: Path) -> Path:
    """Have the file system note the next reading (relatime does: the last was before the last change)."""
    os.utime(path, (NEVER, time.time()))
    return path


MUTANTS_OF_EACH = [
    pytest.param(24, id="small"),
    pytest.param(1_500, id="full", marks=[pytest.mark.full_load, pytest.mark.timeout(3600)]),
]


@pytest.mark.parametrize("of_each", MUTANTS_OF_EACH)
def test_s3_no_file_harms_more_than_the_child_that_reads_it(
    of_each: int, tmp_path: Path, tell: Callable[..., None]
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    neighbour = make_unread(recording(tmp_path, "flac").rename(tmp_path / "neighbour.flac"))

    with counting_listener() as (port, connections):
        url = f"http://127.0.0.1:{port}/internal.ts"
        named = (url, f"file://{neighbour}", f"tcp://127.0.0.1:{port}", f"concat:{neighbour}|{url}")
        manifests = [
            text.format(url=each, port=port, neighbour=neighbour).encode()
            for text in MANIFESTS.values()
            for each in named
        ]
        lures = [*(each.encode() for each in named), *manifests]

        def files() -> Iterator[bytes]:
            yield from of_all_formats(tmp_path, lures, of_each)
            yield from of_manifests(manifests, of_each // 4)
            yield from of_bombs(tmp_path)
            if of_each > 1000:
                yield from of_long_recordings(tmp_path)

        found = read_all(files(), folder)

        assert connections() == 0
    assert neighbour.stat().st_atime == NEVER
    neighbour.read_bytes()
    assert neighbour.stat().st_atime != NEVER, "this file system notes no reading: nothing was proven"
    # By then the child is killed, and that takes a moment.
    assert found.slowest[0] < WALL_SECONDS + 1, f"number {found.slowest[1]} of {found.count}"
    assert found.largest_bytes <= MEMORY_BYTES
    assert found.answers["measured"] > 0
    assert found.answers["corrupt_media"] > 0
    tell(
        "S3",
        files=found.count,
        slowest=round(found.slowest[0], 2),
        largest_mb=found.largest_bytes >> 20,
        **found.answers,
    )
