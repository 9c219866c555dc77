"""Batches: when they are finished, what of that is told, and how all their jobs are moved."""

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs import intake, lifecycle
from jobs.batches import completion, making, moves
from jobs.batches.progress import tally_of
from jobs.batches.work import do_all
from jobs.forgetting.deletion import delete_job
from jobs.lifecycle import CallReport
from jobs.models import (
    Batch,
    BatchArchive,
    BatchSealed,
    Delivery,
    Event,
    Project,
    RefusedItem,
    Status,
    TranscriptionJob,
)
from jobs.transcripts.options import DEFAULTS
from tests.jobs.rows import RESULT, ago, fresh, make_job, make_project, make_recording

FAILURE = CallReport(error_code="provider_error", error_message="Broken.")
ROUNDS = 10


def make_batch(project=None, sealed=True, **fields):
    return Batch.objects.create(
        project=project or make_project(),
        options=dict(DEFAULTS),
        sealed_at=ago(1) if sealed else None,
        **fields,
    )


def add(batch, status=Status.RUNNING, **fields):
    return make_job(status, project=batch.project, batch=batch, **fields)


def told(batch):
    """The run of each `batch.completed` of the batch."""
    events = Event.objects.filter(type="batch.completed", batch=batch)
    return list(events.order_by("sequence").values_list("sequence", flat=True))


def is_finished(batch):
    return Batch.objects.get(pk=batch.pk).finished_at is not None


ENDS = {
    "complete": lambda job: lifecycle.complete(job, RESULT),
    "fail": lambda job: lifecycle.fail(job, FAILURE),
    "bury": lambda job: lifecycle.bury(job, "It died."),
    "cancel": lifecycle.cancel,
    "delete": delete_job,
}


@pytest.mark.django_db
@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_the_last_job_finishes_a_sealed_batch_however_it_ends(end):
    batch = make_batch()
    first, last = add(batch), add(batch)

    ENDS[end](first)
    assert (is_finished(batch), told(batch)) == (False, [])
    ENDS[end](last)

    assert (is_finished(batch), told(batch)) == (True, [1])


@pytest.mark.django_db
def test_a_deadline_that_passes_is_an_end_too():
    batch = make_batch()
    job = add(batch, Status.QUEUED)

    lifecycle.pass_deadline(job)

    assert told(batch) == [1]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "move",
    [
        lifecycle.release,
        lambda job: lifecycle.wait(job, 30, FAILURE, counted=True),
        lifecycle.lose_lease,
    ],
)
def test_what_is_no_end_finishes_nothing(move):
    batch = make_batch()

    move(add(batch, lease_until=ago(1)))

    assert not is_finished(batch)


@pytest.mark.django_db
def test_a_batch_that_may_take_more_is_not_finished_before_it_is_sealed():
    batch = make_batch(sealed=False)
    lifecycle.complete(add(batch), RESULT)
    assert not is_finished(batch)

    completion.seal(batch)
    completion.seal(batch)

    assert (is_finished(batch), told(batch)) == (True, [1])


@pytest.mark.django_db
def test_a_batch_with_an_archive_to_be_opened_is_not_finished():
    batch = make_batch()
    BatchArchive.objects.create(batch=batch, file="archives/x", size=1)

    lifecycle.complete(add(batch), RESULT)

    assert not is_finished(batch)


@pytest.mark.django_db
def test_what_is_told_says_how_it_went():
    batch = make_batch(name="March", metadata={"order": 7}, callback_url="https://example.com/hook")
    RefusedItem.objects.create(batch=batch, name="a.txt", code="unsupported_media", message="No audio.")
    failed, last = add(batch, duration=2.0), add(batch, duration=1.5)
    lifecycle.fail(failed, FAILURE)
    lifecycle.complete(last, RESULT)

    event = Event.objects.get(type="batch.completed")

    assert event.project_id == batch.project_id
    assert event.data["counts"] == dict.fromkeys(Status.values, 0) | {"completed": 1, "failed": 1}
    assert event.data | {"url": None, "export_url": None, "counts": None, "project": None} == {
        "id": str(batch.pk),
        "project": None,
        "name": "March",
        "run": 1,
        "sequence": 1,
        "counts": None,
        "refused": 1,
        "duration": 3.5,
        "metadata": {"order": 7},
        "truncated": False,
        "url": None,
        "export_url": None,
    }
    assert Delivery.objects.get(event=event).url == "https://example.com/hook"


