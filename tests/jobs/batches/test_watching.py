"""Files that come into a folder or a bucket become jobs, each once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage, storages
from django.core.management import CommandError, call_command

from jobs import quotas
from jobs.audio.keeping import keep
from jobs.audio.received import ReceivedFile
from jobs.batches import watching
from jobs.batches.watching import Watch
from jobs.ids import uuid7
from jobs.intake import Order
from jobs.models import ApiKey, Batch, DailyUsage, Recording, Status, TranscriptionJob
from jobs.transcripts.options import DEFAULTS
from tests.conditions import wait_until
from tests.environment import ROOT
from tests.jobs.api.conftest import run_queued
from tests.jobs.rows import make_project
from tests.sandbox.sounds import wav
from transcribe_project.storage_url import storage_at

pytestmark = pytest.mark.django_db(transaction=True)

WAV = wav(0.5)


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def watch(folder, project):
    """Makes a watch of the folder, as after a start."""

    def make(place=str(folder), storage=None, **fields):
        said = []
        order = Order(project=project, options=dict(DEFAULTS), mode="async", **fields.pop("asked", {}))
        made = Watch(
            storage or storages.create_storage(storage_at("", folder)),
            place,
            order,
            tell=said.append,
            **fields,
        )
        made.said = said
        return made

    return make


def put(folder, name, content=WAV):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names():
    return sorted(TranscriptionJob.objects.values_list("recording__filename", flat=True))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_is_taken_once_it_stands_still(watch, folder):
    path = put(folder, "a.wav", WAV[:100])
    watching_it = watch()
    assert (watching_it.look(), names()) == (1, [])
    path.write_bytes(WAV)
    assert (watching_it.look(), names()) == (1, [])

    assert (watching_it.look(), names()) == (0, ["a.wav"])

    assert files(folder) == ["done/a.wav"]
    assert TranscriptionJob.objects.get().duration == 0.5


def test_folders_within_are_looked_into_and_results_are_not(watch, folder):
    for name in ("b.wav", "team/a.wav", ".hidden.wav", ".parts/x.wav", "done/old.wav", "refused/old.wav"):
        put(folder, name)
    one = watch()

    assert [one.look(), one.look()] == [2, 0]

    assert names() == ["a.wav", "b.wav"]
    assert "done/team/a.wav" in files(folder)


def test_links_are_not_followed(watch, folder, tmp_path):
    secret = put(tmp_path, "secret.wav")
    (folder / "x.wav").symlink_to(secret)
    (folder / "y").symlink_to(tmp_path)
    one = watch()

    assert [one.look(), one.look()] == [0, 0]

    assert names() == []


def test_what_is_no_audio_is_put_aside_with_the_reason(watch, folder):
    put(folder, "letter.wav", b"Dear Sir")
    one = watch()

    assert [one.look(), one.look()] == [1, 0]

    assert files(folder) == ["refused/letter.wav", "refused/letter.wav.txt"]
    assert "unsupported_media" in (folder / "refused/letter.wav.txt").read_text()
    assert "letter.wav: refused" in one.said[0]


def test_with_the_quota_used_up_files_stay_until_there_is_more(watch, folder, project):
    project.daily_minutes = 1
    project.save()
    quotas.charge(project, 60)
    put(folder, "a.wav")
    one = watch()
    assert [one.look(), one.look()] == [1, 1]
    assert (files(folder), Recording.objects.count()) == (["a.wav"], 0)

    DailyUsage.objects.update(seconds=0)

    assert (one.look(), names()) == (0, ["a.wav"])


def test_a_file_larger_than_uploads_may_be_is_put_aside(watch, folder, settings):
    settings.MAX_UPLOAD_BYTES = 100
    put(folder, "a.wav")
    one = watch()

    assert [one.look(), one.look()] == [1, 0]

    assert "too_large" in (folder / "refused/a.wav.txt").read_text()


def test_a_file_of_a_name_that_was_there_before_does_not_replace_it(watch, folder):
    put(folder, "done/a.wav", b"earlier")
    put(folder, "a.wav")
    one = watch()

    assert [one.look(), one.look()] == [1, 0]

    assert files(folder) == ["done/a (2).wav", "done/a.wav"]
    assert (folder / "done/a.wav").read_bytes() == b"earlier"


def test_results_are_written_beside_the_file_when_its_job_has_ended(watch, folder, provider):
    provider.set_transcript("hello there")
    put(folder, "a.wav")
    one = watch(writes=("txt", "srt"))
    assert [one.look(), one.look(), one.look()] == [1, 1, 1]

    run_queued()

    assert one.look() == 0
    assert files(folder) == ["done/a.wav", "done/a.wav.srt", "done/a.wav.txt"]
    assert "hello there" in (folder / "done/a.wav.txt").read_text().lower()


def test_files_that_differ_in_the_last_part_alone_have_results_of_their_own(watch, folder, provider):
    for name in ("a.wav", "a.mp3"):
        put(folder, name)
    one = watch(writes=("txt",))
    assert [one.look(), one.look()] == [2, 2]

    run_queued()

    assert one.look() == 0
    assert files(folder) == ["done/a.mp3", "done/a.mp3.txt", "done/a.wav", "done/a.wav.txt"]


def test_a_file_that_cannot_be_read_holds_up_no_others_and_is_told_once(watch, folder):
    class Damaged(FileSystemStorage):
        def _open(self, name, mode="rb"):
            if name == "a.wav":
                raise OSError("a bad sector")
            return super()._open(name, mode)

    for name in ("a.wav", "b.wav"):
        put(folder, name)
    one = watch(storage=Damaged(location=folder))

    assert [one.look(), one.look(), one.look()] == [2, 1, 1]

    assert names() == ["b.wav"]
    assert one.said.count("a.wav: cannot be taken yet: a bad sector") == 1


def test_nothing_is_stored_of_what_no_region_may_take(watch, folder, project):
    project.residency = ["elsewhere"]
    put(folder, "a.wav")
    one = watch()

    assert [one.look(), one.look()] == [1, 0]

    assert "region_outside_residency" in (folder / "refused/a.wav.txt").read_text()
    assert not Recording.objects.exists()


def test_of_two_that_store_a_file_at_once_both_have_one_recording(project):
    def stored():
        with ReceivedFile("a.wav") as file:
            file.receive(WAV)
            file.complete()
            return keep(project, file, recording_id)

    recording_id = uuid7()

    assert stored() == stored()
    assert Recording.objects.get().pk == recording_id


def test_a_job_that_fails_puts_its_file_aside(watch, folder):
    put(folder, "a.wav")
    one = watch(writes=("txt",))
    assert [one.look(), one.look()] == [1, 1]

    TranscriptionJob.objects.update(status=Status.CANCELLED, finished_at="2026-01-01T00:00:00Z")

    assert one.look() == 0
    assert files(folder) == ["refused/a.wav", "refused/a.wav.txt"]


@pytest.mark.parametrize("where", ["keep", "move"])
def test_who_is_killed_in_the_middle_is_gone_on_for_without_doubling(watch, folder, monkeypatch, where):
    put(folder, "a.wav")
    first = watch()
    first.look()

    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        if where == "keep":
            patched.setattr(watching.intake, "submit", die)
        else:
            patched.setattr(first, "_move", die)
        with pytest.raises(Killed):
            first.look()
    second = watch()

    assert [second.look(), second.look()] == [1, 0]

    assert names() == ["a.wav"]
    assert Recording.objects.count() == 1
    assert files(folder) == ["done/a.wav"]


def test_a_key_with_enough_open_jobs_makes_files_wait(watch, folder, project):
    key, _ = ApiKey.objects.issue(project, "small", max_open_jobs=1)
    put(folder, "a.wav")
    put(folder, "b.wav")
    one = watch(asked={"key": key})

    assert [one.look(), one.look()] == [2, 1]

    assert names() == ["a.wav"]
    assert "b.wav" in files(folder)


def test_a_prefix_of_a_bucket_is_watched_like_a_folder(watch, s3):
    for name in ("a.wav", "team/b.wav"):
        s3.client.put_object(Bucket=s3.bucket, Key=f"incoming/{name}", Body=WAV)
    s3.client.put_object(Bucket=s3.bucket, Key="incoming/letter.txt", Body=b"Dear Sir")
    s3.client.put_object(Bucket=s3.bucket, Key="elsewhere/c.wav", Body=WAV)
    place = s3.storage_url.replace("/prefix", "/incoming")
    one = watch(place, storages.create_storage(storage_at(place, Path())))

    assert [one.look(), one.look()] == [3, 0]

    assert names() == ["a.wav", "b.wav"]
    assert {name for name in s3.objects() if not name.startswith("prefix/")} == {
        "incoming/done/a.wav",
        "incoming/done/team/b.wav",
        "incoming/refused/letter.txt",
        "incoming/refused/letter.txt.txt",
        "elsewhere/c.wav",
    }


# The command


def test_once_takes_all_into_a_batch_and_seals_it(folder):
    put(folder, "a.wav")
    put(folder, "b.wav")

    call_command("watch_folder", str(folder), "--batch", "March", "--once", "--every", "0.05")

    batch = Batch.objects.get(name="March")
    assert batch.jobs.count() == 2
    assert batch.sealed_at
    assert batch.project.name == "Watched folders"


@pytest.mark.parametrize(
    "arguments",
    [
        ["/nowhere"],
        [".", "--write", "docx"],
        [".", "--option", "langauge=de"],
        ["s3://"],
        ["s3://calls?endpoint=http://127.0.0.1:9&region=us-east-1"],
    ],
)
def test_what_the_command_cannot_do_is_told(arguments):
    with pytest.raises(CommandError):
        call_command("watch_folder", *arguments, "--once")


def test_a_place_that_goes_away_is_waited_for(folder, database_url, tmp_path):
    command = [sys.executable, "manage.py", "watch_folder", str(folder), "--every", "0.05"]
    said = tmp_path / "said"
    with said.open("w") as stderr:
        environment = os.environ | {"DATABASE_URL": database_url}
        watcher = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=stderr)
    try:
        wait_until(lambda: "No worker is alive" in said.read_text(), 30)
        folder.rename(tmp_path / "unplugged")
        wait_until(lambda: "Waiting" in said.read_text(), 30)
        (tmp_path / "unplugged").rename(folder)
        put(folder, "a.wav")

        wait_until(lambda: files(folder) == ["done/a.wav"], 30)
    finally:
        watcher.kill()
        watcher.wait()
    assert names() == ["a.wav"]
    assert len(said.read_text().splitlines()) == 4, said.read_text()


def test_many_watchers_that_are_killed_and_started_again_make_one_job_of_each_file(folder, database_url):
    wanted = sorted(f"{n:02}.wav" for n in range(12))
    for name in wanted:
        put(folder, name)
    command = [sys.executable, "manage.py", "watch_folder", str(folder), "--every", "0.05"]
    environment = os.environ | {"DATABASE_URL": database_url}

    for taken in (1, 4):
        watchers = [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(2)]
        wait_until(lambda taken=taken: TranscriptionJob.objects.count() > taken, 60)
        assert [watcher.poll() for watcher in watchers] == [None, None]
        for watcher in watchers:
            watcher.kill()
            watcher.wait()
    call_command("watch_folder", str(folder), "--once", "--every", "0.05")

    assert names() == wanted
    assert Recording.objects.count() == len(wanted)
    assert files(folder) == [f"done/{name}" for name in wanted]
