"""Every refusal is JSON of one shape, wherever it comes from."""

import contextlib

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.http import Http404
from django.test import Client
from rest_framework.exceptions import Throttled

from jobs.api.errors import exception_handler
from jobs.audio.probe import ProbeError
from jobs.models import TranscriptionJob
from tests.jobs.api.conftest import JOBS, error_of


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/nothing",
        "/api/v1/",
        "/api/v1/jobs",
        "/api/v1/jobs/1/",
        "/api/v1/nothing/?format=html",
        "/api/v2/",
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_not_there_is_told_in_json(path, method):
    response = getattr(Client(), method)(path, headers={"Accept": "text/html"})

    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


def test_a_method_that_is_not_there_is_told_in_json(api):
    response = api.put(JOBS)

    assert (response.status_code, error_of(response)["code"]) == (405, "method_not_allowed")
    assert set(response["Allow"].split(", ")) >= {"GET", "POST"}


@pytest.mark.parametrize("accepts", ["text/html", "application/xml", "*/*", "nonsense"])
def test_answers_are_json_whatever_is_accepted(api, accepts):
    response = api.get(JOBS, headers={"Accept": accepts})

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")


@pytest.mark.django_db
@pytest.mark.parametrize("path", [JOBS, "/api/nothing/"])
def test_a_host_that_is_not_ours_is_told_so_in_json(path):
    response = Client().get(path, headers={"Host": "elsewhere.example"})

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "bad_request")
    assert "ALLOWED_HOSTS" in error["message"]


class FailingMiddleware:
    """Raises before any view is called."""

    error: Exception

    def __init__(self, get_response):
        pass

    def __call__(self, request):
        raise self.error


FAILURES = [
    (SuspiciousOperation("secret"), 400, "bad_request"),
    (PermissionDenied("secret"), 403, "permission_denied"),
    (Http404("secret"), 404, "not_found"),
    (ZeroDivisionError("secret"), 500, "internal_error"),
]


@pytest.fixture
def failing(settings, monkeypatch):
    """Makes every request fail with this before it comes to a view; a client that gets the answer."""

    def fail(error):
        monkeypatch.setattr(FailingMiddleware, "error", error, raising=False)
        settings.MIDDLEWARE = [f"{__name__}.{FailingMiddleware.__name__}"]
        return Client(raise_request_exception=False)

    return fail


@pytest.mark.parametrize(("error", "status", "code"), FAILURES)
def test_what_fails_before_a_view_below_api_is_told_in_json(failing, error, status, code):
    response = failing(error).get(JOBS)

    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert b"secret" not in response.content


@pytest.mark.parametrize(("error", "status", "code"), FAILURES)
def test_elsewhere_failures_are_pages(failing, error, status, code):
    response = failing(error).get("/healthz")

    assert response.status_code == status
    assert response["Content-Type"].startswith("text/html")


def test_the_page_of_what_nobody_foresaw_names_the_request_as_the_logs_do(failing, settings):
    client = failing(ZeroDivisionError())
    settings.MIDDLEWARE = ["transcribe_project.requests.RequestMiddleware", *settings.MIDDLEWARE]

    response = client.get("/healthz")

    assert f"<code>{response['X-Request-ID']}</code>" in response.content.decode()


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("gone")])
def test_without_the_database_clients_are_asked_to_come_back(error):
    response = exception_handler(error, {})

    assert (response.status_code, response.data["error"]["code"]) == (503, "service_unavailable")
    assert int(response["Retry-After"]) > 0
    assert "gone" not in response.data["error"]["message"]


def test_what_was_deleted_in_that_moment_is_not_found():
    response = exception_handler(TranscriptionJob.DoesNotExist(), {})

    assert (response.status_code, response.data["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), DatabaseError("secret")])
def test_what_nobody_foresaw_is_logged_and_told_without_its_message(error, caplog):
    response = exception_handler(error, {})

    assert (response.status_code, response.data["error"]["code"]) == (500, "internal_error")
    assert "secret" not in str(response.data)
    assert caplog.records[-1].exc_info[1] is error


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("unsupported_media", 415),
        ("corrupt_media", 415),
        ("media_too_long", 415),
        ("probe_timeout", 415),
        ("probe_crashed", 415),
        ("probe_unavailable", 503),
    ],
)
def test_what_probing_found_is_told_with_its_code(code, status):
    response = exception_handler(ProbeError(code, "Why."), {})

    assert response.status_code == status
    assert response.data == {"error": {"code": code, "message": "Why.", "details": None}}
    assert response.has_header("Retry-After") == (status == 503)


def test_who_asks_too_often_is_told_when_to_come_back():
    response = exception_handler(Throttled(wait=1.2), {})

    assert (response.status_code, response.data["error"]["code"]) == (429, "throttled")
    assert int(response["Retry-After"]) >= 2


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_lost_database_is_a_503_and_not_for_good(api):
    with connection.cursor() as cursor, contextlib.suppress(OperationalError):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    lost = api.get(JOBS)
    connection.close()
    back = api.get(JOBS)

    assert (lost.status_code, error_of(lost)["code"]) == (503, "service_unavailable")
    assert lost["Retry-After"]
    assert back.status_code == 200
