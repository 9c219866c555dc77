"""One attempt, against a provider on loopback that does what the test wants."""

import threading
from time import monotonic

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import OperationalError, connection
from django.utils import timezone

from jobs import lifecycle
from jobs.models import Project, Status, Transcript, TranscriptionJob
from jobs.running import execution, sweeper
from jobs.running.execution import execute
from jobs.running.worker import Worker
from routing.breaker import breaker_of
from tests.conditions import wait_until
from tests.jobs.rows import QUEUE, ago, claim, fresh, make_job, make_project, make_recording
from tests.sandbox.sounds import wav

pytestmark = pytest.mark.django_db(transaction=True)

AUDIO = wav(1.0)


@pytest.fixture
def claimed(provider):
    """A claimed job with a recording."""

    def make(**fields):
        project = make_project()
        make_job(project=project, recording=make_recording(project, AUDIO), url="", **fields)
        return claim()

    return make


def take_over(job):
    """What becomes of the job when its worker is thought dead."""
    # Whoever holds it may renew it in between.
    while fresh(job).status == Status.RUNNING:
        TranscriptionJob.objects.filter(pk=job.pk).update(lease_until=ago(1))
        sweeper.sweep()


def test_the_answer_becomes_the_transcript_and_is_kept(claimed, provider, leases):
    provider.set_transcript("hello there")
    job = claimed()

    execute(job, leases)

    transcript = Transcript.objects.get()
    assert fresh(job).status == Status.COMPLETED
    assert transcript.text == "hello there"
    with storages["default"].open(transcript.answer) as answer:
        assert b'"hello there"' in answer.read()
    assert job.history.get().request_id


@pytest.mark.parametrize(("improve", "opt_out"), [(False, "true"), (True, "false")])
def test_audio_is_kept_from_training_unless_the_project_says_otherwise(
    claimed, provider, leases, improve, opt_out
):
    job = claimed()
    job.project.improve_provider_models = improve
    job.project.save()

    execute(job, leases)

    assert ["mip_opt_out", opt_out] in provider.requests()["recent"][0]["query"]


def test_what_the_project_has_left_out_is_left_out_whatever_was_asked_for(claimed, provider, leases):
    job = claimed()
    Project.objects.filter(pk=job.project_id).update(redact=["pci", "ssn"])
    TranscriptionJob.objects.filter(pk=job.pk).update(
        status=Status.QUEUED, lease_token=None, lease_until=None, options={"redact": ["numbers", "pci"]}
    )

    execute(TranscriptionJob.objects.claim(job.queue, leases.name, 60), leases)

    asked = [value for name, value in provider.requests()["recent"][0]["query"] if name == "redact"]
    assert asked == ["numbers", "pci", "ssn"]


REJECTED = [
    ("status=400", "provider_rejected"),
    ("status=404", "provider_rejected"),
    ("status=413", "provider_too_large"),
    ("status=415", "provider_unsupported_media"),
]
UNAVAILABLE = [
    ("status=408", "provider_error"),
    ("status=500", "provider_error"),
    ("status=503", "provider_error"),
    ("reset=upload", "provider_unreachable"),
    ("reset=request", "provider_unreachable"),
    ("reset=answer", "provider_unreachable"),
    ("truncated", "provider_malformed_answer"),
    ("not_json", "provider_malformed_answer"),
    ("empty", "provider_malformed_answer"),
]
SILENT = ["hang", "half_open", "drip=0.05", "drip=0.05;part=head"]
DEFERRED = [
    ("status=429", "provider_rate_limited"),
    ("status=401", "provider_unauthorized"),
    ("status=402", "provider_payment_required"),
    ("status=403", "provider_forbidden"),
]


@pytest.mark.parametrize(("fault", "code"), REJECTED)
def test_what_would_be_refused_again_fails_at_once(claimed, provider, leases, fault, code):
    job = claimed()
    provider.set_faults(fault)

    execute(job, leases)

    assert (fresh(job).status, fresh(job).error_code, fresh(job).attempts) == ("failed", code, 1)


@pytest.mark.parametrize(("fault", "code"), UNAVAILABLE)
def test_what_may_pass_is_tried_again(claimed, provider, leases, fault, code):
    job = claimed()
    provider.set_faults(fault)

    execute(job, leases)

    assert (fresh(job).status, fresh(job).error_code, fresh(job).attempts) == ("waiting", code, 1)


