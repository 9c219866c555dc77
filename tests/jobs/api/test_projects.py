"""Projects, keys and regions."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from jobs.api.serializers import KeyChangesSerializer, ProjectSerializer
from jobs.models import ApiKey, Role, Status
from tests.jobs.api.conftest import JOBS, add_job, client_for, error_of
from tests.jobs.rows import ago, make_job, make_recording

PROJECTS, KEYS = "/api/v1/projects/", "/api/v1/keys/"


def patch(client, path, body):
    return client.patch(path, body, content_type="application/json")


def post(client, path, body):
    return client.post(path, body, content_type="application/json")


def test_a_key_sees_its_own_project_alone(api, project, other_project):
    page = api.get(PROJECTS).json()

    assert [row["name"] for row in page["results"]] == [project.name]
    policies = {"residency", "improve_provider_models", "redact", "audio_days", "transcript_days"}
    quota = {"daily_minutes", "minutes_today"}
    assert set(page["results"][0]) == {"id", "name", "created_at"} | policies | quota
    assert api.get(f"{PROJECTS}{other_project.pk}/").status_code == 404


def test_a_projects_name_and_policies_can_be_changed(api, project):
    changes = {"name": "Sales calls", "residency": ["default"], "improve_provider_models": True}
    changes["redact"] = ["pci", "account_number"]

    response = patch(api, f"{PROJECTS}{project.pk}/", changes)

    assert response.status_code == 200
    assert {name: response.json()[name] for name in changes} == changes
    project.refresh_from_db()
    assert project.residency == ["default"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"residency": ["mars"]}, "residency"),
        ({"residency": ["default"] * 1000}, "residency"),
        ({"redact": ["card numbers"]}, "redact"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
    ],
)
def test_a_project_refuses_what_makes_no_sense(api, project, body, field):
    response = patch(api, f"{PROJECTS}{project.pk}/", body)

    assert (response.status_code, error_of(response)["code"]) == (400, "validation_error")
    assert list(error_of(response)["details"]) == [field]


def test_what_a_purge_would_delete_is_told_before_it_does(api, project):
    make_job(
        Status.COMPLETED, project=project, recording=make_recording(project), finished_at=ago(40 * 86400)
    ).transcripts.create(run=1, version=1, text="Hello.")
    project.recordings.update(created_at=ago(40 * 86400))
    address = f"{PROJECTS}{project.pk}/retention/"

    now = api.get(address).json()
    then = api.get(address, {"audio_days": 30, "transcript_days": 41}).json()

    assert (now["audio_days"], now["recordings"], now["transcripts"], now["oldest"]) == (None, 0, 0, None)
    assert (then["recordings"], then["bytes"], then["transcripts"]) == (1, 5, 0)
    assert then["oldest"] is not None
    assert error_of(api.get(address, {"audio_days": "x"}))["code"] == "validation_error"
    assert error_of(api.get(address, {"days": 1}))["code"] == "validation_error"


def test_changing_a_project_takes_an_operator(member, project):
    assert patch(member(Role.REVIEWER), f"{PROJECTS}{project.pk}/", {"name": "x"}).status_code == 403
    assert patch(member(Role.OPERATOR), f"{PROJECTS}{project.pk}/", {"name": "x"}).status_code == 200


def test_a_new_key_is_shown_once_and_works(api):
    response = post(
        api, KEYS, {"name": "phone", "scopes": ["read"], "allowed_origins": ["https://a.example"]}
    )

    made = response.json()
    assert response.status_code == 201
    assert (made["name"], made["scopes"], made["expires_at"]) == ("phone", ["read"], None)
    assert client_for(made["key"]).get(JOBS).status_code == 200
    assert "key" not in api.get(f"{KEYS}{made['id']}/").json()
    assert "hash" not in made


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x", "scopes": ["all"]}, "scopes"),
        ({"name": "x", "scopes": ["read"] * 1000}, "scopes"),
        ({"name": "x", "allowed_origins": ["https://a.example"] * 1000}, "allowed_origins"),
        ({"name": "x", "allowed_origins": ["example.com/path"]}, "allowed_origins"),
        ({"name": "x", "expires_at": "soon"}, "expires_at"),
    ],
)
def test_a_key_refuses_what_makes_no_sense(api, body, field):
    response = post(api, KEYS, body)

    assert (response.status_code, list(error_of(response)["details"])) == (400, [field])


@pytest.mark.parametrize(("scopes", "status"), [(["manage"], 201), (["read"], 403), ([], 403)])
def test_a_key_issues_none_that_may_do_more_than_itself(project, scopes, status):
    manager = client_for(ApiKey.objects.issue(project, "manager", scopes=["manage"])[1])

    assert post(manager, KEYS, {"name": "x", "scopes": scopes}).status_code == status


def test_a_key_can_be_renamed_but_not_given_more(api, project):
    key = ApiKey.objects.issue(project, "old", scopes=["read"])[0]

    response = patch(
        api, f"{KEYS}{key.pk}/", {"name": "new", "scopes": [], "expires_at": "2030-01-01T00:00:00Z"}
    )

    changed = response.json()
    assert response.status_code == 200
    assert (changed["name"], changed["scopes"], changed["expires_at"]) == (
        "new",
        ["read"],
        "2030-01-01T00:00:00Z",
    )


def test_a_key_that_is_revoked_while_it_is_renamed_stays_revoked(api, project, monkeypatch):
    key = ApiKey.objects.issue(project, "lost")[0]
    monkeypatch.setattr(KeyChangesSerializer, "validate", lambda _, given: key.revoke() or given)

    assert patch(api, f"{KEYS}{key.pk}/", {"name": "new"}).status_code == 200

    key.refresh_from_db()
    assert (key.name, key.revoked_at is not None) == ("new", True)


def test_a_project_that_is_deleted_while_it_is_renamed_stays_deleted(api, project, monkeypatch):
    monkeypatch.setattr(ProjectSerializer, "validate", lambda _, given: project.hide() or given)

    assert patch(api, f"{PROJECTS}{project.pk}/", {"name": "new"}).status_code == 200

    project.refresh_from_db()
    assert project.deleted_at is not None


def test_a_revoked_key_stays_in_the_list_and_opens_nothing(api, project):
    key, text = ApiKey.objects.issue(project, "lost")

    response = api.delete(f"{KEYS}{key.pk}/")

    assert response.status_code == 204
    assert client_for(text).get(JOBS).status_code == 401
    [listed] = [row for row in api.get(KEYS).json()["results"] if row["id"] == str(key.pk)]
    assert listed["revoked_at"]


def test_another_projects_keys_do_not_exist(api, other_project):
    key = ApiKey.objects.issue(other_project, "theirs")[0]

    assert api.delete(f"{KEYS}{key.pk}/").status_code == 404
    assert str(key.pk) not in [row["id"] for row in api.get(KEYS).json()["results"]]


def test_regions_tell_how_much_is_queued_and_nothing_secret(api, project, settings):
    add_job(project)
    add_job(project)

    page = api.get("/api/v1/regions/").json()

    (region,) = page.pop("results")
    assert page == {"next": None, "previous": None}
    assert {"health": region.pop("health"), **region} == {
        "name": "default",
        "enabled": True,
        "weight": 1,
        "residency": [],
        "queued": 2,
        "health": {
            "sync": {"able": True, "reason": None, "since": None},
            "queue": {"able": True, "reason": None, "since": None},
            "live": {"able": True, "reason": None, "since": None},
            "recordings_provider": "unknown",
            "live_provider": "unknown",
            "broker": "in_process" if settings.EMBEDDED else "unknown",
            "slots": None,
            "share": 1.0,
            "live_share": 1.0,
        },
    }


def test_a_key_is_rotated_into_one_that_may_do_the_same(api, project):
    old, text = ApiKey.objects.issue(
        project, "phone", scopes=["read"], allowed_origins=["https://a.example"], max_open_jobs=5
    )

    response = post(api, f"{KEYS}{old.pk}/rotate/", {"overlap_seconds": 3600})

    made = response.json()
    assert response.status_code == 201
    same = ("name", "scopes", "allowed_origins", "max_open_jobs", "expires_at")
    assert [made[name] for name in same] == ["phone", ["read"], ["https://a.example"], 5, None]
    assert client_for(made["key"]).get(JOBS).status_code == 200
    assert client_for(text).get(JOBS).status_code == 200
    old.refresh_from_db()
    assert 3590 < (old.expires_at - timezone.now()).total_seconds() <= 3600


def test_a_key_rotated_without_overlap_opens_nothing_any_more(api, project):
    old, text = ApiKey.objects.issue(project, "lost")

    post(api, f"{KEYS}{old.pk}/rotate/", {"overlap_seconds": 0})

    assert client_for(text).get(JOBS).status_code == 401


def test_rotating_does_not_let_a_key_live_longer(api, project):
    soon = timezone.now() + timedelta(minutes=1)
    old = ApiKey.objects.issue(project, "short", expires_at=soon)[0]

    made = post(api, f"{KEYS}{old.pk}/rotate/", {}).json()

    old.refresh_from_db()
    assert old.expires_at == soon
    assert 50 < (datetime.fromisoformat(made["expires_at"]) - timezone.now()).total_seconds() <= 61


def test_a_revoked_key_has_no_successor(api, project):
    key = ApiKey.objects.issue(project, "lost")[0]
    key.revoke()

    response = post(api, f"{KEYS}{key.pk}/rotate/", {})

    assert (response.status_code, error_of(response)["code"]) == (409, "key_not_usable")
    assert project.keys.filter(name="lost").count() == 1


def test_a_key_rotates_none_that_may_do_more_than_itself(project):
    manager = client_for(ApiKey.objects.issue(project, "manager", scopes=["manage"])[1])
    key = ApiKey.objects.issue(project, "all")[0]

    assert post(manager, f"{KEYS}{key.pk}/rotate/", {}).status_code == 403
