"""Archives become jobs: each member once, whoever is killed meanwhile."""

import os
import signal
import subprocess
import sys

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages

from jobs import lifecycle
from jobs.audio import keeping
from jobs.audio.keeping import keep
from jobs.audio.probe import ProbeError
from jobs.audio.received import InsufficientStorage, ReceivedFile
from jobs.batches import making, moves, unpacking
from jobs.batches.unpacking import open_next
from jobs.forgetting import erasure, files
from jobs.models import (
    ApiKey,
    Batch,
    BatchArchive,
    DailyUsage,
    Event,
    Project,
    Recording,
    RefusedItem,
    Removal,
    TranscriptionJob,
)
from tests.conditions import wait_until
from tests.environment import ROOT
from tests.jobs.batches.test_archives import packed, zipped
from tests.jobs.rows import ago, make_project
from tests.sandbox.sounds import wav

WAV = wav(0.5)
UNPACK_AND_DIE = """
import os, signal, django
django.setup()
from jobs.batches import unpacking
store, stored = unpacking._recording, []

def store_five(*about):
    stored.append(store(*about))
    if len(stored) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return stored[-1]

unpacking._recording = store_five
unpacking.open_next(lambda: False)
"""


def send(file, *, key=None, project=None):
    """A batch that was made of this archive, still to be opened."""
    project = key.project if key else project or make_project()
    batch = Batch(project=project, key=key, options={"model": "nova-3"})
    with ReceivedFile("calls.zip") as upload:
        upload.receive(file.getvalue())
        upload.complete()
        making.make_of_archive(batch, upload, sealed=True)
    return batch


def of(*names, content=WAV):
    return [(name, content) for name in names]


def open_all(stopping=lambda: False):
    while open_next(stopping):
        pass


def names(batch):
    jobs = TranscriptionJob.objects.filter(batch=batch).order_by("pk")
    return list(jobs.values_list("recording__filename", flat=True))


def refused(batch):
    return dict(RefusedItem.objects.filter(batch=batch).values_list("name", "code"))


def is_stored(batch):
    return storages["default"].exists(batch.archives.get().file)


def expire_lease():
    BatchArchive.objects.update(lease_until=ago(1))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_each_file_of_an_archive_is_a_job_or_is_refused(kind):
    batch = send(packed(kind, *of("a.wav", "below/b.wav"), ("letter.txt", b"Dear Sir"), ("../c.wav", WAV)))

    open_all()

    assert names(batch) == ["a.wav", "b.wav"]
    assert refused(batch) == {"letter.txt": "unsupported_media", "../c.wav": "unsafe_name"}
    jobs = TranscriptionJob.objects.filter(batch=batch)
    assert {(job.status, job.mode, job.duration) for job in jobs} == {("queued", "async", 0.5)}
    assert not is_stored(batch)
    assert BatchArchive.objects.get().opened_at


@pytest.mark.django_db(transaction=True)
def test_a_recording_longer_than_the_quota_is_refused_and_holds_up_no_other():
    project = Project.objects.create(name="limited", daily_minutes=1)
    batch = send(zipped(*of("long.wav", content=wav(61.0)), *of("a.wav")), project=project)

    open_all()

    assert names(batch) == ["a.wav"]
    assert refused(batch) == {"long.wav": "longer_than_quota"}
    assert Recording.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_with_the_quota_used_up_an_archive_waits_and_goes_on_where_it_was():
    project = Project.objects.create(name="limited", daily_minutes=1)
    batch = send(zipped(*of("a.wav", "b.wav", content=wav(40.0))), project=project)

    open_all()
    assert names(batch) == ["a.wav"]
    Project.objects.update(daily_minutes=2)
    BatchArchive.objects.update(lease_until=ago(1))
    open_all()

    assert names(batch) == ["a.wav", "b.wav"]
    assert refused(batch) == {}
    assert DailyUsage.objects.get().seconds == 80


@pytest.mark.django_db(transaction=True)
def test_an_archive_without_a_recording_finishes_its_batch():
    batch = send(zipped(("letter.txt", b"Dear Sir")))

    open_all()

    assert Event.objects.get(type="batch.completed").data["refused"] == 1
    assert Batch.objects.get(pk=batch.pk).finished_at


