"""Bodies say what they mean: no unknown fields, and JSON of the right types."""

import pytest

from tests.jobs.api.conftest import JOBS, error_of

KEYS, UPLOADS = "/api/v1/keys/", "/api/v1/uploads/"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (KEYS, {"name": 0}, "name"),
        (KEYS, {"name": "k", "max_open_jobs": "5"}, "max_open_jobs"),
        (KEYS, {"name": "k", "max_open_jobs": True}, "max_open_jobs"),
        (KEYS, {"name": "k", "allowed_origins": ["https://example.com", 1]}, "allowed_origins"),
        (UPLOADS, {"size": 1, "filename": 1.5}, "filename"),
        ("/api/v1/webhooks/", {"url": "https://example.com/hook", "enabled": "no"}, "enabled"),
        ("/api/v1/estimates/", {"durations": ["1"]}, "durations"),
        ("/api/v1/estimates/", {"durations": [1], "project": False}, "project"),
        (JOBS, {"url": "https://example.com/a.wav", "tags": [1]}, "tags"),
    ],
)
def test_a_value_of_another_type_is_refused(api, path, body, field):
    response = api.post(path, body, content_type="application/json")

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "validation_error")
    assert list(error["details"]) == [field]


def test_a_whole_number_may_be_written_as_a_decimal(api):
    response = api.post(UPLOADS, {"size": 5.0}, content_type="application/json")

    assert response.json()["size"] == 5


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (KEYS, {"name": "k", "expires": None}, "There is no such field; did you mean expires_at?"),
        (UPLOADS, {"size": 1, "sha265": "0" * 64}, "There is no such field; did you mean sha256?"),
        (UPLOADS, {"size": 1, "colour": "red"}, "There is no such field."),
        (JOBS, {"url": "https://example.com/a", "model": "nova-3"}, "Deepgram's options go into `options`."),
        (JOBS, {"url": "https://example.com/a", "mode": "asink"}, "This must be one of auto, sync, async."),
        (KEYS, {"name": "k", "scopes": ["wrote"]}, "0: This must be one of read, write, manage."),
    ],
)
def test_what_is_misspelt_is_refused_with_what_would_be_right(api, path, body, told):
    response = api.post(path, body, content_type="application/json")

    assert response.status_code == 400
    assert list(error_of(response)["details"].values()) == [[told]]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("jobs/?mode=x", "This must be one of sync, async."),
        ("usage/?group_by=week", "This must be one of day, month, project, user, key, tag, model, mode."),
        (
            "jobs/?created_after=x",
            "This must be a day or an instant (ISO 8601), such as 2026-11-21T10:33:00Z.",
        ),
    ],
)
def test_so_is_what_a_list_is_narrowed_by(api, query, told):
    response = api.get(f"/api/v1/{query}")

    assert response.status_code == 400
    assert list(error_of(response)["details"].values()) == [[told]]


def test_what_was_shown_may_be_sent_back(api):
    made = api.post(KEYS, {"name": "k"}, content_type="application/json").json()
    shown = api.get(f"{KEYS}{made['id']}/").json()

    response = api.patch(f"{KEYS}{made['id']}/", shown | {"name": "l"}, content_type="application/json")

    assert response.json() == shown | {"name": "l"}