@pytest.mark.django_db
def test_a_requeue_opens_the_batch_again_and_its_next_end_is_told_as_the_next_run():
    batch = make_batch()
    done, failed = add(batch), add(batch)
    lifecycle.complete(done, RESULT)
    lifecycle.fail(failed, FAILURE)

    lifecycle.requeue(fresh(failed))
    assert not is_finished(batch)
    lifecycle.cancel(fresh(failed))

    assert told(batch) == [1, 2]


@pytest.mark.django_db
def test_the_end_of_a_job_without_a_batch_asks_for_no_batch():
    job = make_job(Status.RUNNING)

    with CaptureQueriesContext(connection) as asked:
        lifecycle.complete(job, RESULT)

    assert not [query for query in asked if "jobs_batch" in query["sql"] and "INSERT" not in query["sql"]]


@pytest.mark.django_db
def test_the_end_of_a_job_in_a_batch_counts_no_jobs():
    batch = make_batch()
    job = add(batch)
    add(batch)

    with CaptureQueriesContext(connection) as asked:
        lifecycle.complete(job, RESULT)

    of_batch = [query["sql"] for query in asked if "batch" in query["sql"] and "INSERT" not in query["sql"]]
    assert len(of_batch) == 2
    assert not [sql for sql in of_batch if "COUNT" in sql.upper()]