@pytest.mark.django_db(transaction=True)
def test_an_archive_that_cannot_be_read_on_is_refused_there_and_what_came_before_is_kept(settings):
    settings.BATCH_MAX_ITEMS = 2
    batch = send(packed("tar", *of("a.wav", "b.wav", "c.wav")))

    open_all()

    assert names(batch) == ["a.wav", "b.wav"]
    assert refused(batch) == {"calls.zip": "too_many_entries"}


@pytest.mark.django_db(transaction=True)
def test_an_archive_that_is_gone_is_told():
    batch = send(zipped(*of("a.wav")))
    storages["default"].delete(BatchArchive.objects.get().file)

    open_all()

    assert refused(batch) == {"calls.zip": "not_stored"}


@pytest.mark.django_db(transaction=True)
def test_who_is_stopping_gives_the_archive_back_where_it_is():
    batch = send(zipped(*of("a.wav", "b.wav", "c.wav")))
    answers = iter([False, False, True])

    assert open_next(lambda: next(answers))
    assert names(batch) == ["a.wav", "b.wav"]
    open_all()

    assert names(batch) == ["a.wav", "b.wav", "c.wav"]


@pytest.mark.django_db(transaction=True)
def test_an_archive_is_one_workers_at_a_time():
    send(zipped(*of("a.wav")))

    assert BatchArchive.objects.claim(60)
    assert BatchArchive.objects.claim(60) is None
    expire_lease()
    assert BatchArchive.objects.claim(60)


@pytest.mark.django_db(transaction=True)
def test_who_has_lost_the_lease_makes_no_job_and_leaves_the_recording_to_who_has_it(monkeypatch):
    batch = send(zipped(*of("a.wav")))

    def keep_and_lose(*arguments, **fields):
        recording = keep(*arguments, **fields)
        BatchArchive.objects.update(lease_token=None, lease_until=None)
        return recording

    monkeypatch.setattr(unpacking, "keep", keep_and_lose)
    assert open_next(lambda: False)
    assert names(batch) == []
    kept = Recording.objects.get()
    monkeypatch.undo()
    open_all()

    assert names(batch) == ["a.wav"]
    assert Recording.objects.get() == kept


@pytest.mark.django_db(transaction=True)
def test_who_loses_the_lease_to_nobody_keeps_no_recording(monkeypatch):
    batch = send(zipped(*of("a.wav")))

    def keep_and_lose(*arguments, **fields):
        recording = keep(*arguments, **fields)
        moves.cancel(batch)
        return recording

    monkeypatch.setattr(unpacking, "keep", keep_and_lose)
    open_all()

    assert names(batch) == []
    assert not Recording.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_archive_is_kept_while_one_member_takes_longer_than_its_lease(monkeypatch, settings):
    settings.HEARTBEAT_SECONDS = 0.05
    batch = send(zipped(*of("a.wav")))

    def leased_until():
        return BatchArchive.objects.get().lease_until

    def keep_slowly(*arguments, **fields):
        first = leased_until()
        wait_until(lambda: leased_until() > first, 30)
        return keep(*arguments, **fields)

    monkeypatch.setattr(unpacking, "keep", keep_slowly)
    open_all()

    assert names(batch) == ["a.wav"]


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_is_cancelled_meanwhile_gets_no_more_jobs(monkeypatch):
    batch = send(zipped(*of("a.wav", "b.wav", "c.wav")))
    take = unpacking._take

    def take_and_cancel(*arguments):
        take(*arguments)
        moves.cancel(batch)

    monkeypatch.setattr(unpacking, "_take", take_and_cancel)
    open_all()

    assert names(batch) == ["a.wav"]
    assert set(batch.jobs.values_list("status", flat=True)) == {"cancelled"}
    assert Event.objects.filter(type="batch.completed").count() == 1
    assert not is_stored(batch)


