"""After an erasure what was somebody's is in no table and no file, also if it was killed in the middle."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from django.apps import apps
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.utils import timezone

from jobs import lifecycle
from jobs.audio import uploads
from jobs.forgetting import erasure, files
from jobs.forgetting.retention import purging
from jobs.models import (
    ApiKey,
    AuditEntry,
    Batch,
    BatchArchive,
    Delivery,
    DeliveryAttempt,
    Erasure,
    EvaluatedRecording,
    EvaluationRun,
    IdempotencyKey,
    Recording,
    RefusedItem,
    Status,
    Subject,
    TranscriptionJob,
    Upload,
    UsageLine,
    Waveform,
)
from streaming import aftercare, holes, recorded
from streaming import lifecycle as live_lifecycle
from streaming.models import AudioPart, LiveSession
from tests.conditions import wait_until
from tests.environment import ROOT
from tests.jobs.api.conftest import JOBS, client_for
from tests.jobs.rows import RESULT, ago, make_job, make_project, make_recording
from tests.streaming.factories import end, live, progress, results
from transcribe_project.storage_url import storage_at

pytestmark = pytest.mark.django_db
CANARY = "canary"
SOUND = CANARY.encode() * 100


@pytest.fixture
def media(settings, tmp_path):
    """Where all is stored that the test stores."""
    settings.STORAGES = settings.STORAGES | {"default": storage_at("", tmp_path / "data" / "media")}
    return tmp_path / "data" / "media"


@pytest.fixture
def project(media):
    return make_project("Support")


def stored(media):
    return [path for path in media.rglob("*") if path.is_file()]


def where_it_is(media):
    """Each column and file that has the canary; the audit log is to stay as it is."""
    tables = [
        f"{model._meta.label}.{name}"
        for model in apps.get_models()
        if model is not AuditEntry
        for row in model.objects.values()
        for name, value in row.items()
        if CANARY in (bytes(value).decode() if isinstance(value, memoryview | bytes) else str(value))
    ]
    return {*tables, *(path.parent.name for path in stored(media) if SOUND in path.read_bytes())}


def transcribed(project, filename="canary.wav", **fields):
    """A job that ended, with the canary in all that is kept of one."""
    recording = make_recording(project, SOUND)
    Recording.objects.filter(pk=recording.pk).update(filename=filename)
    Waveform.objects.create(recording=recording, peaks=SOUND)
    job = make_job(
        Status.RUNNING,
        project=project,
        recording=recording,
        callback_url="https://example.com/hook?who=canary",
        **({"metadata": {"name": CANARY}} | fields),
    )
    storages["default"].save(job.answer_name, ContentFile(SOUND))
    lifecycle.complete(job, replace(RESULT, text=CANARY), answer_name=job.answer_name)
    for delivery in Delivery.objects.filter(event__job=job):
        log = DeliveryAttempt(delivery=delivery, number=1, started_at=timezone.now(), duration=0.1)
        log.response = f"Thanks, {CANARY}"
        log.save()
    IdempotencyKey(project=project, key=f"canary-{job.pk}", fingerprint="", answer=SOUND).insert(job=job)
    LogEntry.objects.create(
        user=User.objects.get_or_create(username="staff")[0],
        content_type=ContentType.objects.get_for_model(TranscriptionJob),
        object_id=str(job.pk),
        object_repr=str(recording),
        action_flag=ADDITION,
    )
    return job


def spoken(project, **fields):
    """A live session that was recorded, goes on, and has a hole."""
    session = live(project, record=True, **fields)
    final = results(1, CANARY)
    live_lifecycle.store([progress(session, final)])
    hole = holes.declare(session, 0.0, 1.0, 0.0, SOUND)
    hole.results = [final.raw]
    hole.save()
    recorded.keep(AudioPart(session=session, epoch=1, offset=0, size=len(SOUND)), SOUND)
    return session


def test_of_a_tag_nothing_is_left(project, media, django_capture_on_commit_callbacks):
    tagged = transcribed(project, tags=[CANARY])
    # What it was uploaded as may be submitted again for a day.
    Upload.objects.create(
        pk=tagged.recording.pk,
        project=project,
        filename="canary.wav",
        size=len(SOUND),
        recording=tagged.recording,
        expires_at=ago(-60),
    )
    session = spoken(project, tags=[CANARY])
    # Whoever put its recording together was killed before there was a job.
    Recording.objects.filter(pk=make_recording(project, SOUND).pk).update(id=session.pk)
    run = EvaluationRun.objects.create(project=project, scores={"tags": {CANARY: {}, "phone": {}}})
    for position, fields in enumerate(({"job": tagged}, {"tags": [CANARY]})):
        texts = {"source": "canary.wav", "said": CANARY, "heard": "a canary", "position": position}
        EvaluatedRecording.objects.create(run=run, **texts, **fields)

    with django_capture_on_commit_callbacks(execute=True):
        asked = erasure.ask(project, Subject.TAG, CANARY)
    list(purging())

    assert where_it_is(media) == set()
    assert stored(media) == []
    asked.refresh_from_db()
    assert asked.deleted == {"jobs": 1, "recordings": 2, "streams": 1, "evaluated": 2, "usage": 2}
    assert EvaluationRun.objects.get().scores == {"tags": {"phone": {}}}


@pytest.mark.parametrize("subject", [Subject.USER, Subject.KEY])
def test_of_a_person_or_key_nothing_is_left(project, media, subject, django_capture_on_commit_callbacks):
    who = User.objects.create(username="ada")
    whose, its = {"created_by": who}, {"user": who}
    if subject == Subject.KEY:
        who = ApiKey.objects.issue(project, "backend")[0]
        whose = its = {"key": who}
    transcribed(project, **whose)
    spoken(project, **its)
    uploads.receive(uploads.begin(project, filename="canary.wav", size=1000, **its), 0, [SOUND])
    batch = Batch.objects.create(project=project, name=CANARY, **whose)
    RefusedItem.objects.create(batch=batch, name=CANARY, code="not_audio", message=CANARY)
    archive = BatchArchive.objects.create(batch=batch, file="archives/one", size=600, filename="canary.zip")
    storages["default"].save(archive.file, ContentFile(SOUND))

    with django_capture_on_commit_callbacks(execute=True):
        asked = erasure.ask(project, subject, who.pk if subject == Subject.USER else str(who.pk))
    list(purging())

    assert where_it_is(media) == set()
    assert stored(media) == []
    asked.refresh_from_db()
    assert asked.deleted == {
        "batches": 1, "jobs": 1, "recordings": 1, "streams": 1, "uploads": 1, "usage": 2
    }  # fmt: skip
    # What was used stays, and nobody's any more.
    lines = UsageLine.objects.values_list("user", "key", "requests", "merged").order_by("mode")
    assert list(lines) == [(None, None, 1, False)] * 2


def test_what_a_batch_says_of_its_customer_holds_for_its_jobs(project, media):
    batch = Batch.objects.create(project=project, metadata={"customer": "42"})
    transcribed(project, batch=batch)
    other = transcribed(project, metadata={"customer": "43"})

    asked = erasure.ask(project, Subject.METADATA, {"customer": "42"})
    assert erasure.found(asked) == {"jobs": 1, "uploads": 0, "batches": 1, "streams": 0, "evaluated": 0}
    list(purging())

    assert TranscriptionJob.objects.get() == other
    assert not Batch.objects.exists()


def test_what_storage_holds_on_to_is_not_reported_as_gone_and_holds_up_nobody_else(
    project, media, monkeypatch, django_capture_on_commit_callbacks
):
    transcribed(project, tags=["ada"])
    asked = erasure.ask(project, Subject.TAG, "ada")

    def away(name):
        raise OSError("the storage is away")

    with monkeypatch.context() as patched, django_capture_on_commit_callbacks(execute=True):
        patched.setattr(storages["default"], "delete", away)
        list(purging())

    transcribed(project, tags=["bob"])
    another = erasure.ask(project, Subject.TAG, "bob")
    with django_capture_on_commit_callbacks(execute=True):
        list(purging())

    asked.refresh_from_db()
    another.refresh_from_db()
    assert (asked.deleted["jobs"], asked.finished_at) == (1, None)
    assert another.finished_at is not None
    files.Removal.objects.update(due_at=ago(1))
    list(purging())

    assert stored(media) == []
    asked.refresh_from_db()
    assert asked.finished_at is not None


def test_a_recording_that_is_made_while_its_session_is_deleted_goes_too(project, media, monkeypatch):
    session = spoken(project, options={"encoding": "linear16", "sample_rate": "16000"})
    end(session)
    keep = recorded.keep_recording

    def deleted_meanwhile(*about, **named):
        aftercare.delete(session)
        return keep(*about, **named)

    monkeypatch.setattr(recorded, "keep_recording", deleted_meanwhile)
    recorded.make_recording(LiveSession.objects.select_related("project").get())

    assert not TranscriptionJob.objects.exists() and not Recording.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_that_is_killed_leaves_each_job_whole_or_gone_and_is_gone_on_with(project, media, database_url):
    old, number = make_project("Old"), 100
    for _ in range(number):
        make_job(Status.COMPLETED, project=old, recording=make_recording(old))
    jobs = [transcribed(project, tags=["ada"]) for _ in range(number)]
    client = client_for(ApiKey.objects.issue(project, "backend")[1])
    erasure.begin(old)
    asked = erasure.ask(project, Subject.TAG, "ada")
    environment = {**os.environ, "DATABASE_URL": database_url, "DATA_DIR": str(media.parent)}

    def purge():
        return subprocess.Popen([sys.executable, "manage.py", "purge"], cwd=ROOT, env=environment)

    def killed_while_erasing(whose):
        process = purge()
        wait_until(lambda: whose.jobs.count() < number, 60)
        process.kill()
        process.wait()

    def report():
        return client.get(f"/api/v1/erasures/{asked.pk}/").json()

    def answers(job):
        for part in ("", "audio/", "transcript.json", "transcript.json?raw=true"):
            response = client.get(f"{JOBS}{job.pk}/{part}")
            response.close()
            yield response.status_code

    killed_while_erasing(old)
    assert set(answers(jobs[0])) == {200}
    killed_while_erasing(project)
    left = set(project.jobs.all())
    assert (report()["left"].get("jobs", 0), report()["deleted"]["jobs"]) == (len(left), number - len(left))
    for job in (jobs[0], jobs[-1]):
        assert set(answers(job)) == {200 if job in left else 404}

    assert purge().wait(120) == 0
    assert (TranscriptionJob.objects.count(), stored(media)) == (0, [])
    assert (report()["left"], report()["finished_at"] is None) == ({}, False)
    assert report()["deleted"] == {"jobs": number, "recordings": number, "usage": number}
    of_project = Erasure.objects.get(subject=Subject.PROJECT)
    assert (of_project.deleted["jobs"], of_project.finished_at is None) == (number, False)