@pytest.mark.parametrize(("fault", "code"), UNAVAILABLE)
def test_the_last_attempt_that_fails_fails_the_job(claimed, provider, leases, fault, code):
    job = claimed(attempts=2)
    provider.set_faults(fault)

    execute(job, leases)

    assert (fresh(job).status, fresh(job).error_code, fresh(job).attempts) == ("failed", code, 3)


@pytest.mark.parametrize("fault", SILENT)
def test_a_provider_that_does_not_come_to_an_end_is_left_at_the_deadline(
    claimed, provider, leases, settings, fault
):
    settings.PROVIDER_DEADLINE_SECONDS = 0.5
    job = claimed()
    provider.set_faults(fault)
    begun = monotonic()

    execute(job, leases)

    assert monotonic() - begun < 0.5 + 8
    assert (fresh(job).status, fresh(job).error_code) == ("waiting", "provider_timeout")


@pytest.mark.parametrize(("fault", "code"), DEFERRED)
def test_what_is_not_the_jobs_fault_is_no_attempt(claimed, provider, leases, fault, code):
    job = claimed(attempts=2)
    provider.set_faults(fault)

    execute(job, leases)

    stored = fresh(job)
    assert (stored.status, stored.error_code) == ("waiting", code)
    assert (stored.attempts, stored.deferrals) == (2, 1)


def test_retry_after_is_honoured(claimed, provider, leases):
    job = claimed()
    provider.set_faults("status=429;retry_after=7")

    execute(job, leases)

    assert 6 < (fresh(job).run_at - timezone.now()).total_seconds() < 10


@pytest.mark.parametrize(("fault", "unknown"), [("reset=request", True), ("status=500", False)])
def test_a_call_whose_answer_never_came_is_marked_as_perhaps_billed(
    claimed, provider, leases, fault, unknown
):
    job = claimed()
    provider.set_faults(fault)

    execute(job, leases)

    assert job.history.get().outcome_unknown is unknown


def test_audio_that_cannot_be_read_is_an_attempt(claimed, provider, leases):
    job = claimed()
    job.recording.delete_audio()

    execute(job, leases)

    assert (fresh(job).status, fresh(job).error_code) == ("waiting", "audio_unreadable")
    assert str(job.recording_id) not in fresh(job).error_message
    assert provider.requests()["total"] == 0


def test_an_answer_that_came_after_the_lease_was_lost_is_used_by_who_has_it_now(claimed, provider, leases):
    late = claimed()
    take_over(late)
    again = claim()

    execute(late, leases)
    assert (fresh(late).status, Transcript.objects.count()) == (Status.RUNNING, 0)
    execute(again, leases)

    assert fresh(late).status == Status.COMPLETED
    assert provider.requests()["total"] == 1


@pytest.mark.parametrize("ended", ["cancelled", "failed"])
def test_an_answer_that_came_after_the_run_ended_otherwise_is_not_kept(claimed, leases, ended):
    late = claimed()
    take_over(late)
    lifecycle.cancel(fresh(late)) if ended == "cancelled" else lifecycle.pass_deadline(fresh(late))

    execute(late, leases)

    assert not storages["default"].exists(late.answer_name)


def test_an_answer_that_another_used_is_kept(claimed, leases):
    late = claimed()
    take_over(late)
    execute(claim(), leases)

    execute(late, leases)

    assert storages["default"].exists(late.answer_name)


def test_a_kept_answer_that_is_cut_short_is_asked_for_again(claimed, provider, leases):
    job = claimed()
    storages["default"].save(job.answer_name, ContentFile(b'{"results": {"chan'))
    take_over(job)

    execute(claim(), leases)

    assert fresh(job).status == Status.COMPLETED
    assert provider.requests()["total"] == 1


def test_another_run_asks_anew(claimed, provider, leases):
    job = claimed()
    execute(job, leases)
    lifecycle.requeue(fresh(job))

    execute(claim(), leases)

    assert provider.requests()["total"] == 2


@pytest.mark.parametrize("lost", ["cancelled", "taken over"])
def test_losing_the_lease_ends_the_call(claimed, provider, leases, lost):
    job = claimed()
    provider.set_faults("hang")
    call = threading.Thread(target=lambda: (execute(job, leases), connection.close()))
    call.start()
    wait_until(lambda: provider.requests()["active"])

    lifecycle.cancel(fresh(job)) if lost == "cancelled" else take_over(job)

    call.join(90)
    assert not call.is_alive()
    assert fresh(job).status == ("cancelled" if lost == "cancelled" else "queued")
    assert not Transcript.objects.exists()


