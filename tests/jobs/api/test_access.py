"""Who gets in, and what they may do there."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from jobs.models import ApiKey, Erasure, Membership, Project, Role, Subject
from tests.jobs.api.conftest import JOBS, add_job, client_for, error_of

URL = {"url": "https://example.com/a.wav"}


@pytest.mark.parametrize("scheme", ["Token", "token", "TOKEN"])
def test_a_key_is_taken_whatever_the_case_of_the_scheme(key, scheme):
    response = Client(headers={"Authorization": f"{scheme} {key}"}).get(JOBS)

    assert response.status_code == 200


@pytest.mark.parametrize("header", [None, "Token", "Token nonsense", "Token a.b", "Basic YTpi", "Bearer x"])
@pytest.mark.django_db
def test_without_a_good_key_the_answer_says_how_to_bring_one(header):
    response = Client(headers={"Authorization": header} if header else {}).get(JOBS)

    assert (response.status_code, error_of(response)["code"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == 'Token realm="api"'


@pytest.mark.parametrize("header", [None, "Bearer {key}", "Basic {key}", "{key}"])
def test_a_key_under_another_scheme_is_told_the_right_one(key, header):
    response = Client(headers={"Authorization": header.format(key=key)} if header else {}).get(JOBS)

    assert response.status_code == 401
    assert "Authorization: Token KEY" in error_of(response)["message"]


def test_a_key_with_another_secret_is_unknown(key):
    response = client_for(key[:-1] + ("a" if key[-1] != "a" else "b")).get(JOBS)

    assert response.status_code == 401


def test_revoked_and_expired_keys_are_refused(project):
    past = timezone.now() - timedelta(seconds=1)
    expired = ApiKey.objects.issue(project, "expired", expires_at=past)[1]
    revoked_key, revoked = ApiKey.objects.issue(project, "revoked")
    revoked_key.revoke()

    assert client_for(expired).get(JOBS).status_code == 401
    assert client_for(revoked).get(JOBS).status_code == 401


def test_the_use_of_a_key_is_noted(api, project):
    api.get(JOBS)

    assert project.keys.get().last_used_at is not None


@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [
        ([], (200, 202, 200)),
        (["read"], (200, 403, 403)),
        (["write"], (403, 202, 403)),
        (["read", "write"], (200, 202, 403)),
        (["manage"], (403, 403, 200)),
    ],
)
def test_a_keys_scopes_bound_what_it_may_do(project, scopes, statuses):
    client = client_for(ApiKey.objects.issue(project, "scoped", scopes=scopes)[1])

    reading = client.get(JOBS)
    writing = client.post(JOBS, URL, content_type="application/json")
    managing = client.get("/api/v1/webhooks/secret/")

    assert (reading.status_code, writing.status_code, managing.status_code) == statuses
    for response in (reading, writing, managing):
        assert response.status_code != 403 or error_of(response)["code"] == "permission_denied"


def test_a_key_without_the_scope_is_told_which_it_needs_and_which_it_has(project):
    client = client_for(ApiKey.objects.issue(project, "scoped", scopes=["read", "write"])[1])

    response = client.get("/api/v1/webhooks/secret/")

    assert "scope manage" in error_of(response)["message"]
    assert "read, write" in error_of(response)["message"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://testserver.evil.example"])
def test_a_foreign_page_may_not_use_a_key_that_does_not_allow_it(api, origin):
    response = api.get(JOBS, headers={"Origin": origin})

    assert (response.status_code, error_of(response)["code"]) == (403, "origin_not_allowed")


def test_our_own_pages_and_allowed_ones_may_use_a_key(project):
    client = client_for(ApiKey.objects.issue(project, "page", allowed_origins=["https://app.example"])[1])

    assert client.get(JOBS, headers={"Origin": "https://app.example"}).status_code == 200
    assert client.get(JOBS, headers={"Origin": "http://testserver"}).status_code == 200


@pytest.mark.parametrize("method", ["get", "delete"])
@pytest.mark.parametrize(
    "place", ["", "cancel/", "requeue/", "attempts/", "timeline/", "audio/", "transcript.txt"]
)
def test_another_projects_job_does_not_exist(api, other_project, method, place):
    job = add_job(other_project)
    method = "post" if place in ("cancel/", "requeue/") else method if not place else "get"

    response = getattr(api, method)(f"{JOBS}{job.pk}/{place}")

    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")
    job.refresh_from_db()
    assert job.status == "queued"


def test_a_key_cannot_name_another_project(api, other_project):
    body = URL | {"project": str(other_project.pk)}

    response = api.post(JOBS, body, content_type="application/json")

    assert response.status_code == 404
    assert not other_project.jobs.exists()


@pytest.mark.parametrize(
    ("role", "statuses"),
    [
        (Role.READER, (200, 403, 403, 403)),
        (Role.UPLOADER, (200, 202, 403, 403)),
        (Role.REVIEWER, (200, 202, 403, 403)),
        (Role.OPERATOR, (200, 202, 204, 200)),
    ],
)
def test_a_members_role_bounds_what_they_may_do(member, project, role, statuses):
    client, job = member(role), add_job(project)

    reading = client.get(f"{JOBS}{job.pk}/")
    submitting = client.post(JOBS, URL | {"project": str(project.pk)}, content_type="application/json")
    deleting = client.delete(f"{JOBS}{job.pk}/")
    managing = client.get(f"/api/v1/webhooks/secret/?project={project.pk}")

    answered = tuple(response.status_code for response in (reading, submitting, deleting, managing))
    assert answered == statuses


@pytest.mark.parametrize(("role", "seen"), [(Role.REVIEWER, 0), (Role.OPERATOR, 1)])
@pytest.mark.parametrize("path", ["/api/v1/keys/", "/api/v1/erasures/"])
def test_a_list_has_what_its_reader_may_look_at_one_by_one(member, project, path, role, seen):
    ApiKey.objects.issue(project, "backend")
    Erasure.objects.create(project=project, subject=Subject.TAG, value="ada")
    client = member(role)

    assert len(client.get(path).json()["results"]) == seen
    assert len(client.get(path, {"project": str(project.pk)}).json()["results"]) == seen


def test_staff_name_a_project_among_the_erasures_of_all_also_one_that_is_gone(
    admin_client, project, other_project
):
    for erased in (project, other_project):
        Erasure.objects.create(project=erased, subject=Subject.TAG, value="ada")
    project.hide()

    [report] = admin_client.get("/api/v1/erasures/", {"project": str(project.pk)}).json()["results"]

    assert report["project"] == str(project.pk)
    assert len(admin_client.get("/api/v1/erasures/").json()["results"]) == 2


def test_a_member_sees_all_their_projects_or_the_one_they_name(member, project, other_project):
    client = member(Role.READER)
    mine = add_job(Project.objects.personal(get_user_model().objects.get()))
    shared = add_job(project)
    add_job(other_project)

    def listed(**query):
        return {job["id"] for job in client.get(JOBS, query_params=query).json()["results"]}

    assert listed() == {str(mine.pk), str(shared.pk)}
    assert listed(project=str(project.pk)) == {str(shared.pk)}
    assert listed(project=str(other_project.pk)) == set()


def test_staff_see_all_projects(other_project):
    client = Client()
    client.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    job = add_job(other_project)

    assert client.get(f"{JOBS}{job.pk}/").status_code == 200


def test_without_naming_one_a_member_works_in_their_own_project(member):
    response = member(Role.READER).post(JOBS, URL, content_type="application/json")

    assert response.status_code == 202
    project = Project.objects.get(pk=response.json()["project"])
    assert project.personal_to == get_user_model().objects.get()
    assert Membership.objects.get(project=project).role == Role.OPERATOR


def test_a_session_needs_the_csrf_token(member):
    session = member(Role.OPERATOR).cookies["sessionid"].value
    strict = Client(enforce_csrf_checks=True)
    strict.cookies["sessionid"] = session

    without = strict.post(JOBS, URL, content_type="application/json")
    strict.cookies["csrftoken"] = "a" * 32
    with_token = strict.post(JOBS, URL, content_type="application/json", headers={"X-CSRFToken": "a" * 32})
    foreign = strict.post(
        JOBS,
        URL,
        content_type="application/json",
        headers={"X-CSRFToken": "a" * 32, "Origin": "https://evil.example"},
    )

    assert (without.status_code, error_of(without)["code"]) == (403, "permission_denied")
    assert with_token.status_code == 202
    assert foreign.status_code == 403


@pytest.mark.parametrize("query", ["project=nonsense", "project=%00"])
def test_a_project_that_is_no_id_is_told(api, query):
    response = api.get(f"{JOBS}?{query}")

    assert (response.status_code, error_of(response)["code"]) == (400, "validation_error")