@pytest.mark.django_db(transaction=True)
def test_what_its_sender_stored_before_a_kill_is_removed_in_a_day(monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(BatchArchive, "save", die)
        with pytest.raises(Killed):
            send(zipped(*of("a.wav")))
    left = Removal.objects.get()
    assert files.remove_due() == 0
    assert storages["default"].exists(left.name)

    Removal.objects.update(due_at=ago(1))
    assert files.remove_due() == 1

    assert not storages["default"].exists(left.name)


@pytest.mark.django_db(transaction=True)
def test_what_its_opener_stored_before_a_kill_goes_when_it_is_cancelled():
    batch = send(zipped(*of("a.wav")))
    left = Recording.stored_name(batch.archives.get().recording_id)
    storages["default"].save(left, ContentFile(WAV))

    moves.cancel(batch)

    assert not is_stored(batch)
    assert not storages["default"].exists(left)
    assert not Removal.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_key_with_enough_open_jobs_gets_the_next_when_one_has_ended():
    key, _ = ApiKey.objects.issue(make_project(), "small", max_open_jobs=2)
    batch = send(zipped(*of("a.wav", "b.wav", "c.wav")), key=key)

    open_all()
    assert names(batch) == ["a.wav", "b.wav"]
    lifecycle.cancel(batch.jobs.first())
    expire_lease()
    open_all()

    assert names(batch) == ["a.wav", "b.wav", "c.wav"]
    assert Recording.objects.count() == 3
    assert refused(batch) == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "error",
    [ProbeError("probe_unavailable", "Try again."), InsufficientStorage(), OSError("the storage is away")],
    ids=["probe", "disk", "storage"],
)
def test_what_is_no_fault_of_the_archive_is_tried_again_however_often(monkeypatch, error):
    batch = send(zipped(*of("a.wav")))

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "probe", fail)
        for _ in range(unpacking.CLAIMS_AT_MOST + 1):
            assert open_next(lambda: False)
            assert not open_next(lambda: False)
            expire_lease()
    open_all()

    assert (names(batch), refused(batch)) == (["a.wav"], {})


@pytest.mark.django_db(transaction=True)
def test_nothing_is_unpacked_for_a_key_that_is_full(monkeypatch):
    key, _ = ApiKey.objects.issue(make_project(), "small", max_open_jobs=1)
    batch = send(zipped(*of("a.wav", "b.wav")), key=key)
    open_all()
    expire_lease()

    with monkeypatch.context() as patched:
        patched.setattr(unpacking, "entries", lambda *_: pytest.fail("It was opened."))
        open_all()

    assert names(batch) == ["a.wav"]
    assert refused(batch) == {}


@pytest.mark.django_db(transaction=True)
def test_an_archive_that_kills_whoever_opens_it_is_given_up():
    batch = send(zipped(*of("a.wav")))

    for _ in range(unpacking.CLAIMS_AT_MOST):
        assert BatchArchive.objects.claim(60)
        expire_lease()
    open_all()

    assert refused(batch) == {"calls.zip": "killed_its_worker"}
    assert Batch.objects.get(pk=batch.pk).finished_at


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_no_member_is_lost_or_doubled_when_processes_are_killed_in_the_middle(database_url, kind):
    wanted = [f"{n:02}.wav" for n in range(15)]
    batch = send(packed(kind, *of(*wanted)))
    environment = os.environ | {"DATABASE_URL": database_url}

    for done in (4, 8):
        child = subprocess.run([sys.executable, "-c", UNPACK_AND_DIE], cwd=ROOT, env=environment, check=False)
        assert (child.returncode, batch.jobs.count()) == (-signal.SIGKILL, done)
        expire_lease()
    open_all()

    assert names(batch) == wanted
    assert refused(batch) == {}
    # A recording that was stored before a kill was found again.
    assert Recording.objects.count() == len(wanted)
    stored = storages["default"].listdir("recordings")[1]
    assert {str(pk) for pk in Recording.objects.values_list("pk", flat=True)} <= set(stored)
    assert BatchArchive.objects.get().opened_at


@pytest.mark.django_db(transaction=True)
def test_of_a_deleted_project_no_archive_is_opened_or_left():
    batch = send(zipped(*of("a.wav")))
    file = batch.archives.get().file

    erasure.begin(batch.project)
    open_all()
    for _ in erasure.erase(batch.project):
        pass

    assert not storages["default"].exists(file)
    assert not Recording.objects.exists()
    assert not Batch.objects.exists()
