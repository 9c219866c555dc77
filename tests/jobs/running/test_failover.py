"""Leaving a region that cannot do its work, and what becomes of jobs that may not."""

import pytest

from jobs import lifecycle
from jobs.intake import NoRegionAble, Order, submit
from jobs.lifecycle import CallReport
from jobs.models import Attempt, Status, TranscriptionJob
from jobs.placing import RegionOutsideResidency, _room, place
from jobs.running.failover import held_up_by, leave_regions
from routing import health
from routing.choice import Capability, Health, Provider
from routing.health import FULL, Report
from routing.regions import all_regions
from tests.jobs.rows import ago, claim, fresh, make_job, make_project

pytestmark = pytest.mark.django_db

DEAD = Health(recordings=Provider.ERRING, live=Provider.ERRING)
WITHOUT_WORKERS = Health(slots=0)


@pytest.fixture
def are(monkeypatch, regions):
    """Makes the regions a and b, with this health."""
    regions({"name": "a"}, {"name": "b"})

    def make(*, known=None, **healths):
        told = {name: Report(healths.get(name, Health()), **known or {}) for name in all_regions()}
        monkeypatch.setattr(health, "reports", lambda: told)
        _room.cache_clear()

    yield make
    _room.cache_clear()


def in_line(region="a", **fields):
    return make_job(**{"region": region, "queue": f"transcription.{region}"} | fields)


def test_what_is_queued_or_waits_in_a_region_without_workers_moves(are):
    are(a=WITHOUT_WORKERS)
    jobs = [in_line(), in_line(status=Status.WAITING), in_line(region="b")]

    leave_regions()

    assert {(fresh(job).region, fresh(job).queue) for job in jobs} == {("b", "transcription.b")}
    assert [fresh(job).status for job in jobs] == [Status.QUEUED, Status.WAITING, Status.QUEUED]
    assert TranscriptionJob.objects.claimable("transcription.b").count() == len(jobs)


@pytest.mark.parametrize("healths", [{}, {"a": WITHOUT_WORKERS, "b": WITHOUT_WORKERS}])
def test_nothing_moves_without_need_or_where_no_other_region_can(are, healths):
    are(**healths)
    job = in_line()

    leave_regions()

    assert fresh(job).region == "a"


def test_what_is_pinned_runs_or_may_go_nowhere_else_stays_and_lets_others_go(are):
    are(a=DEAD)
    european = make_project("EU")
    european.residency = ["a"]
    european.save()
    stays = [in_line(pinned=True), in_line(status=Status.RUNNING), in_line(project=european)]
    goes = in_line()

    leave_regions()

    assert [fresh(job).region for job in stays] == ["a", "a", "a"]
    assert fresh(goes).region == "b"


def test_those_of_one_project_keep_their_order_behind_its_last_in_the_other_line(are):
    are(a=DEAD)
    project = make_project()
    waiting = in_line(region="b", project=project, start_tag=7)
    moved = [in_line(project=project, start_tag=tag) for tag in (100, 101, 103)]

    leave_regions()

    assert fresh(waiting).start_tag == 7
    assert [fresh(job).start_tag for job in moved] == [8, 9, 11]


def test_what_is_claimed_meanwhile_stays(are):
    are(a=DEAD)
    job = in_line()
    TranscriptionJob.objects.filter(pk=job.pk).update(
        **{
            name: getattr(in_line(status=Status.RUNNING), name)
            for name in ("status", "lease_token", "lease_until")
        }
    )

    moved = TranscriptionJob.objects.filter(pk=job.pk).move(
        job.project, job.priority, region="b", queue="transcription.b"
    )

    assert (moved, fresh(job).region) == (0, "a")


def test_a_job_is_told_why_it_waits(are):
    are(a=DEAD)

    assert held_up_by(in_line(pinned=True)).why == (
        "It waits for region a, to which it is pinned: its provider fails. It is begun when that is over; "
        "to have it done elsewhere, cancel it and submit it without a region."
    )
    assert held_up_by(in_line()).why.startswith(
        "It waits for region a: its provider fails. It is begun there,"
    )
    assert held_up_by(in_line(region="b")) is None
    assert held_up_by(make_job(Status.COMPLETED, region="a")) is None


