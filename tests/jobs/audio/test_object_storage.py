"""Recordings and answers on S3, from the upload to the deletion."""

import io

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import storages

from jobs.audio.downloads import recording_file
from jobs.audio.keeping import keep
from jobs.audio.received import ReceivedFile
from jobs.forgetting.deletion import delete_job
from jobs.models import Status, TranscriptionJob
from jobs.running.execution import execute
from jobs.running.leases import LeaseKeeper
from tests.jobs.rows import LEASE_SECONDS, QUEUE, fresh, make_job, make_project
from tests.routing.peer import Peer, answering
from tests.sandbox.sounds import wav
from transcribe_project.storage_url import storage_at

AUDIO = wav(2.0)


def received(audio=AUDIO) -> ReceivedFile:
    file = ReceivedFile("call.wav")
    file.receive(audio)
    file.complete()
    return file


@pytest.mark.django_db(transaction=True)
def test_a_recording_goes_all_its_way(s3, provider):
    project = make_project()
    recording = keep(project, received())
    job = make_job(project=project, recording=recording, url="")
    assert s3.objects() == {f"prefix/recordings/{recording.pk}"}

    execute(TranscriptionJob.objects.claim(QUEUE, "here:1:1", LEASE_SECONDS), LeaseKeeper())

    assert fresh(job).status == Status.COMPLETED, fresh(job).error_message
    assert recording.sha256 in provider.requests()["by_sha256"]
    assert s3.objects() == {f"prefix/recordings/{recording.pk}", f"prefix/answers/{job.pk}/1.json"}
    assert b"".join(recording_file(recording)) == AUDIO
    assert b"".join(recording_file(recording, "bytes=100-199")) == AUDIO[100:200]
    delete_job(job)
    assert s3.objects() == set()


@pytest.mark.django_db(transaction=True)
def test_audio_given_by_its_url_is_kept_there_too(s3, provider):
    with Peer(answering(200, AUDIO)) as peer:
        job = make_job(url=f"{peer.url}/call.wav")
        execute(TranscriptionJob.objects.claim(QUEUE, "here:1:1", LEASE_SECONDS), LeaseKeeper())

    assert fresh(job).status == Status.COMPLETED, fresh(job).error_message
    with storages["default"].open(fresh(job).recording.file.name) as file:
        assert file.read() == AUDIO


@pytest.mark.django_db(transaction=True)
def test_a_recording_that_is_gone_is_an_attempt(s3, provider):
    project = make_project()
    recording = keep(project, received())
    job = make_job(project=project, recording=recording, url="")
    recording.delete_audio()

    execute(TranscriptionJob.objects.claim(QUEUE, "here:1:1", LEASE_SECONDS), LeaseKeeper())

    assert (fresh(job).status, fresh(job).error_code) == (Status.WAITING, "audio_unreadable")


def test_what_is_not_there_is_not_found_and_may_be_deleted_again(s3):
    with pytest.raises(FileNotFoundError):
        storages["default"].open("recordings/none")
    with pytest.raises(FileNotFoundError):
        storages["default"].size("recordings/none")
    assert not storages["default"].exists("recordings/none")
    storages["default"].delete("recordings/none")


def test_a_storage_that_is_gone_is_an_error_of_files(s3, settings, tmp_path):
    nowhere = "s3://recordings?endpoint=http://127.0.0.1:9&region=us-east-1"
    settings.STORAGES = settings.STORAGES | {"default": storage_at(nowhere, tmp_path)}
    for use in ("open", "delete", "exists"):
        with pytest.raises(OSError, match="Could not connect"):
            getattr(storages["default"], use)("name")
    with pytest.raises(OSError, match="Could not connect"):
        storages["default"].save("name", ContentFile(b"content"))


def test_a_file_is_read_from_where_it_is_sought(s3):
    storages["default"].save("name", ContentFile(bytes(range(256)) * 4096))

    with storages["default"].open("name") as file:
        assert file.size == 1 << 20
        assert file.read(3) == b"\0\1\2"
        file.seek(-2, io.SEEK_END)
        assert file.read() == b"\xfe\xff"
        file.seek(1000)
        file.seek(24, io.SEEK_CUR)
        assert (file.tell(), file.read(2), file.tell()) == (1024, b"\0\1", 1026)


def test_nothing_is_public_and_addresses_are_signed(s3):
    storages["default"].save("name", ContentFile(b"content"))

    grants = s3.client.get_object_acl(Bucket=s3.bucket, Key="prefix/name")["Grants"]
    assert [grant["Permission"] for grant in grants] == ["FULL_CONTROL"]
    assert "X-Amz-Signature" in storages["default"].url("name")


def test_an_object_that_was_replaced_meanwhile_is_not_read_on(s3):
    storages["default"].save("name", ContentFile(bytes(1 << 20)))
    with storages["default"].open("name") as file:
        storages["default"].save("name", ContentFile(b"other"))

        with pytest.raises(OSError, match="PreconditionFailed"):
            file.read()


@pytest.mark.parametrize(
    "url", ["s3:///prefix", "http://bucket/", "s3://key:secret@bucket/", "s3://bucket?acl=public", "bucket"]
)
def test_a_storage_url_that_makes_no_sense_is_refused(url, tmp_path):
    with pytest.raises(ImproperlyConfigured, match="STORAGE_URL must look like"):
        storage_at(url, tmp_path)
