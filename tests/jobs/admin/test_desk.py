"""What the transcript desk asks for, and what is told of changes."""

import json

import pytest
from django.urls import reverse

from jobs.audio import waveforms
from jobs.audio.probe import peaks
from jobs.corrections import correct
from jobs.forgetting.deletion import delete_job
from jobs.models import AuditEntry, Status, Waveform
from jobs.transcripts.corrections import Edit
from tests.jobs.admin.conftest import wav
from tests.jobs.rows import make_job, make_project, make_recording
from tests.jobs.test_corrections import transcribed

pytestmark = pytest.mark.django_db


def page(client, job, name="desk", **query):
    return client.get(reverse(f"admin:jobs_transcriptionjob_{name}", args=(job.pk,)), query)


def test_the_words_of_a_version_are_lists_in_their_order(staff_client):
    job = transcribed("hello", "there")
    correct(job, "ann", 1, edits=[Edit([0], "Hallo")])

    told = page(staff_client, job, "desk_words").json()

    assert (told["version"], told["latest"], told["author"], told["text"]) == (2, 2, "ann", "Hallo there")
    assert told["words"] == [["Hallo", 0, 0.5, None, 0, None, None], ["there", 1, 1.5, 0.9, 0, None, None]]
    assert page(staff_client, job, "desk_words", version=1).json()["words"][0][0] == "hello"


@pytest.mark.parametrize("version", ["7", "-1", "x", "9" * 20])
def test_a_version_that_there_is_not_is_not_found(staff_client, version):
    assert page(staff_client, transcribed("one"), "desk_words", version=version).status_code == 404


def test_the_desk_of_a_job_without_a_transcript_is_not_found(staff_client):
    for name in ("desk", "desk_words", "desk_changes"):
        assert page(staff_client, make_job(), name).status_code == 404


def test_the_jobs_page_leads_to_the_desk_and_names_who_corrected(staff_client):
    job = transcribed("one")
    correct(job, "ann", 1, text="two")

    content = staff_client.get(reverse("admin:jobs_transcriptionjob_change", args=(job.pk,))).content.decode()

    assert reverse("admin:jobs_transcriptionjob_desk", args=(job.pk,)) in content
    assert "corrected by ann" in content


@pytest.mark.parametrize("name", ["desk", "desk_words", "desk_changes"])
def test_reading_a_transcript_is_written_down_once(staff_client, name):
    job = transcribed("one")

    for _ in range(2):
        assert page(staff_client, job, name).status_code == 200

    assert AuditEntry.objects.filter(action="transcript.viewed", object_id=str(job.pk)).count() == 1


def test_changes_are_told_in_their_context_with_the_terms_that_they_taught(staff_client):
    job = transcribed("please", "ask", "mister", "miller", "today")
    correct(job, "ann", 1, edits=[Edit([3], "Müller-Schmidt,"), Edit([0], "")])

    context = page(staff_client, job, "desk_changes").context

    assert [(change.before, change.after) for _, change in context["changes"]] == [
        ("please", ""),
        ("miller", "Müller-Schmidt,"),
    ]
    assert context["changes"][1][1].leading == "ask mister"
    assert context["terms"] == ["Müller-Schmidt"]


def test_the_terms_are_key_terms_of_the_next_run(staff_client):
    job = make_job(Status.COMPLETED, options={"model": "nova-3", "keyterm": ["Zug"]})

    form = page(staff_client, job, "requeue", keyterm=["Zug", "Müller"]).context["form"]

    assert form.initial["keyterm"] == ["Zug", "Müller"]


@pytest.mark.django_db(transaction=True)
def test_a_waveform_is_measured_once_and_kept(staff_client):
    project = make_project()
    recording = make_recording(project, wav(seconds=2).getvalue())
    job = make_job(project=project, recording=recording)

    first = page(staff_client, job, "desk_waveform")
    recording.delete_audio()
    second = page(staff_client, job, "desk_waveform")

    assert first.content == second.content == bytes(40)
    assert Waveform.objects.get().recording_id == recording.pk


@pytest.mark.django_db(transaction=True)
def test_a_recording_that_is_deleted_while_it_is_measured_is_no_error(staff_client, monkeypatch):
    project = make_project()
    job = make_job(project=project, recording=make_recording(project, wav(seconds=2).getvalue()))

    def deleted_meanwhile(audio):
        delete_job(job)
        return peaks(audio)

    monkeypatch.setattr(waveforms, "peaks", deleted_meanwhile)

    assert page(staff_client, job, "desk_waveform").content == bytes(40)
    assert not Waveform.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_is_stored_elsewhere_is_drawn_as_well(staff_client, s3):
    project = make_project()
    job = make_job(project=project, recording=make_recording(project, wav(seconds=2).getvalue()))

    assert page(staff_client, job, "desk_waveform").content == bytes(40)


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_drawn_is_not_tried_again(staff_client):
    project = make_project()
    job = make_job(project=project, recording=make_recording(project, b"no audio at all"))

    assert page(staff_client, job, "desk_waveform").status_code == 404
    assert bytes(Waveform.objects.get().peaks) == b""
    assert page(staff_client, job, "desk_waveform").status_code == 404


def test_only_staff_see_the_desk(client):
    job = transcribed("one")

    for name in ("desk", "desk_words", "desk_changes", "desk_waveform"):
        assert page(client, job, name).status_code == 302


def test_staff_save_over_the_api_by_their_session(staff_client, staff):
    job = transcribed("one")
    address = page(staff_client, job).context["save_url"]

    saved = staff_client.post(address, json.dumps({"based_on": 1, "text": "two"}), "application/json")

    assert (saved.status_code, saved.json()["author"]) == (201, staff.get_username())
