"""What one person, key, tag or customer has in a project goes with all that hangs on it; the rest stays."""

from collections import Counter

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs import lifecycle
from jobs.forgetting import erasure
from jobs.forgetting.retention import purging
from jobs.ids import uuid7
from jobs.models import (
    ApiKey,
    AuditEntry,
    Batch,
    Delivery,
    Erasure,
    Event,
    Recording,
    Status,
    Subject,
    Transcript,
    TranscriptionJob,
    UsageLine,
)
from jobs.models.audit import Action
from streaming.models import LiveSession
from tests.jobs.api.conftest import client_for, error_of
from tests.jobs.rows import RESULT, ago, make_job, make_project, make_recording
from tests.streaming.factories import live

pytestmark = pytest.mark.django_db
ERASURES = "/api/v1/erasures/"


@pytest.fixture
def project():
    return make_project("Support")


@pytest.fixture
def ada():
    return User.objects.create(username="ada")


def complete(project, **fields):
    """One with a recording, a transcript with the provider's answer, an event and a delivery."""
    recording = fields.pop("recording", None) or make_recording(project)
    job = make_job(
        Status.RUNNING,
        project=project,
        recording=recording,
        callback_url="https://example.com/hook",
        **fields,
    )
    storages["default"].save(job.answer_name, ContentFile(b"{}"))
    lifecycle.complete(job, RESULT, answer_name=job.answer_name)
    return job


def purge(capture):
    with capture(execute=True):
        return sum(purging(), Counter())


@pytest.mark.parametrize("subject", ["user", "key", "tag", "metadata"])
def test_all_that_it_has_goes_and_nothing_else(project, ada, subject, django_capture_on_commit_callbacks):
    key, _ = ApiKey.objects.issue(project, "backend")
    its = {
        "user": {"created_by": ada},
        "key": {"key": key},
        "tag": {"tags": ["ada", "vip"]},
        "metadata": {"metadata": {"customer": "42", "city": "Bern"}},
    }
    value = {"user": ada.pk, "key": str(key.pk), "tag": "ada", "metadata": {"customer": "42"}}[subject]
    gone, waiting = complete(project, **its[subject]), make_job(project=project, **its[subject])
    kept = [complete(project, **fields) for name, fields in its.items() if name != subject]
    elsewhere = complete(make_project("Sales"), **its[subject])
    asked = erasure.ask(project, Subject(subject), value, actor="a test")

    purge(django_capture_on_commit_callbacks)

    left = set(TranscriptionJob.objects.values_list("pk", flat=True))
    assert {job.pk for job in (*kept, elsewhere)} <= left
    assert not {gone.pk, waiting.pk} & left
    assert not storages["default"].exists(gone.recording.file.name)
    assert not storages["default"].exists(gone.answer_name)
    for rows in (Transcript.objects.filter(job=gone), Event.objects.filter(job=gone)):
        assert not rows.exists()
    assert Delivery.objects.count() == len(left)
    asked.refresh_from_db()
    assert (asked.deleted["jobs"], asked.deleted["recordings"]) == (2, 1)
    assert asked.finished_at is not None
    assert asked.value is None or subject in ("user", "key")
    told = AuditEntry.objects.get(action=Action.DATA_ERASED)
    assert told.details == {"counts": asked.deleted}
    assert told.object_name == f"{subject} of {asked.requested_at:%Y-%m-%d}"


def test_a_recording_that_somebody_elses_job_has_stays(project, ada):
    recording = make_recording(project)
    complete(project, recording=recording, created_by=ada)
    complete(project, recording=recording)

    list(erasure.erase_part(erasure.ask(project, Subject.USER, ada.pk)))

    assert Recording.objects.get() == recording
    assert storages["default"].exists(recording.file.name)


def test_live_sessions_and_batches_go_and_usage_stays_without_the_tag(project, ada):
    live(project, user=ada)
    Batch.objects.create(project=project, created_by=ada, name="Ada's")
    complete(project, tags=["ada"])

    list(erasure.erase_part(erasure.ask(project, Subject.USER, ada.pk)))
    list(erasure.erase_part(erasure.ask(project, Subject.TAG, "ada")))

    assert not LiveSession.objects.exists() and not Batch.objects.exists()
    assert list(UsageLine.objects.values_list("mode", "tag").order_by("mode")) == [
        ("async", ""),
        ("streaming", ""),
    ]


def test_one_that_is_killed_is_gone_on_with_and_its_report_is_of_all(project, ada, monkeypatch):
    monkeypatch.setattr(erasure, "JOBS_AT_A_TIME", 2)
    for _ in range(5):
        complete(project, created_by=ada)
    asked = erasure.ask(project, Subject.USER, ada.pk)

    next(erasure.erase_part(asked))
    list(erasure.erase_part(Erasure.objects.get(pk=asked.pk)))

    assert Erasure.objects.get().deleted == {"jobs": 5, "recordings": 5, "usage": 5}


