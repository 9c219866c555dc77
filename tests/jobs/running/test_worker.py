"""A worker in this process, with a provider on loopback."""

import threading
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from jobs import lifecycle
from jobs.models import Priority, Status, TranscriptionJob, WorkerProcess
from jobs.queues import ISOLATION_QUEUE, WEBHOOK_QUEUE
from jobs.running import isolation, leases
from jobs.running.leases import LeaseKeeper
from jobs.running.worker import STUCK_EXIT_CODE, Worker
from jobs.webhooks import deliverer
from routing import coordination, limits
from routing.choice import Provider
from routing.health import PROVIDER, Probed, reports
from routing.limits import Kind
from routing.models import RegionRow
from routing.regions import region_named
from routing.transport import Call
from tests.conditions import wait_until
from tests.jobs.rows import QUEUE, ago, build_job, fresh, make_job, make_project, make_recording
from tests.sandbox.sounds import wav

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker(settings, provider):
    settings.POLL_SECONDS = 0.05
    settings.HEARTBEAT_SECONDS = 0.2
    made = []

    def make(*queues, concurrency=4):
        made.append(Worker(queues or [QUEUE, ISOLATION_QUEUE], concurrency, LeaseKeeper()))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        one._pool.shutdown()
    wait_until(
        lambda: not {thread.name for thread in threading.enumerate()} & {"worker", "deliver", "regions"}
    )


@pytest.fixture
def queue_jobs():
    project = make_project()
    recording = make_recording(project, wav(1.0))

    def make(count, **fields):
        jobs = [build_job(project=project, recording=recording, url="", **fields) for _ in range(count)]
        return TranscriptionJob.objects.bulk_create(jobs)

    return make


def open_jobs():
    return TranscriptionJob.objects.open().count()


def test_a_look_runs_all_there_is(worker, queue_jobs):
    queue_jobs(10)

    worker(concurrency=1).run_available(QUEUE)

    assert set(TranscriptionJob.objects.values_list("status", flat=True)) == {"completed"}


def test_what_waits_for_a_provider_that_probes_find_failing_loses_no_attempt(worker, queue_jobs, provider):
    [job] = queue_jobs(1, pinned=True)

    for state, status in (
        (Provider.ERRING, "queued"),
        (Provider.REFUSING, "queued"),
        (Provider.OK, "completed"),
    ):
        coordination.store().note("default", PROVIDER, str(Probed(state)), 60)
        reports.cache_clear()
        worker(concurrency=1).run_available(QUEUE)
        assert fresh(job).status == status

    assert fresh(job).attempts == 1


def test_one_wake_up_fills_all_slots_and_no_more(worker, queue_jobs, provider):
    provider.set_faults("latency=1")
    queue_jobs(6)

    worker(concurrency=4).run_available(QUEUE)

    wait_until(lambda: not open_jobs())
    assert provider.requests()["peak"] == 4


def test_the_next_job_is_begun_while_an_answer_is_still_to_be_stored(
    worker, queue_jobs, provider, monkeypatch
):
    stored, complete = threading.Event(), lifecycle.complete

    def complete_later(*args, **kwargs):
        stored.wait(90)
        return complete(*args, **kwargs)

    monkeypatch.setattr(lifecycle, "complete", complete_later)
    queue_jobs(4)

    threading.Thread(target=worker(concurrency=2).run_available, args=(QUEUE,)).start()

    wait_until(lambda: provider.requests()["total"] == 4)
    assert TranscriptionJob.objects.filter(status=Status.RUNNING).count() == 4
    assert provider.requests()["peak"] <= 2
    stored.set()
    wait_until(lambda: not open_jobs())


