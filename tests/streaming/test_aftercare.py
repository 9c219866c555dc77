"""What workers do about sessions that no relay looks after any more."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone

from jobs.database_clock import seconds_from_now
from jobs.forgetting import erasure
from jobs.models import AuditEntry, Event
from jobs.models.audit import Action
from jobs.running.worker import Worker
from streaming import aftercare, lifecycle
from streaming.models import FinalResult, Hole, LiveSession, State
from tests.conditions import wait_until
from tests.counted import Rise
from tests.streaming.factories import end, interrupt, live, progress, results


def forgotten(project, days: int) -> LiveSession:
    session = live(project)
    lifecycle.store([progress(session, results(1, "canary"))])
    end(session)
    LiveSession.objects.filter(pk=session.pk).update(ended_at=timezone.now() - timedelta(days=days))
    return session


def test_a_sweep_ends_what_nobody_looks_after_and_nothing_else(project):
    lost, attended = live(project), live(project)
    LiveSession.objects.filter(pk=lost.pk).update(lease_until=seconds_from_now(-1))
    lapsed = Rise("transcribe_sweeper_rescues_total", what="lapsed_stream")

    aftercare.sweep(lambda: False)

    states = dict(LiveSession.objects.values_list("pk", "state"))
    assert states == {lost.pk: State.ENDED, attended.pk: State.LIVE}
    assert lapsed.by == 1
    assert Event.objects.get().data["reason"] == "lost"


def test_a_client_that_does_not_come_back_is_no_failure_of_ours(project):
    session = live(project, resumable=True)
    interrupt(session)
    LiveSession.objects.filter(pk=session.pk).update(lease_until=seconds_from_now(-1))
    of_ours = Rise("transcribe_sweeper_rescues_total", what="lapsed_stream")
    of_theirs = Rise("transcribe_sweeper_rescues_total", what="abandoned_stream")

    aftercare.sweep(lambda: False)

    assert LiveSession.objects.get().is_ended
    assert (of_ours.by, of_theirs.by) == (0, 1)


def test_sessions_whose_leases_ran_out_while_the_database_was_away_are_left_to_their_relays_at_first(
    project, settings, monkeypatch
):
    session = live(project)
    LiveSession.objects.update(lease_until=seconds_from_now(-10))

    sweep_without_database(monkeypatch)
    aftercare.sweep(lambda: False)
    assert not LiveSession.objects.get().is_ended

    settings.HEARTBEAT_SECONDS = 0.0
    sweep_without_database(monkeypatch)
    aftercare.sweep(lambda: False)
    assert LiveSession.objects.get(pk=session.pk).is_ended


def sweep_without_database(monkeypatch) -> None:
    def away():
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(LiveSession.objects, "lapsed", away)
        patch.setattr(Hole.objects, "due", away)
        aftercare.sweep(lambda: False)


@pytest.mark.django_db(transaction=True)
def test_workers_sweep_by_themselves(project, settings):
    settings.SWEEP_SECONDS = 0.05
    session = live(project)
    LiveSession.objects.filter(pk=session.pk).update(lease_until=seconds_from_now(-1))
    worker = Worker([], 1)

    worker.start()
    try:
        wait_until(lambda: LiveSession.objects.get().is_ended, 30)
    finally:
        worker.drain(5)


def test_results_go_when_their_time_is_over_and_the_session_stays(project):
    past, recent = forgotten(project, days=31), forgotten(project, days=29)
    open_session = live(project)
    lifecycle.store([progress(open_session, results(1, "canary"))])
    project.transcript_days = 30
    project.save()

    call_command("purge", verbosity=0)

    assert set(FinalResult.objects.values_list("session", flat=True)) == {recent.pk, open_session.pk}
    assert LiveSession.objects.filter(pk=past.pk).exists()
    assert AuditEntry.objects.get(action=Action.DATA_PURGED).details == {"counts": {"results": 1}}


def test_nothing_goes_without_a_policy(project):
    forgotten(project, days=4000)

    call_command("purge", verbosity=0)

    assert FinalResult.objects.count() == 1


def test_a_project_is_erased_with_its_sessions(project):
    forgotten(project, days=1)
    live(project)
    erasure.begin(project)

    call_command("purge", verbosity=0)

    assert not LiveSession.objects.exists()
    assert AuditEntry.objects.get(action=Action.PROJECT_ERASED).details["counts"]["streams"] == 2
