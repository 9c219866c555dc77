"""What a Celery worker is told, and what it makes of its region."""

import pytest
from celery.bin.base import CLIContext
from celery.bin.worker import worker
from celery.worker import WorkController

from transcribe_project.celery import app, serve_regions

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker_of(settings):
    """Makes one as its command does, and puts back what that changes for the process."""
    before = {name: app.conf[name] for name in ("broker_url", "worker_concurrency")}

    def make(region: str, *arguments: str) -> WorkController:
        settings.REGION = region
        obj = CLIContext(app=app, no_color=True, workdir=".")
        given = worker.make_context("worker", ["-P", "threads", *arguments], obj=obj).params
        serve_regions()
        return WorkController(app=app, hostname="w", pool_cls="threads", concurrency=given["concurrency"])

    yield make
    app.conf.update(before)
    del app.amqp.queues


@pytest.mark.parametrize(
    ("region", "arguments", "concurrency"),
    [
        ("eu", [], 20),
        ("eu", ["-c", "10"], 10),
        ("eu", ["-c", "3"], 3),
        ("", [], 10),
        ("", ["-c", "3"], 3),
    ],
)
def test_a_worker_runs_as_many_jobs_as_it_was_told_or_as_its_region_s_profile_says(
    regions, settings, worker_of, region, arguments, concurrency
):
    settings.WORKER_CONCURRENCY = 10
    regions({"name": "eu", "profile": "enterprise"})

    assert worker_of(region, *arguments).concurrency == concurrency