def together(*moves):
    """What these raised (None: nothing), made at the same time, each in a thread with its own connection."""
    barrier = threading.Barrier(len(moves))

    def run(move):
        barrier.wait(90)
        try:
            move()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(moves)) as pool:
        return [future.exception(30) for future in [pool.submit(run, move) for move in moves]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("end", ENDS)
def test_of_the_last_jobs_that_end_at_once_one_finishes_the_batch(end):
    for _ in range(ROUNDS):
        batch = make_batch()
        jobs = [add(batch) for _ in range(4)]

        raised = together(*[partial(ENDS[end], fresh(job)) for job in jobs])

        assert raised == [None] * 4
        assert (is_finished(batch), told(batch)) == (True, [1])


@pytest.mark.django_db(transaction=True)
def test_of_an_end_and_a_requeue_at_once_the_batch_is_finished_only_if_nothing_is_open():
    for _ in range(ROUNDS):
        batch = make_batch()
        failed, last = add(batch, Status.FAILED), add(batch)

        together(partial(lifecycle.requeue, fresh(failed)), partial(lifecycle.complete, fresh(last), RESULT))

        assert fresh(failed).status == "queued"
        assert not is_finished(batch)
        assert told(batch) in ([], [1])
        # Told already, then this is its next run.
        assert Batch.objects.get(pk=batch.pk).run == len(told(batch)) + 1


@pytest.mark.django_db(transaction=True)
def test_of_sealing_and_submitting_at_once_no_job_comes_into_a_finished_batch():
    for _ in range(ROUNDS):
        batch = make_batch(sealed=False)
        submit = partial(intake.submit, making.order_of(batch), url="https://example.com/a.wav")

        sealing, submission = together(partial(completion.seal, batch), submit)

        assert sealing is None
        assert submission is None or isinstance(submission, BatchSealed)
        assert batch.jobs.count() == (submission is None)
        assert is_finished(batch) == (submission is not None)


@pytest.mark.django_db
def test_cancelling_ends_all_that_is_open_seals_the_batch_and_leaves_archives_unopened():
    batch = make_batch(sealed=False)
    jobs = [add(batch, status) for status in (Status.QUEUED, Status.RUNNING, Status.WAITING)]
    done = add(batch, Status.COMPLETED)
    BatchArchive.objects.create(batch=batch, file="archives/x", size=1)

    moves.cancel(batch)

    assert {fresh(job).status for job in jobs} == {"cancelled"}
    assert fresh(done).status == "completed"
    assert (is_finished(batch), told(batch)) == (True, [1])
    assert not BatchArchive.objects.unopened().exists()
    assert Batch.objects.get(pk=batch.pk).move == ""


@pytest.mark.django_db
def test_requeuing_runs_what_failed_or_died_once_more_and_nothing_else():
    batch = make_batch()
    again = [add(batch, Status.FAILED), add(batch, Status.DEAD)]
    others = [add(batch, Status.COMPLETED), add(batch, Status.CANCELLED)]
    completion.seal(batch)

    moves.requeue(batch)

    assert {(fresh(job).status, fresh(job).run) for job in again} == {("queued", 2)}
    assert [fresh(job).run for job in others] == [1, 1]


@pytest.mark.django_db
def test_deleting_takes_jobs_refusals_and_events_along():
    batch = make_batch()
    other = add(make_batch(batch.project))
    add(batch, Status.COMPLETED)
    add(batch, Status.QUEUED)
    RefusedItem.objects.create(batch=batch, name="a", code="c", message="m")

    moves.delete(batch)

    assert list(TranscriptionJob.objects.all()) == [other]
    assert not Batch.objects.filter(pk=batch.pk).exists()
    assert not RefusedItem.objects.exists()
    assert not Event.objects.filter(type="batch.completed").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("move", ["cancel", "requeue", "delete"])
def test_what_is_more_than_a_request_should_move_is_moved_by_a_worker(move, monkeypatch):
    monkeypatch.setattr(moves, "MOVED_AT_ONCE", 3)
    batch = make_batch()
    for _ in range(8):
        add(batch, Status.FAILED if move == "requeue" else Status.QUEUED)

    getattr(moves, move)(batch)
    assert Batch.objects.get(pk=batch.pk).move == move
    do_all(lambda: False)

    left = TranscriptionJob.objects.filter(batch=batch)
    wanted = {"cancel": {"cancelled"}, "requeue": {"queued"}, "delete": set()}[move]
    assert set(left.values_list("status", flat=True)) == wanted
    assert not Batch.objects.moving().exists()


@pytest.mark.django_db
def test_a_job_that_is_deleted_meanwhile_holds_up_no_cancellation(monkeypatch):
    batch = make_batch()
    first, gone, last = (add(batch, Status.QUEUED) for _ in range(3))
    cancel = lifecycle.cancel

    def cancel_while_another_deletes(job):
        delete_job(gone)
        cancel(job)

    monkeypatch.setattr(lifecycle, "cancel", cancel_while_another_deletes)

    moves.cancel(batch)

    assert [fresh(job).status for job in (first, last)] == ["cancelled", "cancelled"]
    assert is_finished(batch)


@pytest.mark.django_db
def test_a_job_whose_region_is_gone_holds_up_no_requeue():
    batch = make_batch()
    gone = add(batch, Status.FAILED, region="gone", pinned=True)
    failed = add(batch, Status.FAILED)

    moves.requeue(batch)

    assert [fresh(job).status for job in (gone, failed)] == ["failed", "queued"]
    assert not Batch.objects.moving().exists()


@pytest.mark.django_db
def test_jobs_that_no_region_may_take_any_more_hold_up_no_requeue():
    batch = make_batch()
    failed = add(batch, Status.FAILED)
    Project.objects.update(residency=["moon"])

    moves.requeue(batch)

    assert fresh(failed).status == "failed"
    assert not Batch.objects.moving().exists()


@pytest.mark.django_db
def test_a_batch_that_is_being_deleted_takes_no_job():
    batch = make_batch(sealed=False, move="delete")

    with pytest.raises(BatchSealed):
        intake.submit(making.order_of(batch), url="https://example.com/a.wav")

    assert not batch.jobs.exists()


@pytest.mark.django_db
def test_a_tally_counts_jobs_and_audio(settings):
    settings.PRICES = {"nova-3": Decimal("0.6"), "default": Decimal("6")}
    batch = make_batch()
    add(batch, Status.COMPLETED, duration=60.0, options={"model": "nova-3"})
    add(batch, Status.QUEUED, duration=120.0, options={"model": "nova-2"})
    add(batch, Status.QUEUED)
    add(make_batch(batch.project), Status.QUEUED, duration=1000.0)

    tally = tally_of(batch)

    assert (tally.jobs, tally.ended, tally.unknown) == (3, 1, 1)
    assert (tally.seconds, tally.seconds_ended) == (180.0, 60.0)
    # The unknown one is taken to be as long as the others on average.
    assert tally.seconds_left == 120.0 + 90.0
    assert str(tally.cost) == "12.6000"


@pytest.mark.django_db
def test_each_channel_of_several_is_paid_for(settings):
    settings.PRICES = {"default": Decimal("1")}
    batch = make_batch()
    recording = make_recording(batch.project)
    type(recording).objects.update(channels=2)
    add(batch, duration=60.0, recording=recording, url="", options={"multichannel": True})

    assert str(tally_of(batch).cost) == "2.0000"
