"""A key's limits: exact however many ask at once, told in headers, and free for keys without one."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from django.db import connection
from django.utils import timezone

from jobs import intake
from jobs.api.views import jobs as views
from jobs.audio.keeping import keep
from jobs.models import ApiKey, Project, Recording, Status, TooManyRequests, TranscriptionJob
from tests.jobs.api.conftest import JOBS, add_job, client_for, error_of, upload, wav
from tests.jobs.rows import make_job, make_recording
from tests.web_process import WebProcess

URL = {"url": "https://example.com/a.wav"}
SUBMITS, AT_ONCE, QUOTA = 200, 40, 10


def limited(project, **limits):
    return ApiKey.objects.issue(project, "limited", **limits)


def submit(client):
    return client.post(JOBS, URL, content_type="application/json")


def post_many(web, text, path="/api/v1/jobs/", **request):
    """The statuses of SUBMITS requests, AT_ONCE at a time."""
    headers = {"Authorization": f"Token {text}", **request.pop("headers", {})}
    with (
        httpx.Client(base_url=web.url, headers=headers, trust_env=False, timeout=60) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        return list(pool.map(lambda _: client.post(path, **request).status_code, range(SUBMITS)))


@pytest.fixture(scope="module")
def running_web(database_address):
    with WebProcess({"DATABASE_URL": database_address}) as process:
        yield process


@pytest.fixture
def web(database_url, running_web):
    return running_web


# Requests a minute


def test_answers_tell_what_is_left(project):
    client = client_for(limited(project, requests_per_minute=60)[1])

    first, second = client.get(JOBS), client.get("/api/v1/regions/")

    assert first.headers["RateLimit-Policy"] == '"requests";q=60;w=60'
    assert first.headers["RateLimit"] == '"requests";r=59;t=1'
    assert second.headers["RateLimit"] in ('"requests";r=58;t=2', '"requests";r=59;t=1')


def test_one_too_many_is_refused_until_there_is_a_request_again(project):
    key, text = limited(project, requests_per_minute=2)
    client = client_for(text)
    for _ in range(2):
        assert client.get(JOBS).status_code == 200

    refused = client.get(JOBS)

    assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limited")
    assert 28 <= int(refused.headers["Retry-After"]) <= 30
    assert refused.headers["RateLimit"].startswith('"requests";r=0;t=')
    spent_until = ApiKey.objects.get(pk=key.pk).spent_until
    ApiKey.objects.update(spent_until=spent_until - timedelta(seconds=30))
    assert client.get(JOBS).status_code == 200
    assert client.get(JOBS).status_code == 429


def test_a_refused_request_costs_none(project):
    key, text = limited(project, requests_per_minute=1)
    client_for(text).get(JOBS)
    spent_until = ApiKey.objects.get(pk=key.pk).spent_until

    assert client_for(text).get(JOBS).status_code == 429

    assert ApiKey.objects.get(pk=key.pk).spent_until == spent_until


def test_the_settings_limit_holds_for_keys_without_their_own(project, settings):
    settings.KEY_REQUESTS_PER_MINUTE = 1
    default, own = ApiKey.objects.issue(project, "x")[1], limited(project, requests_per_minute=2)[1]

    assert [client_for(default).get(JOBS).status_code for _ in range(2)] == [200, 429]
    assert [client_for(own).get(JOBS).status_code for _ in range(3)] == [200, 200, 429]


def test_the_use_of_a_limited_key_is_noted(project):
    key, text = limited(project, requests_per_minute=10)

    client_for(text).get(JOBS)

    assert ApiKey.objects.get(pk=key.pk).last_used_at is not None


def test_a_key_without_limits_costs_no_statement_more(
    project, regions, django_assert_num_queries, django_capture_on_commit_callbacks
):
    regions({"name": "default"})
    client = client_for(ApiKey.objects.issue(project, "x", last_used_at=timezone.now())[1])

    with django_assert_num_queries(3) as asked:
        # Its key, the start tag, the job.
        assert submit(client).status_code == 202

    assert not any("UPDATE" in query["sql"] for query in asked)


@pytest.mark.django_db(transaction=True)
def test_many_processes_and_threads_take_exactly_the_limit(project):
    key, _ = limited(project, requests_per_minute=QUOTA)

    def take(_):
        try:
            ApiKey.objects.get(pk=key.pk).use()
            return True
        except TooManyRequests:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(40))) == QUOTA


# Open jobs


def test_as_many_jobs_may_be_open_and_no_more(project):
    key, text = limited(project, max_open_jobs=2)
    client = client_for(text)
    first, second, third = submit(client), submit(client), submit(client)

    assert (first.status_code, second.status_code) == (202, 202)
    assert (third.status_code, error_of(third)["code"]) == (429, "too_many_open_jobs")
    assert third.headers["RateLimit-Policy"] == '"open-jobs";q=2'
    assert int(third.headers["Retry-After"]) > 0
    assert key.jobs.count() == 2


def test_a_job_that_ends_makes_room(project):
    key, text = limited(project, max_open_jobs=1)
    job = make_job(Status.QUEUED, project=project, key=key)

    assert submit(client_for(text)).status_code == 429
    job.cancel()
    assert submit(client_for(text)).status_code == 202


def test_others_jobs_do_not_count(project, other_project):
    for owner in (project, other_project):
        add_job(owner, key=limited(owner)[0])

    assert submit(client_for(limited(project, max_open_jobs=1)[1])).status_code == 202


def test_a_full_key_is_refused_before_its_body_is_looked_at(project):
    key, text = limited(project, max_open_jobs=1)
    add_job(project, key=key)

    response = client_for(text).post(JOBS, b"not JSON", content_type="application/json")

    assert response.status_code == 429


def test_a_recording_that_came_too_late_is_not_kept(project, monkeypatch):
    key, text = limited(project, max_open_jobs=1)

    def another_is_quicker(project, upload, **details):
        add_job(project, key=key)
        return keep(project, upload, **details)

    monkeypatch.setattr(views, "keep", another_is_quicker)

    response = client_for(text).post(JOBS, {"file": upload()})

    assert response.status_code == 429
    assert not Recording.objects.exists()


@pytest.mark.parametrize("limit", ["requests_per_minute", "max_open_jobs"])
@pytest.mark.parametrize("value", [0, -1, "many"])
def test_limits_start_at_one(api, limit, value):
    response = api.post("/api/v1/keys/", {"name": "x", limit: value}, content_type="application/json")

    assert (response.status_code, list(error_of(response)["details"])) == (400, [limit])


@pytest.mark.django_db(transaction=True)
def test_of_200_parallel_submissions_exactly_10_are_accepted(web):
    project = Project.objects.create(name="S7")
    _, text = limited(project, max_open_jobs=QUOTA)

    answered = post_many(web, text, json=URL | {"mode": "async"})

    assert sorted(answered) == [202] * QUOTA + [429] * (SUBMITS - QUOTA)
    assert TranscriptionJob.objects.count() == QUOTA


@pytest.mark.django_db(transaction=True)
def test_of_200_parallel_uploads_exactly_10_are_kept(web):
    project = Project.objects.create(name="S7")
    _, text = limited(project, max_open_jobs=QUOTA)

    answered = post_many(
        web, text, "/api/v1/jobs/?mode=async", content=wav(0.1), headers={"Content-Type": "audio/wav"}
    )

    assert sorted(answered) == [202] * QUOTA + [429] * (SUBMITS - QUOTA)
    assert (TranscriptionJob.objects.count(), Recording.objects.count()) == (QUOTA, QUOTA)


@pytest.mark.django_db(transaction=True)
def test_of_200_parallel_requests_exactly_as_many_as_allowed_are_served(web):
    _, text = limited(Project.objects.create(name="S7"), requests_per_minute=QUOTA)
    begun = timezone.now()

    answered = post_many(web, text, json=URL | {"mode": "async"})

    # While they were asked, some came back.
    regained = int((timezone.now() - begun).total_seconds() * QUOTA / 60)
    assert QUOTA <= answered.count(202) <= QUOTA + regained + 1
    assert answered.count(202) + answered.count(429) == SUBMITS


def test_what_is_refused_leaves_others_recordings_alone(project):
    key, _ = limited(project, max_open_jobs=1)
    recording = make_recording(project)
    add_job(project, key=key, recording=recording)

    with pytest.raises(intake.TooManyOpenJobs):
        intake.submit(intake.Order(project, {}, mode="async", key=key), recording=recording)

    assert Recording.objects.filter(pk=recording.pk).exists()
