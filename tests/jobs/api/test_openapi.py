"""The committed OpenAPI document is the code's."""

import io

import pytest
import yaml
from django.core.management import call_command
from django.test import Client

from jobs.api.serializers import JobDetailSerializer, JobSerializer
from tests.environment import ROOT
from tests.jobs.api.conftest import JOBS, add_job
from tests.jobs.api.test_jobs import add_recording, finish

DOCUMENT = ROOT / "docs" / "openapi.yml"


def test_the_committed_document_is_what_the_code_says():
    out = io.StringIO()

    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)

    assert DOCUMENT.read_text() == out.getvalue(), (
        "manage.py spectacular --file docs/openapi.yml writes it anew"
    )


def test_a_job_has_exactly_the_fields_that_are_documented(api, project):
    job = add_job(project, recording=add_recording(project), error_code="code", error_message="Why.")
    finish(job)
    documented = yaml.safe_load(DOCUMENT.read_text())["components"]["schemas"]

    shown = api.get(f"{JOBS}{job.pk}/").json()
    [listed] = api.get(JOBS).json()["results"]

    assert list(shown) == list(listed) == list(documented["Job"]["properties"])
    assert set(documented["Job"]["required"]) == set(shown)
    for field, component in (
        ("recording", "Recording"),
        ("error", "JobError"),
        ("transcript", "JobTranscript"),
    ):
        assert list(shown[field]) == list(documented[component]["properties"])
    assert list(JobSerializer().fields) == list(JobDetailSerializer().fields) == list(shown)


@pytest.mark.parametrize(
    ("path", "holds"),
    [("/api/docs/", b"swagger-ui"), ("/api/schema/", b"openapi: 3")],
)
def test_the_documentation_is_served_without_anybody_elses_server(path, holds):
    response = Client().get(path)

    assert response.status_code == 200
    assert holds in response.content
    assert b"cdn." not in response.content