def failing(times):
    """A database that loses its connection `times` times when a transcript is written."""

    def execute_sql(execute, sql, params, many, context):
        nonlocal times
        if "jobs_transcript" in sql and sql.startswith("INSERT") and times:
            times -= 1
            raise OperationalError("the server closed the connection")
        return execute(sql, params, many, context)

    return execute_sql


def test_an_outcome_that_cannot_be_written_is_written_when_the_database_is_back(
    claimed, provider, leases, monkeypatch
):
    monkeypatch.setattr(execution, "DATABASE_REST_SECONDS", 0.01)
    job = claimed(attempts=1)

    with connection.execute_wrapper(failing(times=3)):
        execute(job, leases)

    assert (fresh(job).status, fresh(job).attempts) == (Status.COMPLETED, 2)
    assert provider.requests()["total"] == job.history.count() == 1


def test_a_job_that_could_not_be_begun_without_the_database_is_given_back(claimed, leases, monkeypatch):
    monkeypatch.setattr(execution, "DATABASE_REST_SECONDS", 0.01)
    # As who claims this very job has it.
    job, broken = TranscriptionJob.objects.get(pk=claimed().pk), iter([True])

    def losing(execute_sql, sql, params, many, context):
        if "jobs_recording" in sql and next(broken, False):
            raise OperationalError("the server closed the connection")
        return execute_sql(sql, params, many, context)

    with connection.execute_wrapper(losing):
        execute(job, leases)

    assert (fresh(job).status, fresh(job).crashes) == (Status.QUEUED, 0)


def test_a_claimed_job_is_begun_without_asking_the_database_again(claimed, provider, leases, regions):
    regions({"name": "default"})
    job, asked = claimed(), []

    def noting(execute_sql, sql, params, many, context):
        asked.append(provider.requests()["total"])
        return execute_sql(sql, params, many, context)

    with connection.execute_wrapper(noting):
        execute(job, leases)

    assert set(asked) == {1}


def test_what_nobody_foresaw_is_an_attempt_that_failed_and_not_the_workers_death(
    claimed, leases, monkeypatch, caplog
):
    job = claimed()
    monkeypatch.setattr(execution, "to_query", lambda options: 1 / 0)

    execute(job, leases)

    stored = fresh(job)
    assert (stored.status, stored.error_code, stored.attempts) == (Status.WAITING, "internal_error", 1)
    assert "ZeroDivisionError" in stored.error_message
    assert "ZeroDivisionError" in caplog.text


def test_a_region_that_is_gone_costs_no_attempt(claimed, leases):
    job = claimed(region="renamed")

    execute(job, leases)

    stored = fresh(job)
    assert (stored.status, stored.error_code, stored.attempts) == (Status.WAITING, "unknown_region", 0)


def test_an_answer_that_cannot_be_stored_is_committed_all_the_same(claimed, leases, provider, monkeypatch):
    job = claimed()

    def full(name, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storages["default"], "save", full)

    execute(job, leases)

    assert fresh(job).status == Status.COMPLETED
    assert Transcript.objects.get().answer == ""
    assert provider.requests()["total"] == 1


@pytest.mark.parametrize("fault", ["status=429;retry_after=30", "status=401"])
def test_a_region_that_refuses_everybody_is_left_alone(claimed, leases, provider, fault):
    provider.set_faults(fault)
    job = claimed()
    make_job(project=job.project)
    worker = Worker([QUEUE], 1, leases)

    execute(job, leases)
    worker.run_available(QUEUE)

    assert provider.requests()["total"] == 1
    assert TranscriptionJob.objects.filter(status=Status.QUEUED).count() == 1


@pytest.mark.parametrize("why", ["audio that is gone", "a server that is gone"])
def test_a_job_that_makes_no_call_leaves_a_half_open_breakers_to_the_next(claimed, leases, provider, why):
    job = claimed()
    if why == "audio that is gone":
        job.recording.delete_audio()
    else:
        job.recording, job.url = None, "http://127.0.0.1:1/a.wav"
    breaker = breaker_of("default")
    breaker.open(0)
    assert [breaker.admits(), breaker.admits()] == [True, False]

    execute(job, leases)

    assert provider.requests()["total"] == 0
    assert breaker.admits()


def test_an_answer_closes_the_breaker_again(claimed, leases, provider):
    job = claimed()
    breaker = breaker_of("default")
    breaker.open(0)

    execute(job, leases)

    assert [breaker.admits(), breaker.admits()] == [True, True]
