"""Recordings of live sessions: what was kept of the audio becomes a job, also after a kill."""

import io
import wave
from pathlib import Path

import pytest
from django.core.files.storage import storages

from jobs.forgetting import erasure
from jobs.models import Chore, Project, Recording, Status, TranscriptionJob
from streaming import aftercare, lifecycle, recorded
from streaming.database import in_database
from streaming.models import AudioPart, Happening, LiveSession
from streaming.recorded import Tape
from tests.streaming.factories import end, live
from transcribe_project.storage_url import storage_at

PCM = {"encoding": "linear16", "sample_rate": "16000", "model": "nova-3"}


def recording(project: Project, **options) -> LiveSession:
    return live(project, record=True, resumable=True, options=PCM | options)


def kept(session: LiveSession, offset: int, data: bytes) -> None:
    """Its relay of now has kept this."""
    part = AudioPart(session=session, epoch=session.epoch, offset=offset, size=len(data))
    recorded.keep(part, data)


def parts() -> list[tuple[int, int]]:
    return list(AudioPart.objects.values_list("offset", "size"))


def ended(session: LiveSession) -> LiveSession:
    end(session)
    aftercare.sweep(lambda: False)  # makes the chore known
    aftercare.sweep(lambda: False)
    session.refresh_from_db()
    return session


def stored_of(session: LiveSession) -> bytes:
    with storages["default"].open(session.recording.file.name) as file:
        return file.read()


def samples(session: LiveSession) -> bytes:
    with wave.open(io.BytesIO(stored_of(session))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        return file.readframes(file.getnframes())


@pytest.fixture(autouse=True)
def media(settings, tmp_path) -> Path:
    """Where all is stored that the test stores."""
    settings.STORAGES = settings.STORAGES | {"default": storage_at("", tmp_path / "media")}
    return tmp_path / "media"


@pytest.fixture
def left_over(media, transactional_db):
    """The names of the parts that are still stored."""
    return lambda: [path for path in (media / "live").rglob("*") if path.is_file()]


def test_what_was_kept_becomes_a_recording_and_a_job(project, left_over):
    session = recording(project, punctuate="true", interim_results="true", endpointing="300")
    kept(session, 0, b"\1\0" * 8000)
    kept(session, 16_000, b"\2\0" * 8000)

    ended(session)

    assert samples(session) == b"\1\0" * 8000 + b"\2\0" * 8000
    assert session.recording.duration == 1.0
    job = session.job
    assert (job.status, job.mode, job.metadata) == (Status.QUEUED, "async", {"stream": str(session.pk)})
    assert (job.options["model"], job.options["punctuate"]) == ("nova-3", True)
    assert not job.options.keys() & {"interim_results", "endpointing", "encoding", "sample_rate"}
    assert not AudioPart.objects.exists()
    assert left_over() == []


def test_a_session_that_is_open_or_not_recorded_has_no_recording(project):
    not_recorded = live(project, options=PCM)
    still_open = recording(project)
    kept(still_open, 0, bytes(3200))

    ended(not_recorded)

    assert not Recording.objects.exists()
    assert AudioPart.objects.count() == 1


def test_audio_that_was_sent_again_after_a_resume_is_there_once(project):
    session, token = lifecycle.open_session(project, options=PCM, tags=[], record=True, resumable=True)
    kept(session, 0, b"\1\0" * 100)
    kept(session, 200, b"\2\0" * 100)
    resumed = lifecycle.resume(token, 0).session
    kept(resumed, 300, b"\3\0" * 100)
    # The old relay, which has not noticed yet.
    kept(session, 400, b"\4\0" * 100)

    ended(resumed)

    assert samples(resumed) == b"\1\0" * 100 + b"\2\0" * 50 + b"\3\0" * 100


def test_of_several_resumes_each_replaces_what_was_kept_from_there_on(project):
    session, token = lifecycle.open_session(project, options=PCM, tags=[], record=True, resumable=True)
    kept(session, 0, b"\1\0" * 100)
    second = lifecycle.resume(token, 0).session
    kept(second, 150, b"\2\0" * 100)
    third = lifecycle.resume(token, 0).session
    kept(third, 100, b"\3\0" * 10)

    ended(third)

    assert samples(third) == b"\1\0" * 50 + b"\3\0" * 10


def test_audio_that_nobody_kept_is_silence(project):
    session, token = lifecycle.open_session(project, options=PCM, tags=[], record=True, resumable=True)
    kept(session, 0, b"\1\0" * 100)
    resumed = lifecycle.resume(token, 0).session
    kept(resumed, 200_000, b"\2\0" * 100)

    ended(resumed)

    assert samples(resumed) == b"\1\0" * 100 + bytes(199_800) + b"\2\0" * 100


@pytest.mark.parametrize(
    ("encoding", "codec", "sample"),
    [
        ("mulaw", "pcm_mulaw", b"\xff"),
        ("alaw", "pcm_alaw", b"\xd5"),
        # Deepgram's are floating-point.
        ("linear32", "pcm_f32le", bytes(4)),
    ],
)
def test_other_samples_are_kept_as_they_came(project, encoding, codec, sample):
    session = recording(project, encoding=encoding, sample_rate="8000")
    kept(session, 0, sample * 8000)

    ended(session)

    assert (session.recording.codec, session.recording.duration) == (codec, 1.0)
    assert stored_of(session).endswith(sample * 8000)


def test_a_container_is_kept_byte_for_byte(project):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 8000, 0, "NONE", ""))
        writer.writeframes(bytes(16_000))
    data = file.getvalue()
    session = live(project, record=True, options={"model": "nova-3"})
    kept(session, 0, data[:5000])
    kept(session, 5000, data[5000:])

    ended(session)

    assert stored_of(session) == data


