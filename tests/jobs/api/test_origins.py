"""Pages of other origins: who may call, what browsers are told, and that the session is not theirs."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from jobs.models import ApiKey, Role
from tests.jobs.api.conftest import JOBS, client_for, error_of

OURS, PAGE, OTHER = "http://testserver", "https://app.example", "https://other.example"
URL = {"url": "https://example.com/a.wav"}
FOREIGN = [
    OTHER,
    "null",
    "",
    "https://app.example.evil.example",
    "https://evil-app.example",
    "https://sub.app.example",
    "http://app.example",
    "https://app.example:8443",
    "https://app.example/",
    "HTTPS://APP.EXAMPLE",
]


def preflight(origin, method="POST", headers="authorization, idempotency-key"):
    return Client().options(
        JOBS,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )


def allowed_to_read(response):
    """The origin whose pages the browser lets read it; credentials are never allowed along."""
    assert "Access-Control-Allow-Credentials" not in response
    return response.headers.get("Access-Control-Allow-Origin")


@pytest.fixture
def page_key(project):
    return ApiKey.objects.issue(project, "page", allowed_origins=[PAGE])


@pytest.fixture
def page(page_key):
    return client_for(page_key[1])


def test_a_preflight_needs_no_key_but_one_that_allows_the_origin(page_key):
    response = preflight(PAGE)

    assert (response.status_code, allowed_to_read(response)) == (204, PAGE)
    assert {"POST", "PATCH", "DELETE"} <= set(response["Access-Control-Allow-Methods"].split(", "))
    allowed = response["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key", "prefer", "range"} <= set(allowed)
    assert response["Vary"] == "Origin"
    assert response.content == b""


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_preflight_of_any_other_origin_is_refused(page_key, origin):
    response = preflight(origin)

    assert (response.status_code, error_of(response)["code"]) == (403, "origin_not_allowed")
    assert allowed_to_read(response) is None


def test_keys_that_are_of_no_use_allow_no_origin(project):
    ApiKey.objects.issue(
        project, "old", allowed_origins=[PAGE], expires_at=timezone.now() - timedelta(seconds=1)
    )
    ApiKey.objects.issue(project, "lost", allowed_origins=[PAGE])[0].revoke()

    assert preflight(PAGE).status_code == 403


@pytest.mark.django_db
def test_the_setting_allows_an_origin_for_every_key(api, settings):
    settings.CORS_ALLOWED_ORIGINS = [PAGE]

    assert allowed_to_read(preflight(PAGE)) == PAGE
    assert allowed_to_read(api.get(JOBS, headers={"Origin": PAGE})) == PAGE
    # A page that is allowed may read what was wrong with its key, too.
    assert allowed_to_read(Client().get(JOBS, headers={"Origin": PAGE})) == PAGE


@pytest.mark.parametrize("path", [JOBS, f"{JOBS}01a1fd7f-7592-7fbc-afd1-21719cdefda3/"])
def test_an_answer_may_be_read_by_the_page_that_the_key_allows(page, path):
    response = page.get(path, headers={"Origin": PAGE})

    assert allowed_to_read(response) == PAGE
    assert "Origin" in response["Vary"]
    exposed = response["Access-Control-Expose-Headers"].split(", ")
    told = {"Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Preference-Applied", "dg-request-id"}
    assert told <= set(exposed)


def test_a_page_may_read_that_it_asks_too_often(project):
    text = ApiKey.objects.issue(project, "page", allowed_origins=[PAGE], requests_per_minute=1)[1]
    client = client_for(text)
    client.get(JOBS, headers={"Origin": PAGE})

    refused = client.get(JOBS, headers={"Origin": PAGE})

    assert (refused.status_code, allowed_to_read(refused)) == (429, PAGE)


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_key_is_refused_to_pages_that_it_does_not_allow(page, project, origin, method):
    response = getattr(page, method)(
        JOBS, URL if method == "post" else None, content_type="application/json", headers={"Origin": origin}
    )

    assert (response.status_code, error_of(response)["code"]) == (403, "origin_not_allowed")
    assert allowed_to_read(response) is None
    assert not project.jobs.exists()


def test_what_another_key_allows_helps_nobody(page_key, api):
    response = api.get(JOBS, headers={"Origin": PAGE})

    assert response.status_code == 403
    assert allowed_to_read(response) is None


def test_programs_send_no_origin_and_are_told_nothing_of_it(page):
    response = page.get(JOBS)

    assert response.status_code == 200
    assert allowed_to_read(response) is None
    assert "Origin" not in response.get("Vary", "")


@pytest.mark.parametrize("origin", [PAGE, *FOREIGN, "http://testserver.evil.example", "https://testserver"])
@pytest.mark.parametrize("method", ["get", "post", "patch", "delete"])
def test_the_session_never_works_for_a_foreign_page(member, project, settings, origin, method):
    settings.CORS_ALLOWED_ORIGINS = [PAGE]
    client = member(Role.OPERATOR)

    response = getattr(client, method)(
        f"/api/v1/projects/{project.pk}/" if method == "patch" else JOBS,
        {"name": "Taken"} if method == "patch" else None,
        content_type="application/json",
        headers={"Origin": origin},
    )

    assert (response.status_code, error_of(response)["code"]) == (403, "origin_not_allowed")
    project.refresh_from_db()
    assert project.name != "Taken"


def test_the_session_works_for_our_own_pages(member):
    client = member(Role.OPERATOR)

    assert client.get(JOBS, headers={"Origin": OURS}).status_code == 200
    assert client.post(JOBS, URL, content_type="application/json").status_code == 202


def test_without_an_origin_a_session_still_needs_the_csrf_token(member):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies["sessionid"] = member(Role.OPERATOR).cookies["sessionid"].value

    assert strict.post(JOBS, URL, content_type="application/json").status_code == 403


@pytest.mark.django_db
def test_pages_outside_the_api_are_nobody_elses():
    response = Client().get("/admin/login/", headers={"Origin": PAGE})

    assert allowed_to_read(response) is None
