"""What became of the jobs that were accepted lately."""

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.ids import uuid7_of
from jobs.models import Status
from jobs.trends import DAY, HOUR, WEEK, by_status
from tests.jobs.rows import make_job, make_project


@pytest.mark.django_db
def test_jobs_are_counted_in_the_stretch_in_which_they_were_accepted(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    project, now = make_project(), timezone.now()
    for minutes, status in [(1, Status.QUEUED), (2, Status.FAILED), (58, Status.FAILED), (61, Status.DEAD)]:
        at = now - timedelta(minutes=minutes)
        make_job(status, project=project, id=uuid7_of(at, f"{minutes}"), created_at=at)

    hour, day, week = (by_status(window, now) for window in (HOUR, DAY, WEEK))

    assert (len(hour), len(day), len(week)) == (12, 24, 28)
    assert hour[-1] == {"queued": 1, "failed": 1} | dict.fromkeys(
        ("running", "waiting", "completed", "cancelled", "dead"), 0
    )
    assert hour[0]["failed"] == 1
    assert sum(counted["dead"] for counted in hour) == 0
    assert (day[-2]["dead"], day[-1]["failed"]) == (1, 2)
    assert week[-1].total() == 4
