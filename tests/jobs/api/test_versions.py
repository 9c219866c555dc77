"""Corrections over the API, and the versions that they make."""

import pytest

from jobs.models import ApiKey, AuditEntry, Role
from tests.jobs.api.conftest import JOBS, add_job, client_for, error_of
from tests.jobs.api.test_jobs import finish

WORDS = [
    {"word": word, "punctuated_word": word, "start": at, "end": at + 0.5, "confidence": 0.9, "speaker": 0}
    for at, word in enumerate(("mister", "miller"))
]


@pytest.fixture
def job(project):
    job = add_job(project)
    finish(job, "mister miller", words=WORDS, language="en", confidence=0.9)
    return job


def correct(client, job, **body):
    return client.post(f"{JOBS}{job.pk}/versions/", {"based_on": 1} | body, content_type="application/json")


def test_a_correction_is_exported_from_then_on(api, project, job):
    names = [{"channel": None, "speaker": 0, "name": "Ann"}]

    response = correct(api, job, edits=[{"words": [1], "text": "Müller"}], speakers=names)

    assert response.status_code == 201, response.content
    shown = response.json()
    assert shown.pop("created_at")
    assert shown == {
        "version": 2,
        "run": 1,
        "author": f"key {project.keys.get()}",
        "language": "en",
        "confidence": 0.9,
        "speakers": names,
    }
    assert api.get(f"{JOBS}{job.pk}/transcript.txt").content.decode() == "Ann: mister Müller\n"
    assert api.get(f"{JOBS}{job.pk}/transcript.txt?version=1").content == b"Speaker 1: mister miller\n"
    assert api.get(f"{JOBS}{job.pk}/").json()["transcript"]["version"] == 2
    assert AuditEntry.objects.get(action="transcript.corrected").details == {"based_on": 1}


def test_a_whole_text_is_a_correction_too_and_an_earlier_version_comes_back(api, job):
    assert correct(api, job, text="Mister Müller.").status_code == 201
    assert correct(api, job, based_on=2, restore=1).status_code == 201

    versions = api.get(f"{JOBS}{job.pk}/versions/").json()["results"]

    assert [(each["version"], each["author"] is None) for each in versions] == [
        (3, False),
        (2, False),
        (1, True),
    ]
    assert api.get(f"{JOBS}{job.pk}/transcript.json").json()["text"] == "mister miller"


def test_who_has_not_seen_the_latest_version_is_refused(api, job):
    correct(api, job, text="one")

    response = correct(api, job, text="two")

    assert (response.status_code, error_of(response)["code"]) == (409, "transcript_changed")
    assert not AuditEntry.objects.filter(action="transcript.corrected", details__based_on=2).exists()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "validation_error"),
        ({"edits": []}, "validation_error"),
        ({"text": "a", "edits": [{"words": [0], "text": "b"}]}, "validation_error"),
        ({"restore": 1, "text": "a"}, "validation_error"),
        ({"restore": 1, "confirmed": [0]}, "validation_error"),
        ({"text": "a", "paragraphs": [{"word": 0, "begins": True}]}, "validation_error"),
        ({"confirmed": [99]}, "invalid_edits"),
        ({"edits": [{"words": [0]}]}, "validation_error"),
        ({"edits": [{"words": ["0"], "text": "a"}]}, "validation_error"),
        ({"edits": [{"words": [0], "text": "a", "extra": 1}]}, "validation_error"),
        ({"edits": [{"words": [], "text": "a"}]}, "invalid_edits"),
        ({"edits": [{"words": [7], "text": "a"}]}, "invalid_edits"),
        ({"speakers": [{"speaker": 0, "name": "a\nb"}]}, "validation_error"),
        ({"speakers": [None]}, "validation_error"),
        ({"speakers": [False]}, "validation_error"),
        ({"speakers": [{"speaker": 0, "name": "a"}, {"speaker": 0, "name": "b"}]}, "validation_error"),
        ({"text": "a", "based_on": 0}, "validation_error"),
    ],
)
def test_what_is_no_correction_is_refused(api, job, body, code):
    response = correct(api, job, **body)

    assert (response.status_code, error_of(response)["code"]) == (400, code)
    assert job.transcripts.count() == 1


def test_a_job_without_a_transcript_cannot_be_corrected(api, project):
    response = correct(api, add_job(project), text="a")

    assert (response.status_code, error_of(response)["code"]) == (404, "no_transcript")


def test_another_projects_transcript_does_not_exist(api, other_project):
    job = add_job(other_project)
    finish(job)

    assert correct(api, job, text="a").status_code == 404
    assert api.get(f"{JOBS}{job.pk}/versions/").status_code == 404


@pytest.mark.parametrize(
    ("role", "status"),
    [(Role.READER, 403), (Role.UPLOADER, 403), (Role.REVIEWER, 201), (Role.OPERATOR, 201)],
)
def test_reviewers_and_operators_correct_and_everybody_reads(member, job, role, status):
    client = member(role)

    response = correct(client, job, text="a")

    assert response.status_code == status
    assert client.get(f"{JOBS}{job.pk}/versions/").status_code == 200
    if status == 201:
        assert response.json()["author"] == f"a-{role}"


def test_a_key_that_only_reads_corrects_nothing(project, job):
    reading = client_for(ApiKey.objects.issue(project, "reader", scopes=["read"])[1])

    assert correct(reading, job, text="a").status_code == 403
    assert reading.get(f"{JOBS}{job.pk}/versions/").status_code == 200
