"""Projects, keys and secrets: shown to whom, and how often."""

import re

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from jobs import lifecycle
from jobs.admin.keys import KeyForm
from jobs.models import ApiKey, AuditEntry, Delivery, DeliveryAttempt, Project, Recording, Status
from tests.jobs.admin.conftest import said
from tests.jobs.rows import RESULT, ago, make_job, make_project, make_recording

UNSET = {"allowed_origins": "", "expires_at_0": "", "expires_at_1": ""}
NO_MEMBERS = {"membership_set-TOTAL_FORMS": 0, "membership_set-INITIAL_FORMS": 0}
KEYS = reverse("admin:jobs_apikey_changelist")


def issue(client, project, **fields):
    data = {"project": str(project.pk), "name": "Backend"} | UNSET
    return client.post(reverse("admin:jobs_apikey_add"), data | fields)


@pytest.fixture
def project(db):
    return make_project()


def test_a_new_key_is_shown_once_and_works(root_client, superuser, project):
    response = issue(
        root_client, project, allowed_origins="https://a.example\nhttps://b.example", scopes=["read"]
    )

    key = ApiKey.objects.get()
    text = response.context["text"]
    assert ApiKey.objects.authenticate(text) == key
    assert text in response.content.decode()
    assert "no-store" in response.headers["Cache-Control"]
    assert key.created_by == superuser
    assert key.scopes == ["read"]
    assert key.allowed_origins == ["https://a.example", "https://b.example"]
    again = root_client.get(reverse("admin:jobs_apikey_change", args=(key.pk,))).content.decode()
    assert text not in again
    assert key.hash not in again


def test_staff_may_not_issue_keys_unless_permitted(staff_client, staff, project):
    assert issue(staff_client, project).status_code == 403

    staff.user_permissions.add(Permission.objects.get(codename="add_apikey"))
    staff.user_permissions.add(Permission.objects.get(codename="view_project"))

    assert issue(staff_client, project).status_code == 200
    assert ApiKey.objects.count() == 1


def test_a_key_is_revoked_from_the_list(root_client, project):
    key, text = ApiKey.objects.issue(project, "Backend")

    response = root_client.post(
        KEYS, {"action": "revoke_selected", "_selected_action": [str(key.pk)]}, follow=True
    )

    assert ApiKey.objects.authenticate(text) is None
    assert "Revoked: 1." in said(response)


def test_a_key_is_revoked_from_its_page(root_client, project):
    key, text = ApiKey.objects.issue(project, "Backend")
    data = {"name": "Backend"} | UNSET

    root_client.post(
        reverse("admin:jobs_apikey_change", args=(key.pk,)), data | {"jobs_apikey_revoke_this": "1"}
    )

    assert ApiKey.objects.authenticate(text) is None
    assert [entry.action for entry in AuditEntry.objects.filter(object_type="apikey")] == ["key.revoked"]


def test_editing_a_key_leaves_its_text_as_it_is(root_client, project):
    key, text = ApiKey.objects.issue(project, "Backend")
    data = {"name": "Renamed"} | UNSET

    root_client.post(reverse("admin:jobs_apikey_change", args=(key.pk,)), data)

    assert ApiKey.objects.authenticate(text).name == "Renamed"


def test_what_happens_to_a_key_while_its_page_is_saved_stands(root_client, project, monkeypatch):
    key = ApiKey.objects.issue(project, "integration")[0]
    clean = KeyForm.clean
    monkeypatch.setattr(KeyForm, "clean", lambda form: key.revoke() or clean(form))

    root_client.post(reverse("admin:jobs_apikey_change", args=(key.pk,)), {"name": "renamed"})

    key.refresh_from_db()
    assert (key.name, key.revoked_at is not None) == ("renamed", True)


def test_staff_without_permission_may_not_revoke(staff_client, project):
    key, text = ApiKey.objects.issue(project, "Backend")

    staff_client.post(KEYS, {"action": "revoke_selected", "_selected_action": [str(key.pk)]})

    assert ApiKey.objects.authenticate(text) == key


def test_keys_are_never_deleted(root_client, project):
    key, _ = ApiKey.objects.issue(project, "Backend")

    assert root_client.get(reverse("admin:jobs_apikey_delete", args=(key.pk,))).status_code == 403


def test_the_webhook_secret_is_only_in_the_answer_to_a_post(root_client, project):
    secret_page = reverse("admin:jobs_project_webhook_secret", args=(project.pk,))
    pages = [secret_page, reverse("admin:jobs_project_change", args=(project.pk,))]

    assert all(project.webhook_secret not in root_client.get(page).content.decode() for page in pages)

    response = root_client.post(secret_page)

    assert project.webhook_secret in response.content.decode()
    assert "no-store" in response.headers["Cache-Control"]


