"""Jobs that run while their caller waits."""

import threading

import pytest
from django.db import connection
from django.utils import timezone

from jobs import intake
from jobs.audio.keeping import keep
from jobs.audio.received import ReceivedFile
from jobs.models import Batch, BatchSealed, Priority, Project, Recording, TranscriptionJob
from jobs.running import sync
from jobs.transcripts.options import DEFAULTS
from routing import limits
from routing.breaker import breaker_of
from routing.choice import Provider
from routing.health import report_of, reports
from routing.limits import Kind, Use
from routing.regions import region_named
from routing.trust import SLOW_CALLS
from tests.conditions import wait_until
from tests.jobs.rows import make_job, make_project
from tests.sandbox.sounds import wav

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def one_slot(settings):
    settings.SYNC_SLOTS = 1
    sync._slots.cache_clear()
    yield
    wait_until(lambda: not sync._running)
    sync._slots.cache_clear()


@pytest.fixture
def submit(provider, one_slot):
    project = make_project()

    def submit(**fields):
        with ReceivedFile("a.wav", "audio/wav") as upload:
            upload.receive(wav(1.0))
            upload.complete()
            recording = keep(project, upload)
        order = intake.Order(project=project, options=dict(DEFAULTS), **fields)
        return order, intake.submit(order, recording=recording)

    return submit


def test_a_caller_waits_for_a_slot_and_for_the_job_no_longer_than_once(submit, provider):
    provider.set_faults("latency=5")
    submit(mode="sync", patience=1)

    order, job = submit(mode="sync", patience=1)

    # All of it went to the slot.
    assert order.waits < 0.1
    assert (job.mode, job.receipt["mode"], job.receipt["rule"]) == ("async", "async", "no_slot")


def test_a_region_that_is_left_alone_is_called_for_no_caller_either(submit, provider):
    breaker_of("default").open(60)

    _, job = submit(mode="auto", patience=2)

    assert (job.status, job.mode, job.receipt["rule"]) == ("queued", "async", "no_slot")
    assert provider.requests()["total"] == 0


def test_who_insists_on_waiting_is_refused_while_the_only_region_is_left_alone(submit, provider):
    breaker_of("default").open(60)

    with pytest.raises(intake.NoRegionAble):
        submit(mode="sync", patience=2)

    assert not TranscriptionJob.objects.exists()
    assert not Recording.objects.exists()


@pytest.mark.parametrize(
    ("mode", "respond_async", "may_wait"),
    [("auto", False, True), ("auto", True, False), ("sync", True, True), ("async", False, False)],
)
def test_who_insists_on_waiting_does_whatever_else_they_prefer(mode, respond_async, may_wait):
    order = intake.Order(project=Project(), options={}, mode=mode, respond_async=respond_async)

    assert order.may_wait == may_wait


def test_without_room_at_the_provider_it_goes_to_the_queue_and_says_so(submit, provider, settings):
    settings.PROVIDER_MAX_RECORDINGS = 1
    others = limits.take(region_named("default"), Use.SYNC)

    _, job = submit(mode="auto")

    assert (job.status, job.mode, job.receipt["rule"]) == ("queued", "async", "no_slot")
    others.give_back()
    _, job = submit(mode="auto")
    assert job.mode == "sync"
    wait_until(lambda: limits.in_use(region_named("default"))[Kind.RECORDINGS] == 0)


def test_without_room_in_one_region_it_runs_in_another_and_where_it_is_pinned_it_waits(submit, regions):
    a = regions({"name": "a", "api_key": "a", "max_recordings": 1}, {"name": "b", "weight": 0})["a"]
    reports()  # from before its place was taken
    others = limits.take(a, Use.SYNC)

    jobs = [submit(mode="auto", region=pinned)[1] for pinned in ("", "a")]

    assert [(job.region, job.mode) for job in jobs] == [("b", "sync"), ("a", "async")]
    others.give_back()
    wait_until(lambda: not sync._running)


def test_a_region_whose_calls_take_too_long_is_left_to_those_who_have_no_other(
    submit, regions, provider, settings
):
    regions({"name": "a"}, {"name": "b", "weight": 0})
    provider.set_faults("latency=0.3")
    settings.PROVIDER_SLOW_SECONDS = 0
    for _ in range(SLOW_CALLS):
        order, job = submit(mode="sync")
        assert job.region == "a"
        assert sync.wait(job, order.waits, through_retries=True)
    reports.cache_clear()

    assert report_of("a").health.recordings == Provider.SLOW
    assert [submit(mode="auto", region=pinned)[1].region for pinned in ("", "a")] == ["b", "a"]


def test_what_goes_to_the_queue_takes_no_room_at_the_provider(submit, settings):
    settings.PROVIDER_MAX_RECORDINGS = 5

    submit(mode="async")
    submit(mode="auto", priority=Priority.LOW)

    assert limits.in_use(region_named("default"))[Kind.RECORDINGS] == 0


def test_what_goes_to_the_queue_anyway_is_no_probe(submit):
    breaker_of("default").open(0)

    submit(mode="async")

    assert breaker_of("default").admits()


def test_a_submission_that_is_refused_leaves_the_probe_to_the_next(submit):
    breaker_of("default").open(0)
    sealed = Batch.objects.create(project=Project.objects.get(), sealed_at=timezone.now())

    with pytest.raises(BatchSealed):
        submit(mode="auto", batch=sealed)

    assert breaker_of("default").admits()


def test_no_connection_is_held_while_waiting_for_a_slot(one_slot, monkeypatch):
    held = []
    slots = sync._slots()
    monkeypatch.setattr(slots, "acquire", lambda timeout: held.append(connection.connection) or True)
    monkeypatch.setattr(slots, "release", lambda: None)

    def wait_for_one():
        TranscriptionJob.objects.exists()
        with sync.Slot(wanted=True, wait=5):
            pass

    waiting = threading.Thread(target=wait_for_one)
    waiting.start()
    waiting.join()

    assert held == [None]


def test_a_job_that_is_deleted_while_its_caller_waits_is_no_error(submit, provider):
    provider.set_faults("latency=1")
    _, job = submit(mode="sync")
    TranscriptionJob.objects.all().delete()

    assert not sync.wait(job, 3, through_retries=True)


def test_a_job_that_could_go_back_to_the_queue_has_its_place_there(submit):
    make_job(project=make_project("B"), start_tag=1000)

    _, job = submit(mode="sync")

    assert TranscriptionJob.objects.get(pk=job.pk).start_tag == 1000
