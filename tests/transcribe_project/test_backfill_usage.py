"""What ended before usage was counted is, once."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.utils import timezone

from jobs import lifecycle
from jobs.models import ApiKey, Status, TranscriptionJob, UsageLine
from jobs.models.usage import today
from streaming import lifecycle as live_lifecycle
from streaming.models import LiveSession
from tests.jobs.rows import RESULT, make_job, make_project
from tests.streaming.factories import end, live, progress, results
from transcribe_project.usage_backfill import fill_a_day

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def prices(settings):
    settings.PRICES = {"nova-3": Decimal("0.6")}


def lines():
    columns = ("day", *UsageLine.COLUMNS, "requests", "failed", "seconds", "cost")
    return set(UsageLine.objects.values_list(*columns))


def test_it_comes_to_what_was_counted_as_it_ended_and_doing_it_again_adds_nothing(capsys):
    project = make_project()
    key, _ = ApiKey.objects.issue(project, "backend")
    common = {"project": project, "key": key, "options": {"model": "nova-3"}}
    for _ in range(2):
        lifecycle.complete(make_job(Status.RUNNING, tags=["vip"], mode="async", **common), RESULT)
    lifecycle.fail(make_job(Status.RUNNING, mode="sync", **common), lifecycle.NO_CALL)
    session = live(project, tags=["vip"])
    live_lifecycle.store([progress(session, results(1, "Hello."))])
    end(session, duration=1.0)
    make_job(Status.QUEUED, project=project)
    for day in (today(), today() - timedelta(days=1)):
        UsageLine.objects.merge(day)
    counted = lines()
    TranscriptionJob.objects.filter(status=Status.FAILED).update(
        finished_at=timezone.now() - timedelta(days=40)
    )
    TranscriptionJob.objects.filter(status=Status.COMPLETED).update(
        finished_at=timezone.now() - timedelta(days=2)
    )
    LiveSession.objects.update(ended_at=timezone.now() - timedelta(days=2))
    UsageLine.objects.all().delete()

    call_command("backfill_usage")
    found = lines()
    call_command("backfill_usage")

    assert {line[1:] for line in found} == {line[1:] for line in counted}
    assert {line[0] for line in found} == {today() - timedelta(days=2), today() - timedelta(days=40)}
    assert lines() == found
    assert capsys.readouterr().out.splitlines()[2:] == [
        "2 days were counted.",
        "There is nothing that was not counted.",
    ]


def test_days_that_have_usage_are_left_alone():
    make_job(Status.COMPLETED, finished_at=timezone.now() - timedelta(days=1), duration=60.0)
    UsageLine.objects.create(
        day=today() - timedelta(days=1), project=make_project(), model="", mode="sync", requests=1
    )

    assert fill_a_day() is None
