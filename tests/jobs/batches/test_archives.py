"""What strangers pack: which of it is read, and that none of it costs more than it may."""

import gzip
import io
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from jobs.batches import archives
from jobs.batches.archives import ArchiveRefused, EntryRefused, Limits, check, entries

MB = 1 << 20
LIMITS = Limits(entries=100, entry_bytes=4 * MB, total_bytes=10 * MB)
AUDIO = os.urandom(5000)


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as bundle:
        for name, content in members:
            bundle.writestr(name, content)
    return file


def tarred(*members, mode="w"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as bundle:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is not None:
                info.size = len(content)
            bundle.addfile(info, None if content is None else io.BytesIO(content))
    return file


def packed(kind, *members):
    return zipped(*members) if kind == "zip" else tarred(*members, mode="w:gz" if kind == "tar.gz" else "w")


def special(name, kind, linkname=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def read(file, limits=LIMITS, start=0):
    """By name: the content, or the code of the refusal; "" for why the archive could not be read on."""
    found = {}
    try:
        for entry in entries(file, limits, start):
            try:
                found[entry.name] = b"".join(entry.parts())
            except EntryRefused as refusal:
                found[entry.name] = refusal.code
    except ArchiveRefused as refusal:
        found[""] = refusal.code
    return found


KINDS = pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])


@KINDS
def test_files_are_read_wherever_they_lie_and_directories_are_none(kind):
    file = packed(kind, ("a.wav", AUDIO), ("below/b.wav", AUDIO[:512]), ("below/c.wav", b""))

    check(file, LIMITS)

    assert read(file) == {"a.wav": AUDIO, "below/b.wav": AUDIO[:512], "below/c.wav": b""}


@KINDS
def test_reading_goes_on_at_any_entry(kind):
    file = packed(kind, *[(f"{n}.wav", AUDIO) for n in range(5)])

    numbers = [entry.number for entry in entries(file, LIMITS, 3)]

    assert numbers == [3, 4]
    assert read(file, start=3) == {"3.wav": AUDIO, "4.wav": AUDIO}
    assert read(file, start=5) == {}


@KINDS
def test_entries_that_are_not_read_are_stepped_over(kind):
    file = packed(kind, *[(f"{n}.wav", AUDIO) for n in range(3)])

    assert [entry.name for entry in entries(file, LIMITS)] == ["0.wav", "1.wav", "2.wav"]


@KINDS
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("/etc/passwd.wav", "unsafe_name"),
        ("../a.wav", "unsafe_name"),
        ("a/../../b.wav", "unsafe_name"),
        ("..\\a.wav", "unsafe_name"),
        ("\\\\server\\a.wav", "unsafe_name"),
        ("C:\\a.wav", "unsafe_name"),
        ("inner.zip", "nested_archive"),
        ("inner.TAR.GZ", "nested_archive"),
        ("inner.7z", "nested_archive"),
    ],
)
def test_names_that_lead_elsewhere_and_archives_within_are_refused_by_themselves(kind, name, code):
    found = read(packed(kind, (name, AUDIO), ("good.wav", AUDIO)))

    # zipfile drops what makes some of these names absolute.
    assert found.pop("good.wav") == AUDIO
    assert list(found.values()) == [code]


@KINDS
@pytest.mark.parametrize("name", ["__MACOSX/._a.wav", "._a.wav", "x/.DS_Store", "Thumbs.db"])
def test_what_file_managers_add_is_left_out(kind, name):
    assert read(packed(kind, (name, AUDIO), ("a.wav", AUDIO))) == {"a.wav": AUDIO}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_links_and_devices_in_a_tar_are_refused(kind, mode):
    file = tarred((special("x.wav", kind, "/etc/passwd"), None), ("a.wav", AUDIO), mode=mode)

    assert read(file) == {"x.wav": "not_a_file", "a.wav": AUDIO}


def test_links_in_a_zip_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        link = zipfile.ZipInfo("x.wav")
        link.external_attr = 0o120777 << 16
        bundle.writestr(link, "/etc/passwd")

    assert read(file) == {"x.wav": "not_a_file"}


def test_a_sparse_file_is_refused():
    header = tarfile.TarInfo("x.wav")
    header.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 40)}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as bundle:
        header.size = 1
        bundle.addfile(header, io.BytesIO(b"x"))

    assert read(file) == {"x.wav": "not_a_file"}


def test_encrypted_entries_are_refused():
    content = bytearray(zipped(("x.wav", AUDIO)).getvalue())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1

    assert read(io.BytesIO(bytes(content))) == {"x.wav": "encrypted"}


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compressions_whose_memory_the_sender_chooses_are_refused(method):
    assert read(zipped(("x.wav", AUDIO), method=method)) == {"x.wav": "unsupported_compression"}


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"RIFF" + bytes(100), b"PK\x05", gzip.compress(AUDIO), b"\x1f\x8b" + bytes(20), bytes(1024)],
)
def test_what_is_no_archive_is_refused_as_such(content):
    with pytest.raises(ArchiveRefused) as refused:
        check(io.BytesIO(content), LIMITS)

    assert refused.value.code == "unsupported_archive"


# Bombs


def bomb_of_one_entry():
    return zipped(("bomb.wav", bytes(200 * MB)))


def bomb_of_many_entries():
    return zipped(*[(f"{n}.wav", bytes(3 * MB)) for n in range(50)])


