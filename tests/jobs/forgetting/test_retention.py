"""What goes when its time is over, what stays, and that the deletion of a project leaves nothing."""

from datetime import timedelta
from pathlib import Path
from threading import Event as Signal

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from jobs import lifecycle
from jobs.audio import uploads
from jobs.forgetting import erasure, retention
from jobs.models import (
    ApiKey,
    AuditEntry,
    Batch,
    BatchArchive,
    Chore,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    Erasure,
    Event,
    EventType,
    Membership,
    Project,
    Recording,
    Removal,
    Role,
    Status,
    Transcript,
    TranscriptionJob,
    UsageLine,
)
from jobs.models.audit import Action
from jobs.models.state import AudioDeleted
from jobs.running.execution import execute
from jobs.running.leases import keeper
from tests.conditions import wait_until
from tests.jobs.api.conftest import JOBS, client_for, error_of, wav
from tests.jobs.rows import fresh, make_job, make_project, make_recording

PROJECTS = "/api/v1/projects/"
# More than are looked at together.
MANY = 250


def days_ago(days):
    return timezone.now() - timedelta(days=days)


def stored():
    """The names of all recordings and answers in storage."""
    media = Path(settings.STORAGES["default"]["OPTIONS"]["location"])
    return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}


def purge():
    call_command("purge", verbosity=0)


def make_past(project, days, number=1, delivered=DeliveryStatus.DELIVERED):
    """Jobs that ended so many days ago, each with all that a job leaves behind."""
    at = days_ago(days)
    jobs = [
        make_job(Status.COMPLETED, project=project, recording=make_recording(project), finished_at=at)
        for _ in range(number)
    ]
    for job in jobs:
        storages["default"].save(job.answer_name, ContentFile(b'{"canary": true}'))
    Transcript.objects.bulk_create(
        Transcript(job=job, run=1, version=1, text="canary", answer=job.answer_name) for job in jobs
    )
    events = Event.objects.bulk_create(
        Event(project=project, job=job, type=EventType.JOB_COMPLETED, sequence=1, data={"metadata": "canary"})
        for job in jobs
    )
    url = "https://example.com/hook"
    deliveries = Delivery.objects.bulk_create(
        Delivery(event=event, url=url, receiver=url, status=delivered) for event in events
    )
    DeliveryAttempt.objects.bulk_create(
        DeliveryAttempt(delivery=each, number=1, started_at=at, duration=0.1, response="canary")
        for each in deliveries
    )
    Recording.objects.filter(jobs__in=jobs).update(created_at=at)
    Event.objects.filter(pk__in=[event.pk for event in events]).update(created_at=at)
    return jobs


def left_of(project_id):
    """How many rows of each table still have to do with the project; the audit log is to stay."""
    ways = {
        Project: "pk",
        Transcript: "job__project",
        Delivery: "event__project",
        DeliveryAttempt: "delivery__event__project",
    }
    for model in apps.get_app_config("jobs").get_models():
        if model not in (AuditEntry, Erasure, UsageLine) and any(
            field.name == "project" for field in model._meta.fields
        ):
            ways[model] = "project"
        elif any(field.name == "job" for field in model._meta.fields):
            ways.setdefault(model, "job__project")
    left = {model: model.objects.filter(**{way: project_id}).count() for model, way in ways.items()}
    return {model.__name__: number for model, number in left.items() if number}


@pytest.fixture
def media(settings, tmp_path):
    """A storage that holds nothing else."""
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            **settings.STORAGES["default"],
            "OPTIONS": {"location": tmp_path / "media", "allow_overwrite": True},
        },
    }
    return tmp_path / "media"


@pytest.fixture
def project(db, media):
    return make_project()


@pytest.fixture
def other(project):
    """Keeps everything, and has as much of it."""
    other = make_project("other")
    make_past(other, 100)
    return other


# Policies


def test_audio_goes_when_its_days_are_over_and_the_recording_tells_when(project, other):
    project.audio_days = 30
    project.save()
    [old], [young] = make_past(project, 31), make_past(project, 29)

    purge()

    old, young = Recording.objects.get(jobs=old), Recording.objects.get(jobs=young)
    assert (old.audio_deleted_at is None, young.audio_deleted_at) == (False, None)
    assert old.file.name not in stored()
    assert {young.file.name, other.recordings.get().file.name} <= stored()
    assert Transcript.objects.filter(job__project=project).count() == 2


