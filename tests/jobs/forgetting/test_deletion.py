"""Deleting a job: what goes, and what others still need."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection, transaction
from django.utils import timezone

from jobs import lifecycle
from jobs.forgetting.deletion import delete_job
from jobs.models import Delivery, DeliveryAttempt, InvalidTransition, Recording, Status, TranscriptionJob
from jobs.webhooks import deliverer, wire
from tests.conditions import wait_until
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


@contextmanager
def deleted_meanwhile(job):
    """In a transaction, whose end the deletion of the job in another has to wait for."""

    def run():
        try:
            delete_job(TranscriptionJob.objects.get(pk=job.pk))
        finally:
            connection.close()

    def somebody_waits():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
            return cursor.fetchone()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            yield
            deletion = pool.submit(run)
            wait_until(somebody_waits)
        deletion.result(10)


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


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_what_a_worker_writes_meanwhile_goes_too(project, recording):
    job = make_job(
        Status.RUNNING, project=project, recording=recording, callback_url="https://example.com/hook"
    )

    with deleted_meanwhile(job):
        lifecycle.complete(job, RESULT)

    assert not TranscriptionJob.objects.exists()
    assert not Delivery.objects.exists()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_what_a_deliverer_writes_meanwhile_goes_too(project):
    job = make_job(Status.RUNNING, project=project, callback_url="https://example.com/hook")
    lifecycle.complete(job, RESULT)
    ((delivery,),) = Delivery.objects.claim(1, 60)
    log = DeliveryAttempt(
        delivery=delivery, number=1, started_at=timezone.now(), duration=0.1, status_code=204
    )

    with deleted_meanwhile(job):
        deliverer.settle([wire.Outcome(delivery, log, None)])

    assert not TranscriptionJob.objects.exists()
    assert not DeliveryAttempt.objects.exists()


def test_whoever_comes_second_finds_nothing_to_delete(project, django_capture_on_commit_callbacks):
    job = make_job(project=project)
    second = TranscriptionJob.objects.get(pk=job.pk)

    delete(job, django_capture_on_commit_callbacks)
    delete(second, django_capture_on_commit_callbacks)

    assert not TranscriptionJob.objects.exists()
