"""The audit log: who did what, written with what they did, and never changed."""

from collections import Counter
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import DatabaseError, transaction
from django.test import Client, RequestFactory
from django.utils import timezone

from jobs import lifecycle
from jobs.audit import audited, record
from jobs.models import ApiKey, AuditEntry, InvalidTransition, Membership, Role, Status, Transcript
from jobs.models.audit import Action
from tests.jobs.api.conftest import JOBS, client_for, error_of
from tests.jobs.rows import ago, make_job, make_project, make_recording

pytestmark = pytest.mark.django_db
AUDIT = "/api/v1/audit/"
SPOKEN = "canary-in-what-was-said"


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def key(project):
    return ApiKey.objects.issue(project, "phone")


@pytest.fixture
def api(key):
    return client_for(key[1])


@pytest.fixture
def root():
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def told(project):
    """A completed job with a recording, a transcript and the provider's answer."""
    job = make_job(Status.COMPLETED, project=project, recording=make_recording(project), url="")
    answer = storages["default"].save(job.answer_name, ContentFile(b"{}"))
    Transcript.objects.create(job=job, run=1, version=1, text=SPOKEN, answer=answer)
    return job


def written(**filters):
    """How often each action is in the log, sign-ins of the tests' clients aside."""
    entries = AuditEntry.objects.filter(**filters).exclude(action=Action.SIGNED_IN)
    return Counter(entries.values_list("action", flat=True))


def got(client, path):
    response = client.get(path)
    read(response)
    return response.status_code


def read(response):
    """To the end, which closes the file that is sent."""
    return b"".join(response)


def post(client, path, body=None):
    return client.post(path, body or {}, content_type="application/json")


def patch(client, path, body):
    return client.patch(path, body, content_type="application/json")


# What an entry says


def test_an_entry_tells_who_what_whose_and_from_where(api, key, project):
    job = make_job(project=project)

    api.post(f"{JOBS}{job.pk}/cancel/", REMOTE_ADDR="203.0.113.7")

    entry = AuditEntry.objects.get()
    assert (entry.action, entry.result, entry.ip) == ("job.cancelled", "done", "203.0.113.7")
    assert (entry.actor, entry.key_id, entry.user_id) == (f"key {key[0]}", key[0].pk, None)
    assert (entry.object_type, entry.object_id) == ("transcriptionjob", str(job.pk))
    assert (entry.object_name, entry.project_id) == ("https://example.com/a.wav", project.pk)


def test_the_signature_of_a_url_is_not_in_it(api, project):
    job = make_job(project=project, url="https://example.com/a.wav?signature=canary")

    api.post(f"{JOBS}{job.pk}/cancel/")

    named = AuditEntry.objects.get().object_name
    assert named.startswith("https://example.com/a.wav")
    assert "canary" not in named


def test_what_fails_leaves_no_entry(project):
    job = make_job(Status.COMPLETED, project=project)

    with pytest.raises(InvalidTransition), audited(Action.JOB_CANCELLED, RequestFactory().get("/"), job):
        lifecycle.cancel(job)

    assert written() == Counter([])


def test_an_address_that_is_none_is_left_out(project):
    record(Action.PROJECT_CHANGED, RequestFactory().get("/", REMOTE_ADDR="unix:"), project)

    assert AuditEntry.objects.get().ip is None


# What is written, over the API


def test_over_the_api_what_is_done_to_a_job_is_written(api, told):
    for place in ("", "transcript.txt", "transcript.srt", "audio/"):
        assert got(api, f"{JOBS}{told.pk}/{place}") == 200
    assert post(api, f"{JOBS}{told.pk}/requeue/").status_code == 202
    assert post(api, f"{JOBS}{told.pk}/cancel/").status_code == 200
    assert api.delete(f"{JOBS}{told.pk}/").status_code == 204

    assert written() == Counter(
        [
            "transcript.viewed",
            "transcript.exported",
            "transcript.exported",
            "audio.fetched",
            "job.requeued",
            "job.cancelled",
            "job.deleted",
        ]
    )
    assert set(AuditEntry.objects.values_list("object_id", flat=True)) == {str(told.pk)}


def test_reading_again_within_the_hour_is_one_entry(api, told, project):
    for _ in range(3):
        api.get(f"{JOBS}{told.pk}/transcript.txt")
    assert written() == Counter(["transcript.exported"])

    client_for(ApiKey.objects.issue(project, "another")[1]).get(f"{JOBS}{told.pk}/transcript.txt")
    assert written() == Counter(["transcript.exported"] * 2)