def test_transcripts_answers_and_events_go_when_their_days_are_over(project, other):
    project.transcript_days = 7
    project.save()
    [old], [young] = make_past(project, 8), make_past(project, 6)

    purge()

    assert old.answer_name not in stored()
    assert {young.answer_name, old.recording.file.name} <= stored()
    assert list(Transcript.objects.filter(job__project=project).values_list("job", flat=True)) == [young.pk]
    assert list(project.events.values_list("job", flat=True)) == [young.pk]
    assert Delivery.objects.filter(event__project=project).count() == 1
    assert project.jobs.count() == 2
    assert Transcript.objects.filter(job__project=other).exists()


def test_all_transcripts_of_all_jobs_go_however_few_at_a_time(project, monkeypatch):
    monkeypatch.setattr(retention, "AT_A_TIME", 2)
    Project.objects.filter(pk=project.pk).update(transcript_days=1)
    jobs = make_past(project, 2, number=3)
    for version in (2, 3, 4):
        Transcript.objects.create(job=jobs[1], run=version, version=version)

    purge()

    assert not Transcript.objects.exists()


def test_without_policies_everything_stays(other):
    before = stored()

    purge()

    assert stored() == before
    assert not AuditEntry.objects.exists()


def test_what_a_project_does_not_say_the_service_does(project, settings, capsys):
    settings.AUDIO_DAYS, settings.TRANSCRIPT_DAYS = 30, 7
    Project.objects.filter(pk=project.pk).update(audio_days=40)
    make_past(project, 35)

    call_command("purge", dry_run=True)
    before = (Transcript.objects.count(), len(stored()))
    purge()

    assert "A: 0 recordings (0.0 MB of audio), 1 transcripts" in capsys.readouterr().out
    assert before == (1, 2)
    assert (Transcript.objects.count(), Recording.objects.get().audio_deleted_at) == (0, None)


def test_where_all_is_kept_a_dry_run_says_so(project, capsys):
    call_command("purge", dry_run=True)

    assert capsys.readouterr().out.startswith("Nothing: neither a project nor a setting says")


def test_no_day_means_at_once(project):
    Project.objects.update(audio_days=0, transcript_days=0)
    make_past(project, 0)

    purge()

    assert stored() == set()


def test_what_an_open_job_needs_waits(project):
    Project.objects.update(audio_days=1, transcript_days=1)
    [job] = make_past(project, 2)
    waits = make_job(Status.QUEUED, project=project, recording=job.recording)

    purge()
    assert job.recording.file.name in stored()

    waits.cancel()
    purge()
    assert job.recording.file.name not in stored()


def test_what_is_still_to_be_delivered_waits(project):
    Project.objects.update(transcript_days=1)
    make_past(project, 2, delivered=DeliveryStatus.PENDING)

    purge()

    assert project.events.count() == 1


def test_the_counts_are_in_the_audit_log(project):
    Project.objects.update(audio_days=1, transcript_days=1)
    make_past(project, 2, number=3)

    purge()
    purge()

    entry = AuditEntry.objects.get()
    assert (entry.action, entry.project_id, entry.actor) == (Action.DATA_PURGED, project.pk, "")
    assert entry.details == {"counts": {"audio": 3, "transcripts": 3, "events": 3}}


def test_a_file_that_storage_refuses_holds_up_nothing_else_and_is_asked_for_again(project, monkeypatch):
    Project.objects.update(audio_days=1, transcript_days=1)
    locked, _ = make_past(project, 2, number=2)
    refused = {locked.recording.file.name, locked.answer_name}

    def delete(name, really=storages["default"].delete):
        if name in refused:
            raise OSError("an object lock")
        really(name)

    with monkeypatch.context() as patched:
        patched.setattr(storages["default"], "delete", delete)
        purge()

    assert stored() == refused
    assert not project.recordings.filter(audio_deleted_at=None).exists()
    assert left_of(project.pk) == {"Project": 1, "Recording": 2, "TranscriptionJob": 2}

    Removal.objects.update(due_at=days_ago(1))
    purge()
    assert stored() == set()


