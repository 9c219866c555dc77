"""Uploading: what becomes of each file, and what is said of those that are refused."""

import io
import zipfile

import pytest
from django.test import Client
from django.urls import reverse

from jobs.audio import uploads
from jobs.batches.unpacking import open_next
from jobs.models import Batch, Mode, Priority, Project, Recording, Status, TranscriptionJob
from jobs.running import sync
from tests.jobs.admin.conftest import said, wav
from tests.jobs.rows import make_project

UPLOAD = reverse("admin:jobs_transcriptionjob_upload")
BEGIN_BATCH = reverse("admin:jobs_transcriptionjob_upload_batch")
FIELDS = {"mode": "async", "model": "nova-3", "priority": Priority.NORMAL.value, "smart_format": "on"}


def send(client, *files, **fields):
    """As the page's script does."""
    return client.post(UPLOAD, FIELDS | {"files": files} | fields, headers={"Accept": "application/json"})


def empty():
    file = io.BytesIO()
    file.name = "empty.wav"
    return file


def no_audio():
    file = io.BytesIO(b"These are words, not sounds. " * 100)
    file.name = "notes.txt"
    return file


def archive(*files, name="calls.zip"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        for each in files:
            writer.writestr(each.name, each.read())
    packed = io.BytesIO(file.getvalue())
    packed.name = name
    return packed


@pytest.fixture
def two_regions(regions):
    regions({"name": "eu"}, {"name": "us"})


def test_a_file_becomes_a_queued_job_of_the_personal_project(staff_client, staff):
    response = send(staff_client, wav("Interview (1).wav"), keyterm="Zürich\nLimmat", diarize="on")

    job = TranscriptionJob.objects.get()
    assert response.status_code == 201
    assert response.json() == {
        "results": [
            {
                "name": "Interview (1).wav",
                "job": {
                    "id": str(job.pk),
                    "url": reverse("admin:jobs_transcriptionjob_change", args=(job.pk,)),
                },
                "batch": None,
                "error": None,
                "duplicate_of": None,
            }
        ]
    }
    assert job.status == Status.QUEUED
    assert job.mode == Mode.ASYNC
    assert job.created_by == staff
    assert job.project == Project.objects.personal(staff)
    assert job.recording.filename == "Interview (1).wav"
    assert job.duration == pytest.approx(1.0)
    assert job.options == {
        "model": "nova-3",
        "smart_format": True,
        "diarize": True,
        "keyterm": ["Zürich", "Limmat"],
    }


def test_project_region_and_priority_are_as_chosen(staff_client, two_regions):
    project = make_project()

    send(staff_client, wav(), project=str(project.pk), region="us", priority=Priority.HIGH.value)

    job = TranscriptionJob.objects.get()
    assert (job.project, job.region, job.pinned, job.priority) == (project, "us", True, Priority.HIGH)


def test_a_region_outside_the_residency_is_refused_in_words(staff_client, two_regions):
    project = Project.objects.create(name="Swiss", residency=["eu"])

    response = send(staff_client, wav(), project=str(project.pk), region="us")

    assert response.status_code == 422
    assert response.json()["results"][0]["error"]["code"] == "region_outside_residency"
    assert not TranscriptionJob.objects.exists()


def test_a_url_becomes_a_job(staff_client):
    response = send(staff_client, url="https://example.com/talk.mp3")

    assert response.status_code == 201
    assert TranscriptionJob.objects.get().url == "https://example.com/talk.mp3"


@pytest.mark.parametrize(
    ("file", "code"), [(no_audio, "unsupported_media"), (empty, "corrupt_media")], ids=["text", "empty"]
)
def test_what_is_no_recording_is_refused_with_what_to_do(staff_client, file, code):
    response = send(staff_client, file())

    error = response.json()["results"][0]["error"]
    assert response.status_code == 422
    assert error["code"] == code
    assert error["message"]
    assert not Recording.objects.exists()


def test_a_file_that_is_too_large_is_refused(staff_client, settings):
    settings.MAX_UPLOAD_BYTES = 1000

    response = send(staff_client, wav())

    assert response.json()["results"][0]["error"]["code"] == "too_large"
    assert not Recording.objects.exists()


def test_what_does_not_fit_on_the_disk_is_refused_with_what_to_do(staff, settings):
    # As a browser's are, its forms are read to find their CSRF token.
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(staff)
    client.get(UPLOAD)
    settings.DISK_RESERVE_BYTES = 1 << 60

    response = send(client, wav())

    assert response.status_code == 507
    assert "ask whoever runs the service to make room" in response.content.decode()


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"other_options": "{"}, "Other options", "JSON"),
        ({"other_options": "[1]"}, "Other options", "must be a JSON object"),
        ({"other_options": '{"smartformat": true}'}, "Other options", "did you mean smart_format?"),
        ({"other_options": '{"callback": "https://x"}'}, "Other options", "callback_url"),
        ({"model": "nova-2", "keyterm": "Zürich"}, "Key terms", "Needs a nova-3 model"),
        ({"mode": "streaming"}, "Mode", "valid choice"),
        ({"region": "mars"}, "Region", "valid choice"),
        ({"url": "ftp://example.com/a.wav"}, "Or the URL of a recording", "http or https"),
        ({"url": "https://user:password@example.com/a.wav"}, "Or the URL of a recording", "password"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(staff_client, fields, field, message):
    response = send(staff_client, wav(), **fields)

    assert response.status_code == 400
    assert message in " ".join(response.json()["errors"][field])
    assert not Recording.objects.exists()


def test_without_scripts_all_files_come_as_one_form(staff_client):
    response = staff_client.post(
        UPLOAD, FIELDS | {"files": [wav("a.wav"), no_audio(), wav("b.wav")]}, follow=True
    )

    assert {job.recording.filename for job in TranscriptionJob.objects.all()} == {"a.wav", "b.wav"}
    assert "a.wav</a> was accepted." in said(response)
    assert "notes.txt was refused:" in said(response)


def test_without_scripts_one_file_leads_to_its_job(staff_client):
    response = staff_client.post(UPLOAD, FIELDS | {"files": [wav()]})

    assert response.url == reverse(
        "admin:jobs_transcriptionjob_change", args=(TranscriptionJob.objects.get().pk,)
    )


def test_a_form_with_nothing_to_upload_says_so(staff_client):
    response = staff_client.post(UPLOAD, FIELDS)

    assert "Choose at least one file, or give a URL." in response.content.decode()


def test_an_accepted_file_is_in_the_log(staff_client, staff):
    send(staff_client, wav())

    response = staff_client.get(
        reverse("admin:jobs_transcriptionjob_history", args=(TranscriptionJob.objects.get().pk,))
    )
    assert [entry.user for entry in response.context["action_list"]] == [staff]


def test_asked_for_at_once_it_neither_waits_for_a_slot_nor_is_refused(staff_client, settings):
    settings.SYNC_SLOTS = 1
    sync._slots.cache_clear()
    try:
        with sync.Slot(wanted=True, wait=0.0) as taken:
            assert taken.is_taken
            response = send(staff_client, wav(), mode="sync")
    finally:
        sync._slots.cache_clear()

    assert response.status_code == 201
    assert TranscriptionJob.objects.get().status == Status.QUEUED


@pytest.mark.django_db(transaction=True)
def test_a_short_recording_is_transcribed_without_holding_up_the_page(staff_client, provider):
    provider.set_faults("latency=0.5")

    response = send(staff_client, wav(), mode="auto")

    job = TranscriptionJob.objects.get()
    assert response.status_code == 201
    assert (job.mode, job.status) == (Mode.SYNC, Status.RUNNING)
    assert sync.wait(job, 10, through_retries=False)
    assert job.status == Status.COMPLETED


def test_files_sent_one_by_one_are_kept_together_in_a_batch(staff_client, staff):
    begun = staff_client.post(BEGIN_BATCH, FIELDS | {"batch_name": "March"})
    batch = begun.json()
    send(staff_client, wav("a.wav"), batch=batch["id"], batch_name="March")
    refused = send(staff_client, no_audio(), batch=batch["id"], batch_name="March")
    staff_client.post(batch["seal_url"])
    late = send(staff_client, wav("b.wav"), batch=batch["id"])

    kept = Batch.objects.get()
    assert begun.status_code == 201
    assert (kept.name, kept.created_by, kept.options["model"]) == ("March", staff, "nova-3")
    assert [job.recording.filename for job in TranscriptionJob.objects.filter(batch=kept)] == ["a.wav"]
    assert [item.name for item in kept.refused.all()] == ["notes.txt"]
    assert refused.status_code == 422
    assert kept.sealed_at
    assert late.status_code == 400


def test_without_scripts_a_named_batch_holds_what_the_form_does(staff_client):
    staff_client.post(
        UPLOAD,
        FIELDS
        | {"files": [wav("a.wav"), wav("b.wav")], "url": "https://example.com/c", "batch_name": "March"},
    )

    batch = Batch.objects.get()
    assert TranscriptionJob.objects.filter(batch=batch).count() == 3
    assert batch.sealed_at


def test_nobody_sends_into_a_batch_of_somebody_else(staff_client, superuser):
    others = Batch.objects.create(project=make_project(), created_by=superuser)

    assert send(staff_client, wav(), batch=str(others.pk)).status_code == 400
    assert not TranscriptionJob.objects.exists()


def test_an_archive_becomes_a_batch_of_what_is_in_it(staff_client):
    response = send(staff_client, archive(wav("a.wav"), wav("b.wav")))

    batch = Batch.objects.get()
    page = reverse("admin:jobs_batch_change", args=(batch.pk,))
    assert response.status_code == 201
    assert response.json()["results"][0]["batch"] == {"id": str(batch.pk), "url": page}
    assert (batch.name, batch.archives.count()) == ("calls.zip", 1)
    assert batch.sealed_at
    assert open_next(lambda: False)
    names = {job.recording.filename for job in TranscriptionJob.objects.filter(batch=batch)}
    assert names == {"a.wav", "b.wav"}


def test_an_archive_joins_the_batch_that_it_is_sent_into(staff_client):
    staff_client.post(
        UPLOAD, FIELDS | {"files": [archive(wav("a.wav")), wav("b.wav")], "batch_name": "March"}
    )

    batch = Batch.objects.get()
    assert (batch.name, batch.archives.count(), batch.sealed_at is not None) == ("March", 1, True)


def test_an_archive_that_is_damaged_is_refused(staff_client):
    whole = archive(wav()).getvalue()
    cut = io.BytesIO(whole[: len(whole) // 2])
    cut.name = "cut.zip"

    response = send(staff_client, cut)

    assert response.json()["results"][0]["error"]["code"] == "corrupt_archive"
    assert not Batch.objects.exists()


def test_a_batch_is_begun_by_post_and_with_fields_that_are_right(staff_client):
    assert staff_client.get(BEGIN_BATCH).status_code == 405
    assert staff_client.post(BEGIN_BATCH, FIELDS | {"model": "none"}).json()["errors"]["Model"]
    assert not Batch.objects.exists()


def test_a_file_is_called_as_it_was_before_the_browser_escaped_it(staff_client):
    send(staff_client, wav("%22Q1%22 100%25.wav"))

    assert Recording.objects.get().filename == '"Q1" 100%25.wav'


def begun(staff, content, project=None):
    """An upload of the person's, all of which has arrived."""
    project = project or Project.objects.personal(staff)
    upload = uploads.begin(project, filename="long.wav", size=len(content), user=staff)
    uploads.receive(upload, 0, [content])
    return upload


@pytest.mark.django_db(transaction=True)
def test_what_was_sent_in_pieces_becomes_a_job(staff_client, staff):
    upload = begun(staff, wav().getvalue())

    response = send(staff_client, upload=str(upload.pk))

    assert response.status_code == 201
    assert TranscriptionJob.objects.get().recording_id == upload.pk


@pytest.mark.django_db(transaction=True)
def test_what_was_sent_to_another_project_or_by_another_person_is_refused(staff_client, staff, superuser):
    elsewhere = begun(staff, wav().getvalue(), make_project())
    anothers = begun(superuser, wav().getvalue())

    for upload in (elsewhere, anothers):
        assert send(staff_client, upload=str(upload.pk)).status_code == 400
    assert not TranscriptionJob.objects.exists()


def test_the_same_audio_again_is_told_with_the_job_that_had_it(staff_client):
    send(staff_client, wav())
    first = TranscriptionJob.objects.get()

    [result] = send(staff_client, wav("again.wav")).json()["results"]

    assert result["duplicate_of"] == reverse("admin:jobs_transcriptionjob_change", args=(first.pk,))


def test_key_terms_that_corrections_taught_stand_in_the_form(staff_client):
    page = staff_client.get(UPLOAD, {"keyterm": ["Müller", "Zürich"]}).content.decode()

    assert "Müller\nZürich</textarea>" in page
