"""Deleting a job: what goes, and what others still need."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection, transaction
from django.utils import timezone

from jobs import lifecycle
from jobs.audio import uploads
from jobs.batches import moves
from jobs.batches.completion import seal
from jobs.forgetting import erasure, files
from jobs.forgetting.deletion import delete_job
from jobs.models import (
    Batch,
    Delivery,
    DeliveryAttempt,
    InvalidTransition,
    Project,
    Recording,
    Removal,
    Status,
    TranscriptionJob,
    Upload,
)
from jobs.webhooks import deliverer, wire
from tests.conditions import wait_until
from tests.jobs.rows import RESULT, ago, fresh, make_job, make_project, make_recording

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
def a_transaction():
    """Yields `meanwhile(act, *about)`, which begins `act` in another: it has to wait for this one's end."""
    begun = []

    def meanwhile(act, *about):
        def run():
            try:
                act(*about)
            finally:
                connection.close()

        begun.append(pool.submit(run))
        wait_until(somebody_waits)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            yield meanwhile
        for each in begun:
            each.result(30)


def somebody_waits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()


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

    assert callbacks
    assert stored(recording.file.name)


@pytest.mark.django_db(transaction=True)
def test_a_file_that_cannot_be_removed_now_is_removed_later(project, recording, monkeypatch):
    def away(name):
        raise OSError("the storage is away")

    with monkeypatch.context() as patched:
        patched.setattr(storages["default"], "delete", away)
        with files.removed_for(erasure := uuid4()):
            delete_job(make_job(project=project, recording=recording))
        files.check_removed(uuid4())
        with pytest.raises(OSError, match="1 files"):
            files.check_removed(erasure)
    assert not Recording.objects.exists()
    assert stored(recording.file.name)

    Removal.objects.update(due_at=ago(1))
    assert files.remove_due() == 1

    assert not stored(recording.file.name)
    assert not Removal.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "end",
    [
        lifecycle.cancel,
        lifecycle.pass_deadline,
        lambda job: lifecycle.fail(job, lifecycle.NO_CALL),
        lambda job: lifecycle.bury(job, "Twice."),
    ],
    ids=["cancelled", "too late", "failed", "dead"],
)
def test_an_answer_that_no_transcript_came_of_goes_when_its_run_ends(project, end):
    held = end not in (lifecycle.cancel, lifecycle.pass_deadline)
    job = make_job(Status.RUNNING if held else Status.QUEUED, project=project, started_at=ago(60))
    # By a worker that was killed before it could commit.
    storages["default"].save(job.answer_name, ContentFile(b"{}"))

    end(job)

    assert not stored(job.answer_name)
    assert not Removal.objects.exists()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_what_a_worker_writes_meanwhile_goes_too(project, recording):
    job = make_job(
        Status.RUNNING, project=project, recording=recording, callback_url="https://example.com/hook"
    )

    with a_transaction() as meanwhile:
        lifecycle.complete(job, RESULT)
        meanwhile(delete_job, fresh(job))

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

    with a_transaction() as meanwhile:
        deliverer.settle([wire.Outcome(delivery, log, None)])
        meanwhile(delete_job, fresh(job))

    assert not TranscriptionJob.objects.exists()
    assert not DeliveryAttempt.objects.exists()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["requeue", "discard"])
def test_nobody_waits_in_a_circle_with_a_deletion(project, act):
    """Its locks, in its order: the job's, the recording's, and with that one's row its upload's."""
    recording = make_recording(project)
    upload = Upload.objects.create(
        pk=recording.pk, project=project, size=recording.size, recording=recording, expires_at=ago(-60)
    )
    job = make_job(Status.FAILED, project=project, recording=recording)

    with a_transaction() as meanwhile:
        if act == "requeue":
            TranscriptionJob.objects.select_for_update().get(pk=job.pk)
            meanwhile(lifecycle.requeue, fresh(job))
        Recording.objects.select_for_update(nowait=True).get(pk=recording.pk)
        if act == "discard":
            meanwhile(uploads.discard, upload)
        Upload.objects.select_for_update(of=("self",), nowait=True).get(pk=upload.pk)


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_project_is_deleted_while_a_job_of_it_ends():
    project = Project.objects.personal(User.objects.create_user("ann"))
    job = make_job(Status.RUNNING, project=project)

    with a_transaction() as meanwhile:
        TranscriptionJob.objects.select_for_update().get(pk=job.pk)
        meanwhile(erasure.begin, project)
        lifecycle.complete(job, RESULT)

    assert fresh(job).status == Status.COMPLETED
    assert Project.objects.hidden().get() == project


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_batch_goes_with_what_a_deliverer_writes_meanwhile(project):
    batch = Batch.objects.create(project=project, callback_url="https://example.com/hook")
    seal(batch)
    ((delivery,),) = Delivery.objects.claim(1, 60)
    log = DeliveryAttempt(
        delivery=delivery, number=1, started_at=timezone.now(), duration=0.1, status_code=204
    )

    with a_transaction() as meanwhile:
        deliverer.settle([wire.Outcome(delivery, log, None)])
        meanwhile(moves.delete, batch)

    assert not Batch.objects.exists()
    assert not DeliveryAttempt.objects.exists()


def test_whoever_comes_second_finds_nothing_to_delete(project, django_capture_on_commit_callbacks):
    job = make_job(project=project)
    second = TranscriptionJob.objects.get(pk=job.pk)

    delete(job, django_capture_on_commit_callbacks)
    delete(second, django_capture_on_commit_callbacks)

    assert not TranscriptionJob.objects.exists()
