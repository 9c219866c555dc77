"""How much audio a project may have a day: exact under races, told when refused, and counted once."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from jobs import intake, lifecycle, quotas
from jobs.models import ApiKey, DailyUsage, InvalidTransition, Project, Recording, Status, TranscriptionJob
from jobs.models import usage as usage_module
from jobs.quotas import Quota, QuotaExceeded
from tests.jobs.api.conftest import JOBS, client_for, error_of, upload
from tests.jobs.rows import RESULT, claim, fresh, make_job, make_project, make_recording
from tests.jobs.test_claim import in_threads

URL = "https://example.com/a.wav"


@pytest.fixture
def project(transactional_db):
    return Project.objects.create(name="limited", daily_minutes=2)


@pytest.fixture
def client(project):
    return client_for(ApiKey.objects.issue(project, "key")[1])


def used(project):
    return quotas.today(project).used


def submit(client, seconds):
    return client.post(JOBS, {"file": upload(seconds=seconds), "mode": "async"})


def order(project, **fields):
    return intake.Order(project=project, options={"model": "nova-3"}, mode="async", **fields)


def test_as_much_is_accepted_as_fits_into_the_day(client, project):
    assert [submit(client, seconds).status_code for seconds in (70, 50)] == [202, 202]
    assert used(project) == 120


def test_what_does_not_fit_is_refused_and_leaves_nothing(client, project):
    submit(client, 70)

    refused = submit(client, 51)

    error = error_of(refused)
    assert (refused.status_code, error["code"]) == (429, "quota_exceeded")
    assert "2 min of audio a day, of which 1.2 min are used" in error["message"]
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    assert refused.headers["RateLimit-Policy"] == '"audio-seconds";q=120;w=86400'
    assert refused.headers["RateLimit"].startswith('"audio-seconds";r=50;t=')
    assert (used(project), Recording.objects.count(), TranscriptionJob.objects.count()) == (70, 1, 1)


def test_what_is_longer_than_the_quota_is_not_told_to_wait(client, project):
    refused = submit(client, 121)

    assert (refused.status_code, error_of(refused)["code"]) == (400, "longer_than_quota")
    assert "2.0 min of audio, and the project's quota is 2 min a day" in error_of(refused)["message"]
    assert (used(project), Recording.objects.count()) == (0, 0)


def test_with_nothing_left_it_is_refused_before_a_file_is_received(client, project):
    submit(client, 120)

    refused = client.post(JOBS, b"not even audio", content_type="audio/wav")

    assert (refused.status_code, error_of(refused)["code"]) == (429, "quota_exceeded")


def test_of_many_at_once_none_is_too_many(project):
    def charge():
        try:
            with transaction.atomic():
                quotas.charge(project, 25)
        except QuotaExceeded:
            return False
        return True

    assert sum(in_threads(charge, 12)) == 4
    assert used(project) == 100


def test_what_is_not_inserted_in_the_end_is_not_counted(project):
    with pytest.raises(RuntimeError), transaction.atomic():
        intake.submit(order(project), recording=make_recording(project))
        quotas.charge(project, 30)
        raise RuntimeError

    assert used(project) == 0


def test_the_next_day_begins_anew(project, monkeypatch):
    quotas.charge(project, 120)
    tomorrow = timezone.now().date() + timedelta(days=1)
    monkeypatch.setattr(usage_module, "today", lambda: tomorrow)

    quotas.charge(project, 60)

    assert used(project) == 60
    assert [row.seconds for row in DailyUsage.objects.order_by("day")] == [120, 60]


def test_a_project_without_a_quota_is_not_counted(transactional_db):
    project = make_project()

    quotas.charge(project, 1e6)
    quotas.check(project)

    assert quotas.today(project) is None
    assert not DailyUsage.objects.exists()


def test_a_quota_of_nothing_lets_nothing_in(transactional_db):
    project = Project.objects.create(name="closed", daily_minutes=0)

    with pytest.raises(QuotaExceeded):
        intake.submit(order(project), url=URL)


def test_a_url_is_accepted_while_anything_is_left_and_counts_when_it_is_measured(project):
    quotas.charge(project, 119)
    intake.submit(order(project), url=URL)
    assert used(project) == 119
    job, recording = claim(), Recording(project=project, sha256="0", size=1, duration=30.0)

    for _ in range(2):  # the first time it is not known that it was done
        lifecycle.attach(job, recording)

    assert used(project) == 149
    with pytest.raises(QuotaExceeded):
        intake.submit(order(project), url=URL)
    with pytest.raises(QuotaExceeded):
        intake.queue_all(order(project), [intake.Remote(URL)])


@pytest.mark.parametrize(
    ("status", "counted"), [(Status.COMPLETED, 60), (Status.FAILED, 0), (Status.CANCELLED, 0)]
)
def test_what_was_transcribed_counts_again_when_it_is_requeued(project, status, counted):
    job = make_job(status, project=project, duration=60.0)

    lifecycle.requeue(job)

    assert used(project) == counted


def test_what_was_transcribed_a_moment_before_it_is_requeued_counts_too(project):
    job = make_job(Status.RUNNING, project=project)
    seen = fresh(job)
    lifecycle.complete(job, RESULT)

    lifecycle.requeue(seen)

    assert used(project) == RESULT.duration


def test_of_two_requeues_of_a_run_one_is_refused(project):
    job = make_job(Status.FAILED, project=project)
    seen = fresh(job)
    lifecycle.requeue(job)
    lifecycle.cancel(fresh(job))

    with pytest.raises(InvalidTransition):
        lifecycle.requeue(seen)


def test_a_requeue_that_does_not_fit_leaves_the_job_as_it_was(project):
    quotas.charge(project, 1)
    job = make_job(Status.COMPLETED, project=project, duration=120.0)

    with pytest.raises(QuotaExceeded):
        lifecycle.requeue(job)

    assert TranscriptionJob.objects.get(pk=job.pk).status == Status.COMPLETED


def test_how_much_is_used_is_told_by_the_api_which_cannot_change_it(client, project):
    quotas.charge(project, 45)
    path = f"/api/v1/projects/{project.pk}/"

    client.patch(path, {"daily_minutes": 1000}, content_type="application/json")

    told = client.get(path).json()
    assert (told["daily_minutes"], told["minutes_today"]) == (2, 0.75)


def test_staff_set_it_and_see_how_much_is_used(admin_client, project):
    quotas.charge(project, 45)

    assert "0.8 of 2" in admin_client.get("/admin/jobs/project/").content.decode()
    page = admin_client.get(f"/admin/jobs/project/{project.pk}/change/").content.decode()
    assert "daily_minutes" in page
    assert "0.8 of 2" in page


def test_who_has_nearly_used_it_up_is_told(project):
    for minutes, seconds in ((1, 60), (1, 40), (None, 1000)):
        other = Project.objects.create(name="other", daily_minutes=minutes)
        quotas.count(other.pk, seconds)

    found = quotas.nearly_used_up(0.8)

    assert [(each.project.daily_minutes, each.seconds) for each in found] == [(1, 60)]


def test_what_a_retry_after_says_is_the_end_of_the_day(monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 3, 1, 23, 58, 59, 500_000, tzinfo=UTC))

    assert QuotaExceeded(Quota(60.0, 60.0)).retry_after == 61
