"""Projects that a team makes for itself: members, roles, and always an operator."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from jobs import members
from jobs.models import ApiKey, Membership, Project, Role
from tests.jobs.api.conftest import client_for, error_of

PROJECTS = "/api/v1/projects/"


def post(client, path, body=None):
    return client.post(path, body or {}, content_type="application/json")


def patch(client, path, body):
    return client.patch(path, body, content_type="application/json")


def log_in(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ann(db):
    return User.objects.create_user("ann", "ann@example.com")


@pytest.fixture
def bob(db):
    return User.objects.create_user("bob", "bob@example.com")


@pytest.fixture
def team(ann):
    """A project that ann operates."""
    return Project.objects.found(ann, name="Team")


@pytest.fixture
def page(team):
    return f"{PROJECTS}{team.pk}/members/"


def roles(project):
    return dict(project.membership_set.values_list("user__username", "role"))


def test_whoever_makes_a_project_operates_it(ann):
    response = post(log_in(ann), PROJECTS, {"name": "Calls", "audio_days": 30})

    made = response.json()
    assert (response.status_code, made["name"], made["audio_days"]) == (201, "Calls", 30)
    assert roles(Project.objects.get(pk=made["id"])) == {"ann": "operator"}


def test_a_key_makes_no_project(api):
    response = post(api, PROJECTS, {"name": "Calls"})

    assert (response.status_code, error_of(response)["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("named", ["bob", "bob@example.com", "BOB@example.com"])
def test_a_member_is_added_by_name_or_address(ann, bob, team, page, named):
    response = post(log_in(ann), page, {"user": named, "role": "reviewer"})

    assert response.status_code == 201
    assert response.json() == {"username": "bob", "email": "bob@example.com", "role": "reviewer"}
    assert [row["name"] for row in log_in(bob).get(PROJECTS).json()["results"]] == ["Team"]


@pytest.mark.parametrize("named", ["nobody", "nobody@example.com", "shared@example.com", "gone"])
def test_whoever_is_not_one_active_user_cannot_be_added(ann, page, named):
    User.objects.create_user("one", "shared@example.com")
    User.objects.create_user("two", "shared@example.com")
    User.objects.create_user("gone", is_active=False)

    response = post(log_in(ann), page, {"user": named, "role": "reader"})

    assert (response.status_code, list(error_of(response)["details"])) == (400, ["user"])


def test_nobody_is_a_member_twice(ann, bob, team, page):
    members.add(team, bob, Role.READER)

    response = post(log_in(ann), page, {"user": "bob", "role": "operator"})

    assert (response.status_code, error_of(response)["code"]) == (409, "already_member")
    assert roles(team)["bob"] == "reader"


def test_members_are_listed_changed_and_removed(ann, bob, team, page):
    members.add(team, bob, Role.READER)
    client = log_in(ann)

    listed = {row["username"]: row["role"] for row in client.get(page).json()["results"]}
    changed = patch(client, f"{page}bob/", {"role": "uploader"})
    removed = client.delete(f"{page}bob/")

    assert listed == {"ann": "operator", "bob": "reader"}
    assert (changed.status_code, changed.json()["role"]) == (200, "uploader")
    assert removed.status_code == 204
    assert roles(team) == {"ann": "operator"}


@pytest.mark.parametrize("named", ["bob", "%00", "a" * 1000])
def test_who_is_no_member_is_not_found(ann, bob, page, named):
    response = log_in(ann).delete(f"{page}{named}/")

    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


@pytest.mark.parametrize("role", [Role.READER, Role.UPLOADER, Role.REVIEWER])
def test_only_operators_change_members_but_everybody_may_leave(bob, team, page, role):
    members.add(team, bob, role)
    client = log_in(bob)

    refused = [
        post(client, page, {"user": "bob", "role": "operator"}),
        patch(client, f"{page}bob/", {"role": "operator"}),
        client.delete(f"{page}ann/"),
    ]

    assert [response.status_code for response in refused] == [403] * 3
    assert roles(team) == {"ann": "operator", "bob": role}
    assert post(client, f"{PROJECTS}{team.pk}/leave/").status_code == 204
    assert client.get(page).status_code == 404


def test_the_last_operator_stays(ann, bob, team, page):
    members.add(team, bob, Role.REVIEWER)
    client = log_in(ann)

    answers = [
        client.delete(f"{page}ann/"),
        patch(client, f"{page}ann/", {"role": "reader"}),
        post(client, f"{PROJECTS}{team.pk}/leave/"),
    ]
    assert [(each.status_code, error_of(each)["code"]) for each in answers] == [(409, "last_operator")] * 3

    patch(client, f"{page}bob/", {"role": "operator"})
    assert client.delete(f"{page}ann/").status_code == 204


def test_the_owner_of_a_personal_project_stays(ann, bob):
    project = Project.objects.personal(ann)
    members.add(project, bob, Role.OPERATOR)

    response = log_in(bob).delete(f"{PROJECTS}{project.pk}/members/ann/")

    assert (response.status_code, error_of(response)["code"]) == (409, "personal_project")


def test_another_projects_members_do_not_exist(bob, page):
    client = log_in(bob)

    assert [client.get(page).status_code, client.delete(f"{page}ann/").status_code] == [404, 404]


def test_staff_see_and_change_all(page):
    staff = log_in(User.objects.create_user("staff", is_staff=True))

    assert len(staff.get(page).json()["results"]) == 1
    assert post(staff, page, {"user": "staff", "role": "reader"}).status_code == 201


def test_a_key_that_manages_may_add_members_and_cannot_leave(bob, team, page):
    manage, read = (
        client_for(ApiKey.objects.issue(team, scope, scopes=[scope])[1]) for scope in ("manage", "read")
    )

    assert post(manage, page, {"user": "bob", "role": "reader"}).status_code == 201
    assert post(read, page, {"user": "bob", "role": "reader"}).status_code == 403
    assert post(read, f"{PROJECTS}{team.pk}/leave/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_of_operators_who_leave_at_once_one_stays():
    users = [User.objects.create_user(f"user{number}") for number in range(4)]
    project = Project.objects.found(users[0], name="Team")
    for user in users[1:]:
        members.add(project, user, Role.OPERATOR)

    def leave(user):
        try:
            members.remove(Membership.objects.select_related("user").get(project=project, user=user))
        except members.NotPossible as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        left = list(pool.map(leave, users))

    assert sorted(filter(None, left)) == ["last_operator"]
    assert project.membership_set.count() == 1