@pytest.mark.parametrize("case", ["nothing", "no audio", "no region"])
def test_why_there_is_no_recording_is_told(project, case, left_over):
    session = live(project, record=True, options={})
    expected = {
        "nothing": "nothing_kept",
        "no audio": "unsupported_media",
        "no region": "region_outside_residency",
    }
    if case == "no audio":
        kept(session, 0, b"this is text")
    if case == "no region":
        session = recording(project)
        kept(session, 0, bytes(3200))
        Project.objects.update(residency=["elsewhere"])

    ended(session)

    assert session.job is None
    entry = session.timeline.get(type=Happening.NOT_RECORDED)
    assert entry.details == {"code": expected[case]}
    assert not Recording.objects.exists()
    assert left_over() == []


@pytest.mark.parametrize("killed_after", ["recording", "job"])
def test_making_it_again_after_a_kill_comes_to_the_same(project, killed_after, monkeypatch):
    session = recording(project)
    kept(session, 0, bytes(3200))
    end(session)

    def kill(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(recorded, "_finish" if killed_after == "job" else "recording_options", kill)
        with pytest.raises(SystemExit):
            recorded.make_recording(session)
    recorded.make_recording(session)

    session.refresh_from_db()
    assert Recording.objects.get() == session.recording
    assert TranscriptionJob.objects.get() == session.job


def test_one_process_at_a_time_puts_recordings_together(project):
    session = recording(project)
    kept(session, 0, bytes(3200))
    end(session)
    recorded.make_recordings(lambda: False)
    assert Chore.objects.claim(recorded.CHORE, 60)

    recorded.make_recordings(lambda: False)

    assert not TranscriptionJob.objects.exists()


def test_what_is_kept_after_the_end_is_dropped(project, left_over):
    session = recording(project)
    kept(session, 0, bytes(3200))
    ended(session)

    kept(session, 3200, bytes(3200))

    assert not AudioPart.objects.exists()
    assert left_over() == []


def test_parts_go_with_their_session_and_with_their_project(project, left_over):
    deleted, erased = recording(project), recording(Project.objects.create(name="Old"))
    kept(deleted, 0, bytes(3200))
    kept(erased, 0, bytes(3200))

    aftercare.delete(deleted)
    assert len(left_over()) == 1

    erasure.begin(erased.project)
    list(erasure.erase(erased.project))
    assert left_over() == []


def test_the_audio_of_a_deleted_project_is_sent_nowhere(project):
    session = recording(project)
    kept(session, 0, bytes(3200))
    erasure.begin(project)

    aftercare.sweep(lambda: False)  # makes the chore known
    aftercare.sweep(lambda: False)

    assert not Recording.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_a_part_whose_session_is_deleted_while_it_is_stored_nothing_stays(project, left_over, late):
    session = recording(project)
    late(lambda: aftercare.delete(session))

    kept(session, 0, bytes(3200))

    assert left_over() == []


@pytest.mark.django_db(transaction=True)
def test_a_part_whose_session_is_deleted_before_its_row_is_there_is_dropped(project, left_over, monkeypatch):
    session = recording(project)
    insert = recorded.AudioPart.objects.bulk_create

    def insert_late(*arguments, **named):
        aftercare.delete(session)
        return insert(*arguments, **named)

    monkeypatch.setattr(recorded.AudioPart.objects, "bulk_create", insert_late)

    kept(session, 0, bytes(3200))

    assert left_over() == []


def test_a_session_is_deleted_with_its_recording_and_job(project):
    session = recording(project)
    kept(session, 0, bytes(3200))
    ended(session)

    aftercare.delete(session)

    assert not TranscriptionJob.objects.exists()
    assert not Recording.objects.exists()


@pytest.mark.django_db(transaction=True)
async def test_a_tape_keeps_what_came_in_parts_that_follow_each_other(project):
    session = await in_database(recording, project)
    tape = Tape(session.pk, session.epoch, 50)

    await tape.keep()
    for data in (b"ab", b"cd"):
        tape.add(data)
    await tape.keep()
    tape.add(b"ef")
    await tape.keep()

    assert await in_database(parts) == [(50, 4), (54, 2)]


@pytest.mark.django_db(transaction=True)
async def test_what_storage_does_not_take_is_kept_later(project, media):
    session = await in_database(recording, project)
    tape = Tape(session.pk, session.epoch)
    tape.add(b"ab")
    media.mkdir()
    in_the_way = media / "live"
    in_the_way.touch()
    with pytest.raises(OSError):
        await tape.keep()
    in_the_way.unlink()
    tape.add(b"cd")

    await tape.keep()

    assert [path.read_bytes() for path in media.rglob("*-0")] == [b"abcd"]
    assert await in_database(parts) == [(0, 4)]


def test_a_tape_that_cannot_be_kept_gives_up_the_oldest(project, monkeypatch):
    monkeypatch.setattr(recorded, "MOST_KEPT_BACK", 4)
    tape = Tape(project.pk, 1)

    tape.add(b"abc")
    tape.add(b"def")

    assert (bytes(tape._data), tape._offset) == (b"cdef", 2)
