"""What all pages of the admin have in common."""

from datetime import UTC, datetime

import pytest
from django.urls import reverse

from jobs import audit
from jobs.models import ApiKey, Recording, TranscriptionJob, WebhookEndpoint, WorkerProcess
from jobs.models.audit import Action
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


def test_a_list_tells_what_it_is_narrowed_by_and_only_then(staff_client):
    make_job()

    assert "job-applied" not in listed(staff_client, "transcriptionjob")
    assert "job-applied" in listed(staff_client, "transcriptionjob", status__exact="queued")


def test_a_search_without_a_match_leads_back_to_all(staff_client):
    make_job()

    text = listed(staff_client, "transcriptionjob", q="nothing of the kind")

    assert "Nothing matches" in text
    assert "There are no jobs yet" not in text


def test_how_many_are_selected_is_no_more_certain_than_how_many_there_are(staff_client, monkeypatch):
    monkeypatch.setattr("jobs.admin.history.COUNTED_AT_MOST", 51)
    project = make_project()
    for _ in range(52):
        make_job(project=project)

    assert "Select all 51 or more that match" in listed(staff_client, "transcriptionjob")


def test_whoever_may_add_can_do_so_from_an_empty_list(root_client):
    assert reverse("admin:jobs_apikey_add") in listed(root_client, "apikey").partition("job-empty")[2]


def test_there_is_no_other_site_to_view(staff_client):
    assert "View site" not in staff_client.get(reverse("admin:index")).content.decode()


@pytest.mark.parametrize("name", ["user", "group"])
def test_the_sidebar_shows_nobody_what_they_may_not_open(root_client, staff_client, name):
    link = reverse(f"admin:auth_{name}_changelist")

    assert link in root_client.get(reverse("admin:index")).content.decode()
    assert link not in staff_client.get(reverse("admin:index")).content.decode()
    assert staff_client.get(link).status_code == 403


def test_pages_call_things_as_people_do(staff_client):
    job = make_job(url="https://example.com/a.wav")
    for name in ("requeued", "cancelled"):
        audit.record(Action(f"job.{name}"), about=job)
    for name in ("one", "two"):
        WorkerProcess.objects.create(name=name, queues=[], concurrency=1, running=0, seen_at=AT)

    log, workers = listed(staff_client, "auditentry"), listed(staff_client, "workerprocess")

    assert " audit entries </div>" in " ".join(log.split())
    assert "transcription job" in log
    assert "transcriptionjob https" not in log
    assert "2 workers" in " ".join(workers.split())
    assert "<title> Workers | Transcription</title>" in workers


def test_the_path_to_a_page_writes_names_as_they_are(root_client):
    endpoint = WebhookEndpoint.objects.create(project=make_project(), url="http://example.com/hooks")

    page = reverse("admin:jobs_webhookendpoint_change", args=(endpoint.pk,))
    text = root_client.get(page).content.decode()

    assert "Http://" not in text
    assert "(&#x27;enabled" not in text
    assert "enabled" in text


def test_the_log_of_what_nobody_touched_here_leads_to_the_audit_log(staff_client):
    job = make_job()

    page = reverse("admin:jobs_transcriptionjob_history", args=(job.pk,))
    text = staff_client.get(page).content.decode()

    assert f"{reverse('admin:jobs_auditentry_changelist')}?q={job.pk}" in text
    assert "added via this admin site" not in text
