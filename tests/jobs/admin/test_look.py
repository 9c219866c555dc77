"""What all pages of the admin have in common."""

from datetime import UTC, datetime

import pytest
from django.urls import reverse

from jobs.models import ApiKey, Recording, TranscriptionJob, WorkerProcess
from tests.jobs.rows import make_job, make_project, make_recording

AT = datetime(2026, 11, 21, 14, 5, tzinfo=UTC)
LISTS = ["transcriptionjob", "recording", "delivery", "workerprocess", "apikey"]


def listed(client, name, **query):
    return client.get(reverse(f"admin:jobs_{name}_changelist"), query).content.decode()


@pytest.mark.parametrize("name", ["transcriptionjob", "recording", "workerprocess", "apikey"])
def test_every_list_writes_dates_alike(staff_client, name):
    project = make_project()
    make_job(project=project, recording=make_recording(project))
    ApiKey.objects.issue(project, "Backend")
    WorkerProcess.objects.create(name="w", queues=[], concurrency=1, running=0, seen_at=AT)
    for model in (TranscriptionJob, Recording, ApiKey):
        model.objects.update(created_at=AT)

    assert "2026-11-21 14:05" in listed(staff_client, name)


@pytest.mark.parametrize("name", LISTS)
def test_an_empty_list_says_how_there_comes_to_be_something(staff_client, name):
    text = listed(staff_client, name)

    assert "yet" in text.partition("job-empty")[2].partition("</div>")[0]
    assert "Create a new item" not in text


def test_a_search_without_a_match_leads_back_to_all(staff_client):
    make_job()

    text = listed(staff_client, "transcriptionjob", q="nothing of the kind")

    assert "Nothing matches" in text
    assert "There are no jobs yet" not in text


def test_whoever_may_add_can_do_so_from_an_empty_list(root_client):
    assert reverse("admin:jobs_apikey_add") in listed(root_client, "apikey").partition("job-empty")[2]


def test_there_is_no_other_site_to_view(staff_client):
    assert "View site" not in staff_client.get(reverse("admin:index")).content.decode()