def quine_of_overlapping_entries():
    """Many directory entries that share the bytes of one compressed file."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = kernel.compress(bytes(3 * MB)) + kernel.flush()
    crc = zlib.crc32(bytes(3 * MB))
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(data), 3 * MB, 1, 0) + b"a"
    directory = b"".join(
        struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(data), 3 * MB, 1, 0, 0, 0, 0, 0, 0
        )
        + b"a"
        for _ in range(90)
    )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 90, 90, len(directory), len(local) + len(data), 0)
    return io.BytesIO(local + data + directory + end)


def lying_size():
    """An entry that declares a thousandth of what it unpacks to."""
    content = bytearray(zipped(("x.wav", bytes(30 * MB))).getvalue())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", content, content.index(signature) + at, 1000)
    return io.BytesIO(bytes(content))


def many_entries():
    return zipped(*[(f"{n}", b"") for n in range(101)])


def huge_directory():
    """A directory that claims to have half a gigabyte."""
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 1 << 29, 4, 0)
    return io.BytesIO(b"PK\x03\x04" + bytes(1 << 29) + end)


def huge_directory_of_zip64():
    """Four gigabytes of directory, by the fields of 64 bits."""
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 1 << 32, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 4, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return io.BytesIO(b"PK\x03\x04" + end64 + locator + end)


def tar_of_zeros():
    return tarred(("bomb.wav", bytes(200 * MB)), mode="w:gz")


def tar_of_many():
    return tarred(*[(f"{n}.wav", bytes(3 * MB)) for n in range(50)], mode="w:gz")


def _pax(size):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, size
    return header.tobuf(tarfile.USTAR_FORMAT)


def tar_header_of_a_gigabyte():
    return io.BytesIO(gzip.compress(_pax(1 << 30) + bytes(64 * MB)))


def tar_long_name_of_a_gigabyte():
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return io.BytesIO(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(64 * MB)))


def tar_of_headers_in_headers():
    record = b"30 mtime=1350244992.0239607000\n"[:30]
    one = _pax(len(record)) + record.ljust(512, b"\0")
    return io.BytesIO(gzip.compress(one * 5000))


def tar_of_sparse_maps():
    """A header that goes on for as long as the stream does."""
    first = bytearray(special("x", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    first[482] = 1
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    block = (b"00000000001\0" * 42).ljust(512, b"\1")
    return io.BytesIO(gzip.compress(bytes(first) + block * 20000))


def tar_of_negative_size():
    header = bytearray(tarfile.TarInfo("x.wav").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xec\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return io.BytesIO(bytes(header) * 4)


BOMBS = [
    (bomb_of_one_entry, {"": "archive_too_large"}),
    (bomb_of_many_entries, {"": "archive_too_large"}),
    (quine_of_overlapping_entries, {"": "archive_too_large"}),
    (lying_size, {"x.wav": "corrupt_entry"}),
    (many_entries, {"": "too_many_entries"}),
    (huge_directory, {"": "too_many_entries"}),
    (huge_directory_of_zip64, {"": "corrupt_archive"}),
    (tar_of_zeros, {"bomb.wav": "too_large", "": "archive_too_large"}),
    (tar_header_of_a_gigabyte, {"": "corrupt_archive"}),
    (tar_long_name_of_a_gigabyte, {"": "corrupt_archive"}),
    (tar_of_headers_in_headers, {"": "corrupt_archive"}),
    (tar_of_sparse_maps, {"": "corrupt_archive"}),
    (tar_of_negative_size, {"x.wav": b"", "": "corrupt_archive"}),
]


@pytest.mark.parametrize(("bomb", "found"), BOMBS, ids=[bomb.__name__ for bomb, _ in BOMBS])
def test_a_bomb_is_told_from_an_archive_in_little_memory(bomb, found):
    file = bomb()
    tracemalloc.start()
    try:
        assert read(file) == found
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 20 * MB


def test_what_came_before_the_limit_stays_good():
    found = read(tar_of_many())

    assert found.pop("") == "archive_too_large"
    assert list(found) == ["0.wav", "1.wav", "2.wav"]


def test_a_tar_tells_only_as_it_goes_how_many_entries_it_has():
    found = read(tarred(*[(str(n), b"") for n in range(101)]))

    assert found.pop("") == "too_many_entries"
    assert len(found) == 100


@pytest.mark.parametrize("pack", [zipped, lambda *members: tarred(*members, mode="w:gz")])
def test_a_ratio_that_no_recording_has_is_refused(pack, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FROM_BYTES", MB)
    generous = Limits(entries=10, entry_bytes=100 * MB, total_bytes=1000 * MB)

    found = read(pack(("silence.wav", bytes(20 * MB))), generous)

    assert "suspicious_ratio" in found.values()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_entry_that_is_too_large_is_refused_by_itself(kind):
    noise = os.urandom(4 * MB + 1)

    assert read(packed(kind, ("large.wav", noise), ("a.wav", AUDIO))) == {
        "large.wav": "too_large",
        "a.wav": AUDIO,
    }


@KINDS
def test_whatever_is_damaged_is_refused_and_never_an_error_of_another_kind(kind):
    whole = packed(kind, *[(f"{n}.wav", AUDIO) for n in range(3)]).getvalue()
    chance = random.Random(3)  # noqa: S311 (the same damage each time)
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        cut = chance.choice([len(content), chance.randrange(len(content))])

        read(io.BytesIO(bytes(content[:cut])))