def test_a_project_that_is_deleted_while_a_purge_ends_is_erased_by_the_next(project, monkeypatch):
    other = make_project("B")
    Chore.objects.create(name=erasure.PURGE, run_at=days_ago(1))
    Project.objects.filter(pk=project.pk).update(audio_days=1)
    make_past(project, 2)
    monkeypatch.setattr(storages["default"], "delete", lambda _: erasure.begin(other))

    def is_erased():
        retention.purge_when_due(lambda: False)
        return not Project.objects.hidden().exists()

    assert not is_erased()
    wait_until(is_erased)


def test_a_job_without_its_audio_cannot_be_run_again(project):
    Project.objects.update(audio_days=1)
    [job] = make_past(project, 2)
    purge()
    api = client_for(ApiKey.objects.issue(project, "x")[1])

    with pytest.raises(AudioDeleted):
        lifecycle.requeue(fresh(job))
    response = api.post(f"{JOBS}{job.pk}/requeue/", {}, content_type="application/json")
    assert (response.status_code, error_of(response)["code"]) == (409, "audio_deleted")
    assert api.get(f"{JOBS}{job.pk}/audio/").status_code == 404


def test_old_entries_of_the_audit_log_and_of_the_admins_own_go(project):
    somebody = User.objects.create(username="ada")
    for days in (366, 364):
        AuditEntry.objects.create(action=Action.PROJECT_CHANGED, at=days_ago(days))
        [entry] = LogEntry.objects.log_actions(somebody.pk, [project], CHANGE)
        LogEntry.objects.filter(pk=entry.pk).update(action_time=days_ago(days))

    purge()

    assert AuditEntry.objects.filter(action=Action.PROJECT_CHANGED).count() == 1
    assert LogEntry.objects.get() == entry


@pytest.mark.django_db(transaction=True)
def test_a_recording_that_no_job_came_of_goes_after_a_day(project):
    def recorded(hours):
        recording = make_recording(project, b"sound")
        # Its id may be of any time: that of a watched file is of its last change.
        Recording.objects.filter(pk=recording.pk).update(created_at=timezone.now() - timedelta(hours=hours))
        return recording

    forgotten, new, wanted = recorded(25), recorded(23), recorded(26)
    make_job(project=project, recording=wanted)

    purge()

    assert set(Recording.objects.all()) == {new, wanted}
    assert not forgotten.file.storage.exists(forgotten.file.name)


@pytest.mark.parametrize("value", [-1, "forever", 100_000])
def test_days_that_make_no_sense_are_refused(project, value):
    api = client_for(ApiKey.objects.issue(project, "x")[1])

    response = api.patch(f"{PROJECTS}{project.pk}/", {"audio_days": value}, content_type="application/json")

    assert (response.status_code, list(error_of(response)["details"])) == (400, ["audio_days"])


def test_policies_are_set_over_the_api(project):
    api = client_for(ApiKey.objects.issue(project, "x")[1])

    response = api.patch(
        f"{PROJECTS}{project.pk}/",
        {"audio_days": 30, "transcript_days": None},
        content_type="application/json",
    )

    assert (response.json()["audio_days"], response.json()["transcript_days"]) == (30, None)


# When it is done


def test_one_process_at_a_time_purges_once_an_hour(project):
    Project.objects.update(audio_days=0)
    never = Signal().is_set
    retention.purge_when_due(never)  # the first look makes the chore
    make_past(project, 1)

    retention.purge_when_due(never)
    assert project.recordings.filter(audio_deleted_at=None).count() == 0

    make_past(project, 1)
    retention.purge_when_due(never)
    assert project.recordings.filter(audio_deleted_at=None).count() == 1

    Chore.objects.update(run_at=days_ago(0) - timedelta(seconds=1))
    retention.purge_when_due(never)
    assert project.recordings.filter(audio_deleted_at=None).count() == 0


def test_a_process_that_stops_leaves_the_rest_to_another(project, monkeypatch):
    monkeypatch.setattr(retention, "AT_A_TIME", 1)
    Project.objects.update(audio_days=0)
    retention.purge_when_due(lambda: False)
    make_past(project, 1, number=3)

    retention.purge_when_due(lambda: True)
    assert project.recordings.filter(audio_deleted_at=None).count() == 2

    retention.purge_when_due(lambda: False)
    assert project.recordings.filter(audio_deleted_at=None).count() == 0


