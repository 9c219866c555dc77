"""The ZIP of a batch: whole, and no larger in memory than one transcript."""

import csv
import io
import tracemalloc
import zipfile

import pytest
from django.utils import timezone

from jobs.batches.export import export
from jobs.models import Batch, Recording, Status, Transcript, TranscriptionJob
from tests.jobs.rows import build_job, make_project, make_recording

pytestmark = pytest.mark.django_db(transaction=True)

MB = 1 << 20
WORDS = [
    {"word": f"word{n}", "text": f"word{n}", "start": n / 2, "end": n / 2 + 0.4, "confidence": 0.9}
    | {"speaker": 0, "channel": 0}
    for n in range(500)
]


def make_batch(count, filename="call.wav", words=WORDS):
    project = make_project()
    batch = Batch.objects.create(project=project, sealed_at=timezone.now())
    recording = make_recording(project)
    Recording.objects.update(filename=filename)
    jobs = TranscriptionJob.objects.bulk_create(
        [
            build_job(Status.COMPLETED, project=project, batch=batch, recording=recording, url="")
            for _ in range(count)
        ]
    )
    Transcript.objects.bulk_create(
        [Transcript(job=job, run=1, version=1, text="Hello.", words=words) for job in jobs], batch_size=100
    )
    return batch


def test_a_hundred_jobs_are_exported_in_the_memory_of_one():
    batch = make_batch(100)
    received = largest = 0
    tracemalloc.start()
    try:
        for part in export(batch, ["json", "txt"]):
            received += len(part)
            largest = max(largest, len(part))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert received > 0.4 * MB
    assert largest < MB
    # The words of one take half of one; 200 entries are remembered for the ZIP's directory.
    assert peak < 5 * MB


@pytest.mark.parametrize(
    "filename",
    ["../../etc/passwd", "C:\\a.wav", "CON", "a/b.wav", ".htaccess", "\u202egnp.wav", "é" * 200, ""],
)
def test_names_are_harmless_and_no_two_are_the_same(filename):
    batch = make_batch(3, filename, WORDS[:2])

    bundle = zipfile.ZipFile(io.BytesIO(b"".join(export(batch, ["txt"]))))

    names = bundle.namelist()
    assert len(set(names)) == len(names) == 4
    for name in names:
        assert not set("/\\:\u202e") & set(name)
        assert name[0].isalnum()
        assert len(name) < 100
    assert bundle.testzip() is None


def test_the_latest_version_is_exported():
    batch = make_batch(1, words=[])
    job = batch.jobs.get()
    Transcript.objects.create(job=job, run=2, version=2, text="Corrected.")

    bundle = zipfile.ZipFile(io.BytesIO(b"".join(export(batch, ["txt"]))))

    assert bundle.read("00001-call.txt") == b"Corrected.\n"


def test_who_goes_away_leaves_nothing_open():
    response = export(make_batch(3), ["txt"])
    next(iter(response))

    response.close()

    assert not list(response)


def test_the_manifest_tells_what_is_in_the_bundle_whatever_happens_while_it_is_read():
    batch = make_batch(3, words=WORDS[:2])
    without = batch.jobs.order_by("pk").last()
    without.transcripts.all().delete()

    parts = iter(export(batch, ["txt"]))
    sent = next(parts)
    batch.jobs.order_by("pk").first().delete()
    bundle = zipfile.ZipFile(io.BytesIO(sent + b"".join(parts)))

    manifest = csv.DictReader(io.StringIO(bundle.read("manifest.csv").decode("utf-8-sig")))
    assert [row["file"] for row in manifest] == ["00001-call", "00002-call", ""]
    assert bundle.namelist() == ["00001-call.txt", "00002-call.txt", "manifest.csv"]
    assert all(entry.date_time[0] > 1980 for entry in bundle.infolist())