def test_reading_again_later_is_another_entry(api, told, key):
    details = {"format": "txt"}
    AuditEntry.objects.create(
        at=ago(3601), action=Action.TRANSCRIPT_EXPORTED, object_id=str(told.pk), key=key[0], details=details
    )

    api.get(f"{JOBS}{told.pk}/transcript.txt")

    assert written() == Counter(["transcript.exported"] * 2)


def test_over_the_api_what_is_done_to_keys_secrets_and_projects_is_written(api, project):
    made = post(api, "/api/v1/keys/", {"name": "new"}).json()
    patch(api, f"/api/v1/keys/{made['id']}/", {"name": "newer"})
    rotated = post(api, f"/api/v1/keys/{made['id']}/rotate/").json()
    api.delete(f"/api/v1/keys/{made['id']}/")
    secret = api.get("/api/v1/webhooks/secret/").json()["secret"]
    post(api, "/api/v1/webhooks/secret/rotate/")
    patch(api, f"/api/v1/projects/{project.pk}/", {"name": "B"})

    assert written() == Counter(
        [
            "key.issued",
            "key.changed",
            "key.issued",
            "key.rotated",
            "key.revoked",
            "secret.revealed",
            "secret.rotated",
            "project.changed",
        ]
    )
    kept = str(list(AuditEntry.objects.values()))
    assert not any(text in kept for text in (made["key"], rotated["key"], secret))


def test_submitting_and_following_write_nothing(api):
    job = post(api, JOBS, {"url": "https://example.com/a.wav"}).json()
    api.get(f"{JOBS}{job['id']}/")
    api.get(JOBS)

    assert written() == Counter([])


# What is written, in the admin


def test_in_the_admin_what_is_done_to_a_job_is_written(root, told):
    page = f"/admin/jobs/transcriptionjob/{told.pk}/"
    for place in ("change/", "transcript.vtt", "audio/"):
        assert got(root, f"{page}{place}") == 200
    root.post(f"{page}requeue/", {"model": "nova-3"})
    root.post(f"{page}cancel/")
    root.post(f"{page}delete/", {"post": "yes"})

    assert written() == Counter(
        [
            "transcript.viewed",
            "transcript.exported",
            "audio.fetched",
            "job.requeued",
            "job.cancelled",
            "job.deleted",
        ]
    )
    entry = AuditEntry.objects.first()
    assert (entry.actor, entry.project_id) == ("root", told.project_id)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("export_selected", ["transcript.exported"]),
        ("requeue_selected", ["job.requeued"]),
        ("cancel_selected", []),
        ("delete_selected", ["job.deleted"]),
    ],
)
def test_in_the_admin_bulk_actions_are_written_job_by_job(root, told, action, expected):
    response = root.post(
        "/admin/jobs/transcriptionjob/",
        {"action": action, "_selected_action": [str(told.pk)], "post": "yes"},
    )
    read(response)

    assert written(object_id=str(told.pk)) == Counter(expected)


def test_in_the_admin_what_is_done_to_projects_members_and_keys_is_written(root, project, key):
    ann, bob = (User.objects.create_user(name) for name in ("ann", "bob"))
    member = Membership.objects.create(project=project, user=ann, role=Role.READER)
    root.post(
        f"/admin/jobs/project/{project.pk}/change/",
        {
            "name": "Renamed",
            "membership_set-TOTAL_FORMS": 2,
            "membership_set-INITIAL_FORMS": 1,
            "membership_set-0-id": member.pk,
            "membership_set-0-project": project.pk,
            "membership_set-0-user": ann.pk,
            "membership_set-0-role": "reviewer",
            "membership_set-1-project": project.pk,
            "membership_set-1-user": bob.pk,
            "membership_set-1-role": "operator",
        },
    )
    root.post(f"/admin/jobs/project/{project.pk}/webhook-secret/")
    root.post("/admin/jobs/apikey/add/", {"project": project.pk, "name": "new", "allowed_origins": ""})
    root.post("/admin/jobs/apikey/", {"action": "revoke_selected", "_selected_action": [str(key[0].pk)]})

    assert written(project=project) == Counter(
        [
            "project.changed",
            "member.added",
            "member.changed",
            "secret.revealed",
            "key.issued",
            "key.revoked",
        ]
    )


def test_sign_ins_are_written_and_failed_ones_without_what_was_typed():
    User.objects.create_user("ann", password="right", is_staff=True)
    client, page = Client(), "/admin/login/"

    client.post(page, {"username": "ann", "password": "wrong"})
    client.post(page, {"username": "hunter2", "password": "ann"})
    client.post(page, {"username": "ann", "password": "right"})

    entries = set(AuditEntry.objects.values_list("action", "result", "object_name", "ip"))
    assert entries == {
        ("session.sign_in_failed", "refused", "ann", "127.0.0.1"),
        ("session.sign_in_failed", "refused", "", "127.0.0.1"),
        ("session.signed_in", "done", "ann", "127.0.0.1"),
    }
    assert "hunter2" not in str(list(AuditEntry.objects.values()))


