"""What is expected of audio before it is transcribed."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db.models.functions import Now
from django.utils import timezone

from jobs.estimates import estimate, time_for
from jobs.intake import Order
from jobs.models import Attempt, Status, WorkerProcess
from jobs.prices import cost_of
from jobs.transcripts.options import DEFAULTS
from routing.regions import region_named
from tests.jobs.rows import QUEUE, make_job, make_project

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_remembered():
    cache.clear()
    yield
    cache.clear()


def transcribed_lately(project, *, speed, count=10):
    """Attempts that took `speed` seconds per second of audio."""
    cache.clear()
    job = make_job(Status.COMPLETED, project=project, duration=100.0, options=dict(DEFAULTS))
    for _ in range(count):
        now = timezone.now()
        Attempt.objects.create(
            job=job,
            run=1,
            lease_token=uuid4(),
            region="default",
            outcome="completed",
            counted=True,
            started_at=now - timedelta(seconds=100 * speed),
            ended_at=now,
        )


def a_worker(*, slots, queues=(QUEUE,)):
    WorkerProcess.objects.create(name=uuid4().hex, queues=list(queues), concurrency=slots, seen_at=Now())


def order(**fields):
    return Order(project=make_project(), options=dict(DEFAULTS), **fields)


def span(seconds, longest=0.0, **given):
    return time_for(seconds, longest, region_named("default"), DEFAULTS, 1, **given)


def test_nothing_is_said_without_workers_or_without_recent_speed():
    assert span(60) is None
    transcribed_lately(make_project(), speed=0.1)
    assert span(60) is None
    a_worker(slots=2, queues=("webhooks",))
    assert span(60) is None


def test_the_audio_is_shared_out_among_the_slots_of_living_workers():
    transcribed_lately(make_project(), speed=0.1)
    a_worker(slots=2)
    a_worker(slots=3)

    assert span(1000).least == pytest.approx(20, rel=0.01)


def test_the_longest_recording_takes_its_time_however_many_slots_there_are():
    transcribed_lately(make_project(), speed=0.1)
    a_worker(slots=100)

    assert span(1000, longest=500).least == pytest.approx(50, rel=0.01)


def test_what_is_queued_may_go_before_it():
    project = make_project()
    transcribed_lately(project, speed=0.1)
    a_worker(slots=1)
    make_job(project=project, duration=900.0)
    make_job(project=project, duration=9000.0, priority=2)

    found = span(100)

    assert (found.least, found.most) == (pytest.approx(10, rel=0.01), pytest.approx(100, rel=0.01))


def test_what_is_queued_itself_does_not_go_before_itself():
    project = make_project()
    transcribed_lately(project, speed=0.1)
    a_worker(slots=1)
    make_job(project=project, duration=900.0)

    found = span(900, of_queued=900.0)

    assert found.most == pytest.approx(90, rel=0.01)


def test_an_estimate_tells_modes_region_and_cost(settings):
    settings.PRICES = {"nova-3": Decimal("0.6")}

    found = estimate(order(), [10.0, 59.0, 400.0])

    assert found.modes == {"sync": 2, "async": 1}
    assert (found.jobs, found.seconds, found.region) == (3, 469.0, "default")
    assert str(found.cost) == "4.6900"
    assert found.remaining is None


@pytest.mark.parametrize(
    ("prices", "model", "cost"),
    [
        ({}, "nova-3", None),
        ({"nova-2": "1"}, "nova-3", None),
        ({"nova-2": "1", "default": "2"}, "nova-3", "2.0000"),
        ({"nova-3": "0.0043"}, "nova-3", "0.0043"),
        ({"default": "0.1"}, None, "0.1000"),
    ],
)
def test_a_minute_costs_what_the_table_says(settings, prices, model, cost):
    settings.PRICES = {name: Decimal(price) for name, price in prices.items()}

    found = cost_of(60, model)

    assert (None if found is None else str(found)) == cost


def test_many_looks_go_through_what_is_queued_once(project_with_speed, django_assert_num_queries):
    def look():
        return time_for(60.0, 60.0, region_named("default"), DEFAULTS, 1)

    first = look()
    make_job(project=project_with_speed, duration=1000.0)

    # Which workers are alive is asked each time.
    with django_assert_num_queries(1):
        assert look() == first


@pytest.fixture
def project_with_speed():
    project = make_project()
    transcribed_lately(project, speed=0.1)
    a_worker(slots=1)
    return project
