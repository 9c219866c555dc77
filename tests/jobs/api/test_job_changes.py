"""What is changed of a job after it was submitted, deadlines, and by what jobs are found."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection

from jobs.models import ApiKey, AuditEntry, Priority, Recording, Role, Status, TranscriptionJob
from jobs.models.audit import Action
from jobs.running import sweeper
from tests.jobs.api.conftest import JOBS, add_job, client_for, error_of
from tests.jobs.rows import ago, build_job, fresh, make_job

URL = {"url": "https://example.com/a.wav", "mode": "async"}


def patch(client, job, body):
    return client.patch(f"{JOBS}{job.pk}/", body, content_type="application/json")


def submit(client, **fields):
    return client.post(JOBS, URL | fields, content_type="application/json")


# Changes


def test_metadata_and_tags_are_replaced_whatever_the_status(api, project):
    job = make_job(Status.COMPLETED, project=project, metadata={"old": 1}, tags=["old"])

    response = patch(api, job, {"metadata": {"new": 2}, "tags": ["a", "b"]})

    assert (response.status_code, response.json()["metadata"], response.json()["tags"]) == (
        200,
        {"new": 2},
        ["a", "b"],
    )
    assert (fresh(job).metadata, fresh(job).tags) == ({"new": 2}, ["a", "b"])


def test_what_is_not_given_stays(api, project):
    job = add_job(project, metadata={"kept": 1}, tags=["kept"])

    assert patch(api, job, {"tags": []}).json()["metadata"] == {"kept": 1}
    assert patch(api, job, {}).json()["tags"] == []


@pytest.mark.parametrize("status", [Status.QUEUED, Status.WAITING])
def test_a_job_in_line_gets_a_fair_place_of_its_new_priority(api, project, other_project, status):
    add_job(other_project, priority=Priority.HIGH, start_tag=7)
    add_job(project, priority=Priority.HIGH, start_tag=9)
    job = make_job(status, project=project, start_tag=100)

    response = patch(api, job, {"priority": "high"})

    assert (response.status_code, response.json()["priority"]) == (200, "high")
    # Behind the last of its own project.
    assert (fresh(job).priority, fresh(job).start_tag) == (Priority.HIGH, 10)


def test_the_next_claim_goes_by_the_new_priority(api, project):
    first, second = add_job(project), add_job(project, start_tag=1)

    patch(api, second, {"priority": "high"})

    assert TranscriptionJob.objects.claim(first.queue, "w", 60) == second


@pytest.mark.parametrize("status", [Status.RUNNING, Status.COMPLETED, Status.CANCELLED])
def test_the_priority_of_a_job_that_is_in_no_line_stays(api, project, status):
    job = make_job(status, project=project)

    response = patch(api, job, {"priority": "high", "tags": ["x"]})

    assert (response.status_code, error_of(response)["code"]) == (409, "invalid_transition")
    assert (fresh(job).priority, fresh(job).tags) == (Priority.NORMAL, [])
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"metadata": []}, "metadata"),
        ({"tags": "a"}, "tags"),
        ({"tags": ["x" * 101]}, "tags"),
        ({"status": "completed"}, "status"),
        ({"options": {}}, "options"),
    ],
)
def test_changes_that_make_no_sense_are_refused_by_name(api, project, body, field):
    response = patch(api, add_job(project), body)

    assert (response.status_code, list(error_of(response)["details"])) == (400, [field])


def test_changes_take_an_uploader_and_are_written_down(member, project):
    job = add_job(project)

    assert patch(member(Role.READER), job, {"tags": ["x"]}).status_code == 403
    assert patch(member(Role.UPLOADER), job, {"tags": ["x"]}).status_code == 200
    assert AuditEntry.objects.get(action=Action.JOB_CHANGED).details == {"changed": ["tags"]}


# Deadlines


def test_a_job_that_is_not_begun_by_its_deadline_fails(api):
    job = TranscriptionJob.objects.get(pk=submit(api, deadline=60).json()["id"])
    assert 55 < (job.deadline_at - job.created_at).total_seconds() < 65
    sweeper.sweep()
    assert fresh(job).status == Status.QUEUED

    TranscriptionJob.objects.update(deadline_at=ago(1))
    sweeper.sweep()

    failed = api.get(f"{JOBS}{job.pk}/").json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "deadline_exceeded")


def test_without_a_deadline_the_settings_holds(api, settings):
    settings.JOB_DEADLINE_SECONDS = 3600

    job = TranscriptionJob.objects.get(pk=submit(api).json()["id"])

    assert 3590 < (job.deadline_at - job.created_at).total_seconds() < 3610


@pytest.mark.parametrize("deadline", [0, -5, 31 * 86400, "soon", "2030-01-01T00:00:00Z"])
def test_a_deadline_is_in_seconds(api, deadline):
    response = submit(api, deadline=deadline)

    assert (response.status_code, list(error_of(response)["details"])) == (400, ["deadline"])


# Finding


def test_jobs_are_found_by_error_key_and_person(project, api):
    key, text = ApiKey.objects.issue(project, "phone")
    ann = User.objects.create_user("ann")
    failed = make_job(Status.FAILED, project=project, error_code="corrupt_media", error_message="x")
    by_key, by_ann = add_job(project, key=key), add_job(project, created_by=ann)

    def found(**query):
        return [job["id"] for job in client_for(text).get(JOBS, query_params=query).json()["results"]]

    assert found(error="corrupt_media") == [str(failed.pk)]
    assert found(key=str(key.pk)) == [str(by_key.pk)]
    assert found(created_by="ann") == [str(by_ann.pk)]
    assert found(error="unknown") == found(created_by="bob") == []
    assert api.get(JOBS, query_params={"key": "nonsense"}).status_code == 400


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("fields", "index"),
    [
        ({"error_code": "x"}, "job_by_error"),
        ({"key": "k"}, "job_of_key"),
        ({"created_by": 1}, "job_of_person"),
    ],
)
def test_an_index_finds_them(project, fields, index):
    if "key" in fields:
        fields = {"key": ApiKey.objects.issue(project, "phone")[0]}
    # Others', without which one index would be as good as the other.
    jobs = [build_job(project=project, error_code="y") for _ in range(200)]
    TranscriptionJob.objects.bulk_create(jobs)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_transcriptionjob")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")

    plan = TranscriptionJob.objects.filter(project=project, **fields).order_by("-id")[:50].explain()

    assert index in plan


@pytest.mark.postgresql
def test_a_part_of_a_filename_that_many_have_is_known_to_be_common(project):
    Recording.objects.bulk_create(
        Recording(project=project, filename=f"call-{number}.wav", size=1) for number in range(200)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_recording")

    plans = [Recording.objects.filter(filename__icontains=part).explain() for part in ("call", "walrus")]

    expected = [int(re.search(r"rows=(\d+)", plan)[1]) for plan in plans]
    assert expected[0] > 150 > 10 > expected[1]


def test_rows_of_several_statuses_are_not_told_apart_from_each_other(api, django_assert_max_num_queries):
    with django_assert_max_num_queries(5) as captured:
        api.get(JOBS, query_params={"status": ["queued", "failed"]})

    assert not any("DISTINCT" in query["sql"] for query in captured)