# Nobody changes it


def test_the_database_refuses_to_change_an_entry(project):
    record(Action.PROJECT_CHANGED, None, project)

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        AuditEntry.objects.update(actor="nobody")

    assert AuditEntry.objects.get().actor == ""


@pytest.mark.postgresql
def test_postgresql_refuses_to_delete_an_entry_of_the_last_year(project):
    record(Action.PROJECT_CHANGED, None, project)
    AuditEntry.objects.create(action=Action.PROJECT_CHANGED, at=timezone.now() - timedelta(days=366))

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        AuditEntry.objects.all().delete()
    AuditEntry.objects.filter(at__lt=timezone.now() - timedelta(days=365)).delete()

    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize("place", ["add/", "{}/delete/", "{}/change/"])
def test_superusers_cannot_change_it_either(root, project, place):
    record(Action.PROJECT_CHANGED, None, project)
    entry = AuditEntry.objects.get(action=Action.PROJECT_CHANGED)

    response = root.post(f"/admin/jobs/auditentry/{place.format(entry.pk)}", {"post": "yes", "actor": "x"})

    assert response.status_code == 403
    assert AuditEntry.objects.filter(pk=entry.pk, actor="").exists()


def test_it_outlives_its_project_and_its_people(root, project, key):
    api = client_for(key[1])
    post(api, f"{JOBS}{make_job(project=project).pk}/cancel/")
    root.post(f"/admin/jobs/project/{project.pk}/webhook-secret/")

    project.delete()
    User.objects.all().delete()

    assert written() == Counter(["job.cancelled", "secret.revealed"])
    staff = Client()
    staff.force_login(User.objects.create_user("staff", is_staff=True))
    page = staff.get("/admin/jobs/auditentry/")
    assert page.status_code == 200
    assert b"secret.revealed" in page.content


def test_what_was_said_is_not_in_it(api, root, told):
    api.get(f"{JOBS}{told.pk}/")
    root.get(f"/admin/jobs/transcriptionjob/{told.pk}/change/")

    assert SPOKEN not in str(list(AuditEntry.objects.values()))


# Reading it


def test_operators_read_the_log_of_their_projects(project, told):
    other = make_project("other")
    for one in (project, other):
        record(Action.PROJECT_CHANGED, None, one)
    clients = {}
    for role in Role:
        user = User.objects.create_user(role)
        Membership.objects.create(project=project, user=user, role=role)
        Membership.objects.create(project=other, user=user, role=Role.READER)
        clients[role] = Client()
        clients[role].force_login(user)

    def seen(client):
        return [entry["project"] for entry in client.get(AUDIT).json()["results"]]

    assert seen(clients[Role.OPERATOR]) == [str(project.pk)]
    assert [seen(clients[role]) for role in (Role.READER, Role.UPLOADER, Role.REVIEWER)] == [[], [], []]


def test_staff_read_all_of_it(root, project):
    record(Action.PROJECT_CHANGED, None, project)

    actions = [entry["action"] for entry in root.get(AUDIT).json()["results"]]

    assert set(actions) == {"project.changed", "session.signed_in"}


def test_a_key_needs_the_scope_manage(project):
    manage, write = (
        client_for(ApiKey.objects.issue(project, scope, scopes=[scope])[1]) for scope in ("manage", "write")
    )
    record(Action.PROJECT_CHANGED, None, make_project("other"))
    record(Action.PROJECT_CHANGED, None, project)

    [entry] = manage.get(AUDIT).json()["results"]
    assert entry["project"] == str(project.pk)
    assert entry["object"] == {"type": "project", "id": str(project.pk), "name": "A"}
    assert error_of(write.get(AUDIT))["code"] == "permission_denied"


def test_the_list_is_narrowed(api, told):
    post(api, f"{JOBS}{told.pk}/requeue/")
    post(api, f"{JOBS}{told.pk}/cancel/")

    def narrowed(**query):
        return [entry["action"] for entry in api.get(AUDIT, query_params=query).json()["results"]]

    assert narrowed(action="job.requeued") == ["job.requeued"]
    assert set(narrowed(object=str(told.pk))) == {"job.cancelled", "job.requeued"}
    assert narrowed(object="another") == []
    assert narrowed(after=timezone.now().isoformat()) == []
