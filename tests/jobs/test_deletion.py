"""Deleting a job: what goes, and what others still need."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages

from jobs import lifecycle
from jobs.deletion import delete_job
from jobs.models import InvalidTransition, Recording, Status, TranscriptionJob
from tests.jobs.rows import RESULT, make_job, make_project, make_recording

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def recording(project):
    return make_recording(project)


def delete(job, capture):
    with capture(execute=True):
        delete_job(job)


def stored(name):
    return storages["default"].exists(name)


def test_rows_recording_and_answers_of_all_runs_go(project, recording, django_capture_on_commit_callbacks):
    job = make_job(Status.RUNNING, project=project, recording=recording, run=2)
    answers = [f"answers/{job.pk}/1.json", f"answers/{job.pk}/2.json"]
    for answer in answers:
        storages["default"].save(answer, ContentFile(b"{}"))
    lifecycle.complete(job, RESULT)

    delete(job, django_capture_on_commit_callbacks)

    assert not TranscriptionJob.objects.exists()
    assert not Recording.objects.exists()
    assert not any(map(stored, [recording.file.name, *answers]))


def test_a_recording_stays_while_another_job_has_it(project, recording, django_capture_on_commit_callbacks):
    first, second = (make_job(project=project, recording=recording) for _ in range(2))

    delete(first, django_capture_on_commit_callbacks)
    assert stored(recording.file.name)

    delete(second, django_capture_on_commit_callbacks)
    assert not stored(recording.file.name)


def test_whoever_runs_it_finds_its_lease_gone(project, django_capture_on_commit_callbacks):
    job = make_job(Status.RUNNING, project=project)
    held = TranscriptionJob.objects.get(pk=job.pk)

    delete(job, django_capture_on_commit_callbacks)

    assert TranscriptionJob.objects.renew([held.lease_token], 60) == {held.lease_token}
    with pytest.raises(InvalidTransition):
        lifecycle.complete(held, RESULT)


def test_files_that_are_gone_already_hinder_nothing(project, recording, django_capture_on_commit_callbacks):
    job = make_job(project=project, recording=recording)
    storages["default"].delete(recording.file.name)

    delete(job, django_capture_on_commit_callbacks)

    assert not TranscriptionJob.objects.exists()


def test_files_stay_when_the_deletion_is_rolled_back(project, recording, django_capture_on_commit_callbacks):
    job = make_job(project=project, recording=recording)

    with django_capture_on_commit_callbacks() as callbacks:
        delete_job(job)

    assert len(callbacks) == 2
    assert stored(recording.file.name)