# Projects


def test_a_deleted_project_is_gone_at_once(project, other):
    operator = Client()
    user = User.objects.create_user("ann")
    operator.force_login(user)
    Membership.objects.create(project=project, user=user, role=Role.OPERATOR)
    text = ApiKey.objects.issue(project, "x", allowed_origins=["https://app.example"])[1]
    waiting, running = (make_job(status, project=project) for status in (Status.WAITING, Status.RUNNING))

    response = operator.delete(f"{PROJECTS}{project.pk}/")

    assert response.status_code == 202
    assert operator.get(f"{PROJECTS}{project.pk}/").status_code == 404
    assert operator.get(PROJECTS).json()["results"] == []
    assert client_for(text).get(JOBS).status_code == 401
    assert not ApiKey.objects.allowing("https://app.example").exists()
    assert [fresh(job).status for job in (waiting, running)] == ["cancelled"] * 2
    assert TranscriptionJob.objects.claim(waiting.queue, "w", 60) is None
    assert AuditEntry.objects.filter(action=Action.PROJECT_DELETED, project=project.pk).exists()


def test_deleting_a_project_takes_an_operator(project):
    for role in (Role.READER, Role.UPLOADER, Role.REVIEWER):
        user, client = User.objects.create_user(role), Client()
        Membership.objects.create(project=project, user=user, role=role)
        client.force_login(user)
        assert client.delete(f"{PROJECTS}{project.pk}/").status_code == 403
    assert Project.objects.existing().filter(pk=project.pk).exists()


def test_a_deleted_personal_project_is_made_anew_when_asked_for(media, db):
    ann = User.objects.create_user("ann")
    first = Project.objects.personal(ann)
    erasure.begin(first)

    assert Project.objects.personal(ann).pk != first.pk


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_comes_after_all_is_removed(media, provider):
    project = make_project()
    job = make_job(Status.RUNNING, project=project, recording=make_recording(project, wav()))
    held = fresh(job)
    erasure.begin(project)

    execute(held, keeper())

    assert provider.requests()["total"] == 1
    assert stored() == {job.recording.file.name}


def test_superusers_delete_projects_in_the_admin(project, other):
    root = Client()
    root.force_login(User.objects.create_superuser("root"))
    make_past(project, 1)

    asked = root.get(f"/admin/jobs/project/{project.pk}/delete/")
    root.post(f"/admin/jobs/project/{project.pk}/delete/", {"post": "yes"})
    purge()

    assert b"stored files" in asked.content
    assert left_of(project.pk) == {}


def test_of_many_jobs_nothing_is_left_once_their_days_are_over(project, other):
    Project.objects.filter(pk=project.pk).update(audio_days=1, transcript_days=1)
    make_past(project, 2, number=MANY)
    kept = {name for job in other.jobs.all() for name in (job.recording.file.name, job.answer_name)}

    purge()

    assert stored() == kept
    assert left_of(project.pk) == {"Project": 1, "Recording": MANY, "TranscriptionJob": MANY}
    assert AuditEntry.objects.get(action=Action.DATA_PURGED).details == {
        "counts": {"audio": MANY, "transcripts": MANY, "events": MANY}
    }


def test_of_a_deleted_project_with_many_jobs_nothing_is_left(project, other):
    make_past(project, 2, number=MANY)
    make_recording(project)
    archive = BatchArchive.objects.create(
        batch=Batch.objects.create(project=project), file="archives/one", size=1
    )
    for name in (archive.file, Recording.stored_name(archive.recording_id)):
        storages["default"].save(name, ContentFile(b"zip"))
    uploads.receive(uploads.begin(project, filename="half.wav", size=10), 0, [b"half"])
    for status in (Status.QUEUED, Status.WAITING, Status.RUNNING):
        make_job(status, project=project, recording=make_recording(project))
    ApiKey.objects.issue(project, "x")
    kept = {name for job in other.jobs.all() for name in (job.recording.file.name, job.answer_name)}

    erasure.begin(project)
    purge()

    assert stored() == kept
    assert left_of(project.pk) == {}
    entry = AuditEntry.objects.get(action=Action.PROJECT_ERASED)
    assert entry.details["complete"]
    assert entry.details["counts"]["jobs"] == MANY + 3