def test_revealing_the_webhook_secret_is_logged(root_client, superuser, project):
    root_client.post(reverse("admin:jobs_project_webhook_secret", args=(project.pk,)))

    response = root_client.get(reverse("admin:jobs_project_history", args=(project.pk,)))
    logged = [(entry.user, entry.get_change_message()) for entry in response.context["action_list"]]
    assert logged == [(superuser, "Webhook secret revealed.")]


@pytest.mark.parametrize("method", ["get", "post"])
def test_staff_without_permission_do_not_see_the_webhook_secret(staff_client, project, method):
    response = getattr(staff_client, method)(reverse("admin:jobs_project_webhook_secret", args=(project.pk,)))

    assert response.status_code == 403


def test_the_webhook_secret_needs_the_page_s_own_form(superuser, project):
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser)

    assert client.post(reverse("admin:jobs_project_webhook_secret", args=(project.pk,))).status_code == 403


def test_a_project_s_residency_is_chosen_among_the_regions(root_client):
    root_client.post(
        reverse("admin:jobs_project_add"), {"name": "Swiss", "residency": ["default"]} | NO_MEMBERS
    )
    refused = root_client.post(
        reverse("admin:jobs_project_add"), {"name": "Mars", "residency": ["mars"]} | NO_MEMBERS
    )

    assert Project.objects.get(name="Swiss").residency == ["default"]
    assert "residency" in refused.context["adminform"].form.errors


def test_a_region_that_is_gone_stays_in_the_residency_until_taken_away(root_client):
    project = Project.objects.create(name="Old", residency=["gone"])
    root_client.post(
        reverse("admin:jobs_project_change", args=(project.pk,)),
        {"name": "Renamed", "residency": ["gone"]} | NO_MEMBERS,
    )

    project.refresh_from_db()
    assert (project.name, project.residency) == ("Renamed", ["gone"])


@pytest.mark.parametrize(
    "model", ["transcriptionjob", "recording", "project", "apikey", "delivery", "workerprocess"]
)
def test_staff_see_every_list(staff_client, model):
    assert staff_client.get(reverse(f"admin:jobs_{model}_changelist")).status_code == 200


@pytest.mark.parametrize("model", ["recording", "delivery", "workerprocess"])
def test_history_is_for_reading_even_for_a_superuser(root_client, model):
    assert root_client.get(reverse(f"admin:jobs_{model}_add")).status_code == 403


def test_a_delivery_shows_what_the_receiver_answered(staff_client, project):
    job = make_job(Status.RUNNING, project=project, callback_url="https://hooks.example.com/")
    lifecycle.complete(job, RESULT)
    delivery = Delivery.objects.get()
    DeliveryAttempt.objects.create(
        delivery=delivery, number=1, started_at=ago(1), duration=0.1, status_code=500, response="<b>oops</b>"
    )

    text = staff_client.get(reverse("admin:jobs_delivery_change", args=(delivery.pk,))).content.decode()

    assert "&lt;b&gt;oops&lt;/b&gt;" in text
    assert reverse("admin:jobs_transcriptionjob_change", args=(job.pk,)) in text


def test_a_recording_shows_its_jobs_and_cannot_be_changed(root_client, project):
    recording = make_recording(project)
    make_job(project=project, recording=recording)
    url = reverse("admin:jobs_recording_change", args=(recording.pk,))

    assert root_client.get(url).status_code == 200
    assert root_client.post(url, {"filename": "other"}).status_code == 403
    assert Recording.objects.get().filename == ""


def test_no_page_of_ours_has_script_or_style_within():
    pages = list((settings.BASE_DIR / "templates" / "admin").rglob("*.html"))
    within = re.compile(r"<style|<script(?![^>]* src=)|\s(style|on[a-z]+)=", re.IGNORECASE)

    assert pages
    assert [page.name for page in pages if within.search(page.read_text())] == []


def test_what_is_done_to_users_and_groups_is_in_the_audit_log(root_client, staff):
    root_client.post(
        reverse("admin:auth_user_add"),
        {"username": "new", "usable_password": "true", "password1": "a-Long-0ne", "password2": "a-Long-0ne"},
    )
    root_client.post(
        reverse("admin:auth_user_password_change", args=(staff.pk,)),
        {"usable_password": "true", "password1": "another-Long-0ne", "password2": "another-Long-0ne"},
    )
    root_client.post(reverse("admin:auth_group_add"), {"name": "reviewers"})
    root_client.post(reverse("admin:auth_user_delete", args=(staff.pk,)), {"post": "yes"})

    told = AuditEntry.objects.order_by("id").values_list("action", "object_name", "actor")
    assert list(told)[1:] == [
        ("user.created", "new", "root"),
        ("user.changed", "staff", "root"),
        ("group.created", "reviewers", "root"),
        ("user.deleted", "staff", "root"),
    ]