def test_it_is_asked_for_counted_first_and_reported_by_the_api(project):
    key, text = ApiKey.objects.issue(project, "backend")
    complete(project, tags=["ada"])
    client = client_for(text)

    def post(**body):
        return client.post(ERASURES, body, content_type="application/json")

    counted, asked = post(tag="ada", dry_run=True), post(tag="ada")
    list(purging())

    assert (counted.status_code, counted.json()["id"], counted.json()["left"]["jobs"]) == (200, None, 1)
    assert (asked.status_code, asked.json()["finished_at"]) == (202, None)
    report = client.get(f"{ERASURES}{asked.json()['id']}/").json()
    assert report["deleted"] == {"jobs": 1, "recordings": 1, "usage": 1}
    assert report["finished_at"] is not None and report["requested_by"] == f"key {key}"
    assert [kept["what"] for kept in report["kept"]] == ["usage", "audit"]
    assert client.get(ERASURES).json()["results"] == [report]
    elsewhere, _ = ApiKey.objects.issue(make_project("Sales"), "backend")
    for wrong in (
        {},
        {"tag": "a", "user": "b"},
        {"tag": ""},
        {"user": "nobody"},
        {"key": str(elsewhere.pk)},
        {"metadata": {"a": "1", "b": "2"}},
        {"metadata": {"1_0": "a number, to Python"}},
        {"metadata": {"a\0b": "c"}},
    ):
        refused = post(**wrong)
        assert (refused.status_code, error_of(refused)["code"]) == (400, "validation_error"), wrong


def test_only_who_manages_the_project_asks_for_it(project, ada):
    _, reading = ApiKey.objects.issue(project, "reads", scopes=["read", "write"])
    stranger = Client()
    stranger.force_login(ada)
    body = {"tag": "ada"}

    assert client_for(reading).post(ERASURES, body, content_type="application/json").status_code == 403
    address = f"{ERASURES}?project={project.pk}"
    assert stranger.post(address, body, content_type="application/json").status_code == 404
    assert not Erasure.objects.exists()


def test_the_deletion_of_a_project_has_a_report_too(project, admin_client):
    complete(project)
    admin_client.delete(f"/api/v1/projects/{project.pk}/")
    list(purging())

    [report] = admin_client.get(ERASURES).json()["results"]

    assert (report["project"], report["subject"]) == (str(project.pk), "project")
    assert (report["deleted"]["jobs"], report["deleted"]["recordings"]) == (1, 1)
    assert report["requested_by"] == "admin" and report["finished_at"] is not None


def test_the_command_erases_at_once_and_tells_what(project, ada, capsys):
    complete(project, created_by=ada, metadata={"customer": "42"})

    call_command("erase", str(project.pk), metadata="customer=42", dry_run=True)
    call_command("erase", str(project.pk), metadata="customer=42")

    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("Would go: 1 jobs.")
    assert out[1].endswith("deleted: 1 jobs, 1 recordings.")
    for wrong, told in (
        ({"user": "nobody"}, "There is no such user"),
        ({"key": str(project.pk)}, "no key of this id"),
        ({"key": "backend"}, "no key of this id"),
        ({"tag": ""}, "Say whose"),
        ({"metadata": "customer"}, "name=value"),
        ({"metadata": "42=x"}, "a number"),
    ):
        with pytest.raises(CommandError, match=told):
            call_command("erase", str(project.pk), **wrong)
    with pytest.raises(CommandError, match="invalid UUID"):
        call_command("erase", "Support", user="ada")


def test_superusers_ask_for_it_in_the_admin_once_they_were_told_what_goes(project, ada, admin_client):
    complete(project, created_by=ada)
    add = reverse("admin:jobs_erasure_add")
    form = {"project": project.pk, "subject": "user", "whose": "ada"}

    told = admin_client.post(add, form).content.decode()
    wrong = admin_client.post(add, form | {"whose": "bob"}).content.decode()
    assert "There are now: 1 jobs" in told and "There is no such user." in wrong
    assert not Erasure.objects.exists()
    assert admin_client.post(add, form | {"confirmed": "on"}).status_code == 302
    list(purging())

    shown = admin_client.get(reverse("admin:jobs_erasure_changelist")).content.decode()
    assert "1 jobs, 1 recordings" in shown and "Support" in shown
    assert (
        admin_client.get(reverse("admin:jobs_erasure_change", args=(Erasure.objects.get().pk,))).status_code
        == 200
    )


def test_the_names_of_projects_are_one_query_and_one_that_is_gone_is_called_by_its_id(project, admin_client):
    gone = uuid7()
    for project_id in (project.pk, gone):
        Erasure.objects.create(project_id=project_id, subject="user", value="1", finished_at=ago(0))

    with CaptureQueriesContext(connection) as asked:
        shown = admin_client.get(reverse("admin:jobs_erasure_changelist")).content.decode()

    assert project.name in shown and str(gone) in shown
    assert sum('FROM "jobs_project"' in query["sql"] for query in asked) == 1