def test_many_wake_ups_at_once_start_no_more_than_there_are_slots(worker, queue_jobs, provider):
    provider.set_faults("latency=0.1")
    queue_jobs(30)
    looking = worker(concurrency=3)

    threads = [threading.Thread(target=looking._look_at, args=(QUEUE,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    wait_until(lambda: not open_jobs())
    assert provider.requests()["peak"] == 3
    assert provider.requests()["total"] == 30


def test_jobs_are_found_without_a_message(worker, queue_jobs):
    queue_jobs(3)

    worker().start()

    wait_until(lambda: not open_jobs())


def test_a_retry_that_falls_due_is_found_without_a_message(worker, queue_jobs):
    worker().start()

    queue_jobs(1, status=Status.WAITING, run_at=ago(-0.3))

    wait_until(lambda: not open_jobs())


def test_other_queues_are_left(worker, queue_jobs):
    (other,) = queue_jobs(1, queue="transcription.eu")
    queue_jobs(1)
    worker().start()

    wait_until(lambda: open_jobs() == 1)

    assert fresh(other).status == Status.QUEUED


def test_a_region_that_is_made_meanwhile_is_served_by_a_worker_of_all(worker, queue_jobs):
    heard_of = []
    running = worker()
    running._hear_of = heard_of.append
    running.start()
    RegionRow.objects.create(name="eu", queue="transcription.eu")

    queue_jobs(1, region="eu", queue="transcription.eu")

    wait_until(lambda: not open_jobs())
    assert heard_of == ["transcription.eu"]


def test_who_was_told_to_stop_claims_nothing(worker, queue_jobs):
    queue_jobs(1)
    stopped = worker()
    stopped.stop()

    stopped.run_available(QUEUE)

    assert open_jobs() == 1


def test_who_is_cut_off_claims_nothing(worker, queue_jobs, settings):
    queue_jobs(1)
    cut_off = worker()
    settings.LEASE_SECONDS = 0

    with cut_off.leases.hold(make_job(Status.RUNNING), Call(60)):
        cut_off.run_available(QUEUE)

        assert TranscriptionJob.objects.filter(status=Status.QUEUED).count() == 1


def test_a_worker_reports_itself_until_it_leaves(worker):
    reporting = worker(QUEUE, WEBHOOK_QUEUE, concurrency=7)
    reporting.start()
    wait_until(WorkerProcess.objects.alive().exists)
    process = WorkerProcess.objects.get()

    reporting.drain(1)

    assert (process.queues, process.concurrency) == ([QUEUE, WEBHOOK_QUEUE], 7)
    assert not WorkerProcess.objects.exists()


def test_a_worker_sweeps(worker, queue_jobs, settings):
    settings.SWEEP_SECONDS = 0.1
    (lost,) = queue_jobs(1, status=Status.RUNNING)
    TranscriptionJob.objects.update(lease_until=ago(1))

    worker().start()

    wait_until(lambda: not open_jobs())
    assert lost.history.count() == 2


@pytest.mark.parametrize(("embedded", "codes"), [(False, [STUCK_EXIT_CODE]), (True, [])])
def test_a_worker_with_a_thread_that_is_stuck_leaves_unless_embedded(
    worker, settings, monkeypatch, embedded, codes
):
    settings.EMBEDDED = embedded
    monkeypatch.setattr(leases, "STUCK_AFTER_SECONDS", -60.0)
    left = []
    monkeypatch.setattr(Worker, "exit_within", lambda self, grace, code: left.append(code))
    minding = worker()

    with minding.leases.hold(make_job(Status.RUNNING), Call(60)):
        minding.start()
        wait_until(lambda: left or WorkerProcess.objects.exists())

    assert left == codes


def test_deliveries_are_made_without_a_message(worker, monkeypatch):
    delivered = threading.Event()
    monkeypatch.setattr(deliverer, "deliver_due", lambda *_: delivered.set())

    worker(WEBHOOK_QUEUE).start()

    assert delivered.wait(90)


def test_jobs_in_isolation_run_one_at_a_time_beside_the_others(worker, queue_jobs, monkeypatch):
    apart, peak = [], []

    def run_apart(job, leases):
        apart.append(job.pk)
        peak.append(len(apart))
        wait_until(lambda: TranscriptionJob.objects.filter(queue=QUEUE, status="completed").count() == 2)
        job.release()
        TranscriptionJob.objects.filter(pk=job.pk).update(status="cancelled", finished_at=Now())
        apart.remove(job.pk)

    monkeypatch.setattr(isolation, "run_apart", run_apart)
    queue_jobs(3, queue=ISOLATION_QUEUE)
    queue_jobs(2)

    worker(concurrency=4).start()

    wait_until(lambda: not open_jobs())
    assert peak == [1, 1, 1]


@pytest.fixture
def elsewhere(provider):
    """Has another process hold so many slots for recordings at the provider."""

    def hold(count):
        limit = limits._limit_of(region_named("default"))
        room = {"of_kind": 1000, "in_all": 1000, "seconds": 60}
        coordination.store().hold(limit, Kind.RECORDINGS, "elsewhere", count, **room)

    return hold


def test_workers_call_the_provider_as_often_at_once_as_it_allows(worker, queue_jobs, provider, settings):
    settings.PROVIDER_MAX_RECORDINGS = 4
    provider.set_faults("latency=0.1")
    jobs = queue_jobs(12)

    worker(concurrency=8).start()

    wait_until(lambda: not open_jobs())
    # One is left to callers who wait.
    assert provider.requests()["peak"] == 3
    assert {(fresh(job).attempts, fresh(job).deferrals) for job in jobs} == {(1, 0)}
    wait_until(lambda: limits.in_use(region_named("default"))[Kind.RECORDINGS] == 0)


def test_without_room_at_the_provider_jobs_stay_where_they_are_in_the_queue(
    worker, queue_jobs, settings, elsewhere
):
    settings.PROVIDER_MAX_RECORDINGS = 4
    (job,) = queue_jobs(1)
    elsewhere(4)
    looking = worker()

    looking.run_available(QUEUE)

    assert (fresh(job).status, fresh(job).attempts, fresh(job).deferrals) == ("queued", 0, 0)
    elsewhere(0)
    looking.start()
    wait_until(lambda: fresh(job).status == "completed")


def test_low_priority_has_half_of_a_worker_at_most(worker, queue_jobs, provider):
    provider.set_faults("latency=0.1")
    queue_jobs(8, priority=Priority.LOW)

    worker(concurrency=4).start()

    wait_until(lambda: not open_jobs())
    assert provider.requests()["peak"] == 2


def test_low_priority_waits_while_half_of_a_worker_is_busy(worker, queue_jobs, provider):
    provider.set_faults("latency=0.3")
    (low,) = queue_jobs(1, priority=Priority.LOW)
    others = queue_jobs(8)

    worker(concurrency=4).start()

    wait_until(lambda: not open_jobs())
    # Of the others at least three ended before there was room for it.
    assert sorted(fresh(job).finished_at for job in others)[2] <= fresh(low).claimed_at


def test_low_priority_waits_while_half_of_the_provider_is_busy(worker, queue_jobs, settings, elsewhere):
    settings.PROVIDER_MAX_RECORDINGS = 10
    (low,), (normal,) = queue_jobs(1, priority=Priority.LOW), queue_jobs(1)
    elsewhere(5)
    looking = worker()

    looking.run_available(QUEUE)

    wait_until(lambda: fresh(normal).status == "completed")
    assert fresh(low).status == "queued"
    elsewhere(4)
    looking.start()
    wait_until(lambda: fresh(low).status == "completed")


def test_one_slot_alone_serves_low_priority_too(worker, queue_jobs):
    queue_jobs(2, priority=Priority.LOW)

    worker(concurrency=1).run_available(QUEUE)

    assert not open_jobs()


def test_a_worker_reports_what_its_clock_shows(worker, caplog):
    worker()._report()

    reported = WorkerProcess.objects.get()
    assert abs(reported.clock_at - reported.seen_at) < timedelta(seconds=10)
    assert reported.clock_ahead is None
    assert "clock" not in caplog.text


@pytest.mark.parametrize(
    ("shows", "ahead"), [(-601, -601), (-31, -31), (-29, None), (0, None), (29, None), (31, 31)]
)
def test_a_clock_is_right_within_half_a_minute_of_the_databases(shows, ahead):
    seen = timezone.now()
    reported = WorkerProcess(seen_at=seen, clock_at=seen + timedelta(seconds=shows))

    assert reported.clock_ahead == (None if ahead is None else timedelta(seconds=ahead))


def test_a_clock_that_is_off_is_told_once_until_it_is_right_again(worker, caplog):
    looking, seen = worker(), timezone.now()
    off = WorkerProcess(seen_at=seen, clock_at=seen - timedelta(minutes=10))
    right = WorkerProcess(seen_at=seen, clock_at=seen)

    for reported in (off, off, right, off):
        looking._watch_clock(reported)

    assert caplog.text.count("600 s behind the database's") == 2