@pytest.mark.parametrize(
    ("health", "known"),
    [(DEAD, {"is_full": True}), (Health(), {"is_full": True}), (WITHOUT_WORKERS, {})],
    ids=["its provider fails", "all places are taken", "its workers are gone"],
)
def test_a_job_is_told_since_when_it_waits(are, health, known):
    before, after = ago(3600), ago(0)
    are(a=health, known=known | {"since": {Capability.ASYNC: before, FULL: after}})
    job = in_line(created_at=ago(60), pinned=True)
    full = health == Health()

    assert ("its provider is given no more recordings" in held_up_by(job).why) == full
    assert held_up_by(job).since == (after if full else job.created_at)


def test_what_is_put_off_waits_for_no_place(are):
    are(a=Health(), known={"is_full": True})

    assert held_up_by(in_line(status=Status.WAITING)) is None


def test_a_new_job_goes_where_it_can_be_done(are):
    are(a=WITHOUT_WORKERS)

    places = {place(make_project(), Capability.ASYNC).region.name for _ in range(10)}

    assert places == {"b"}


def test_a_longer_line_is_given_less(are):
    for _ in range(100):
        in_line()
    are(a=Health(slots=1), b=Health(slots=1))

    given = [place(make_project(), Capability.ASYNC).region.name for _ in range(50)]

    assert given.count("b") > 40


def test_an_attempt_that_failed_by_the_provider_is_made_elsewhere_next(are):
    are()
    in_line()
    job = TranscriptionJob.objects.claim("transcription.a", "w", 60)

    lifecycle.wait(job, 5, CallReport(error_code="provider_error"), counted=True, may_leave=True)

    moved = fresh(job)
    assert (moved.status, moved.region, moved.queue) == (Status.WAITING, "b", "transcription.b")
    assert Attempt.objects.get().region == "a"


@pytest.mark.parametrize(
    ("fields", "may_leave"), [({"pinned": True}, True), ({}, False)], ids=["pinned", "not the region's fault"]
)
def test_an_attempt_that_failed_otherwise_is_made_there_again(are, fields, may_leave):
    are()
    in_line(**fields)
    job = TranscriptionJob.objects.claim("transcription.a", "w", 60)

    lifecycle.wait(job, 5, CallReport(error_code="provider_error"), counted=True, may_leave=may_leave)

    assert fresh(job).region == "a"


def test_a_requeue_chooses_anew(are):
    are(a=DEAD)
    job = in_line(status=Status.FAILED)

    lifecycle.requeue(job)

    assert (fresh(job).region, fresh(job).queue) == ("b", "transcription.b")


def test_a_requeue_goes_nowhere_that_the_residency_has_left_out_since(are):
    are()
    job = in_line(status=Status.FAILED, pinned=True)
    job.project.residency = ["b"]

    with pytest.raises(RegionOutsideResidency):
        lifecycle.requeue(job)


def test_explicit_sync_is_refused_before_there_is_a_job_when_no_region_can(are):
    are(a=DEAD, b=DEAD)

    with pytest.raises(NoRegionAble) as refused:
        submit(Order(project=make_project(), options={}, mode="sync"), url="https://example.com/a.wav")

    assert refused.value.status == 503
    assert "its provider fails" in refused.value.message
    assert not TranscriptionJob.objects.exists()


@pytest.mark.parametrize("mode", ["auto", "async"])
def test_everything_else_is_accepted_and_waits_with_the_reason(are, mode):
    are(a=DEAD, b=DEAD)

    job = submit(Order(project=make_project(), options={}, mode=mode), url="https://example.com/a.wav")

    assert job.status == Status.QUEUED
    assert "a: its provider fails; b: its provider fails" in job.receipt["region_reason"]


def test_sync_needs_no_workers(are):
    are(a=WITHOUT_WORKERS, b=DEAD)

    assert place(make_project(), Capability.SYNC).region.name == "a"
    assert claim() is None
