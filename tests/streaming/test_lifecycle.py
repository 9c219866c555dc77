"""What a relay stores of its sessions, and who may still store when another has taken over."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from jobs.database_clock import seconds_from_now
from jobs.forgetting import erasure
from jobs.models import ApiKey, Delivery, Event, EventType, UsageLine, WebhookEndpoint
from streaming import aftercare, lifecycle
from streaming.lifecycle import Moment, NotResumable, TooManySessions
from streaming.models import (
    RESUME_SECONDS,
    EndReason,
    FinalResult,
    Happening,
    LiveSession,
    NotHeld,
    State,
)
from streaming.rules import actions
from tests.streaming.factories import connect, end, interrupt, live, progress, results

ASKED = {"options": {"model": "nova-3"}, "tags": ["desk"]}
CONNECTED_AT = datetime(2026, 5, 1, 12, 0, 0, 250_000, UTC)


def resumable(project):
    session, token = lifecycle.open_session(project, **ASKED, resumable=True)
    connect(session)
    return session, token


def forget(session: LiveSession) -> None:
    """Its process died so long ago that its lease has run out."""
    LiveSession.objects.filter(pk=session.pk).update(lease_until=seconds_from_now(-1))


def stored(session: LiveSession) -> LiveSession:
    return LiveSession.objects.get(pk=session.pk)


def test_a_session_is_connecting_until_its_provider_is_there(project):
    session, token = lifecycle.open_session(project, **ASKED)

    assert (stored(session).state, token) == (State.CONNECTING, None)
    lifecycle.store([progress(session, region="eu", request_id="a-request", connected_at=CONNECTED_AT)])
    lifecycle.store([progress(session, region="eu", request_id="a-request", connected_at=CONNECTED_AT)])
    row = stored(session)
    assert (row.state, row.region, row.request_id) == (State.LIVE, "eu", "a-request")
    assert row.connected_at == CONNECTED_AT


def test_who_resumes_a_session_connects_it_again_and_its_first_connection_stays_known(project):
    _, token = resumable(project)
    first = LiveSession.objects.get()

    resumed = lifecycle.resume(token, 0).session
    lifecycle.store([progress(resumed, region="us", request_id="another", connected_at=CONNECTED_AT)])

    row = stored(resumed)
    assert (row.state, row.region, row.request_id) == (State.LIVE, "us", "a-request")
    assert row.connected_at == first.connected_at


def test_finals_of_many_sessions_are_stored_at_once(project, django_assert_num_queries):
    first, second = live(project), live(project)
    moment = Moment(Happening.CONNECTION_LOST, {"code": 1011})
    come = [
        progress(first, results(3, "Hello there."), results(7, "Goodbye.", 1.0), acked_bytes=64_000),
        progress(second, results(2, "Yes."), reconnects=1, moments=[moment]),
    ]

    with django_assert_num_queries(5):  # two of them begin and end the transaction
        assert lifecycle.store(come) == set()

    row = stored(first)
    assert (row.acked_bytes, row.last_seq, row.duration, row.reconnects) == (64_000, 7, 2.0, 0)
    assert [(final.seq, final.text, final.start, final.end) for final in row.finals.all()] == [
        (3, "Hello there.", 0.0, 1.0),
        (7, "Goodbye.", 1.0, 2.0),
    ]
    assert stored(second).reconnects == 1
    assert stored(second).timeline.filter(pk=moment.id, details={"code": 1011}).exists()


def test_storing_the_same_again_changes_nothing(project):
    session = live(project)
    come = [progress(session, results(1, "Hello."), moments=[Moment(Happening.GAP, {"start": 1.0})])]

    lifecycle.store(come)
    lifecycle.store(come)

    assert session.finals.count() == 1
    assert session.timeline.filter(type=Happening.GAP).count() == 1


@pytest.mark.parametrize(
    "raw", ["nonsense", "{}", '{"start":0,"duration":1,"channel_index":[]}', '{"start":0,"duration":1}', "7"]
)
def test_a_result_that_is_none_keeps_no_other_from_being_stored(project, raw, caplog):
    session, other = live(project), live(project)

    lifecycle.store(
        [progress(session, lifecycle.Final(1, raw), results(2, "Hello.")), progress(other, results(1, "Hi."))]
    )

    assert set(FinalResult.objects.values_list("text", flat=True)) == {"Hello.", "Hi."}
    assert "Result 1" in caplog.text


def test_what_the_database_cannot_hold_is_left_out_of_the_text(project):
    session = live(project)

    lifecycle.store([progress(session, results(1, "a\0b \ud800"))])

    assert session.finals.get().text == "ab ?"


def test_a_resume_gets_what_its_client_has_not_seen_and_fences_off_the_old_relay(project):
    old, token = resumable(project)
    finals = [results(seq, f"word{seq}", float(seq)) for seq in (2, 5, 9)]
    lifecycle.store([progress(old, *finals, acked_bytes=9_000)])

    resumed = lifecycle.resume(token, last_seq=2)

    new = resumed.session
    assert resumed.missed == [final.raw for final in finals[1:]]
    assert (new.pk, new.epoch, new.acked_bytes, new.last_seq) == (old.pk, 2, 9_000, 9)
    assert lifecycle.store([progress(old, results(10, "late"))]) == {old.pk}
    for move in (connect, interrupt, end):
        with pytest.raises(NotHeld):
            move(old)
    assert stored(new).finals.count() == 3
    assert stored(new).state == State.CONNECTING


def test_a_resume_gets_the_last_finals_of_each_channel_but_late_ones(project):
    session, token = resumable(project)
    finals = [
        results(1, "old", 0.0),
        results(2, "left", 2.0, channel_index=[0, 2]),
        results(3, "right", 30.0, channel_index=[1, 2]),
        replace(results(4, "filled", 8.0), late=True),
    ]
    lifecycle.store([progress(session, *finals)])

    tail = lifecycle.resume(token, last_seq=4).tail

    assert tail == [final.raw for final in finals[:3]]
    lifecycle.store([progress(LiveSession.objects.get(), results(5, "more", 29.0, channel_index=[0, 2]))])
    assert [final.seq for final in session.finals.filter(late=False).tail(15)] == [3, 5]


def test_every_reason_that_ends_a_session_by_its_rules_is_known(project):
    for reason in actions.EndReason:
        assert reason.is_interruption or EndReason(reason.value)


def test_others_are_stored_when_one_session_is_lost(project):
    lost, token = resumable(project)
    kept = live(project)
    lifecycle.resume(token, 0)

    assert lifecycle.store([progress(lost, results(1, "a")), progress(kept, results(1, "b"))]) == {lost.pk}

    assert list(FinalResult.objects.values_list("session", "text")) == [(kept.pk, "b")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", ["store", "resume"])
def test_a_resume_and_a_write_of_the_old_relay_go_one_after_the_other(project, first):
    session, token = resumable(project)
    come = [progress(session, results(1, "Hello."))]
    outcome = {}

    def in_a_thread():
        try:
            if first == "store":
                outcome["missed"] = lifecycle.resume(token, 0).missed
            else:
                outcome["lost"] = lifecycle.store(come)
        finally:
            connection.close()

    other = threading.Thread(target=in_a_thread)
    with transaction.atomic():
        if first == "store":
            lifecycle.store(come)
        else:
            lifecycle.resume(token, 0)
        other.start()
        other.join(0.3)
        assert other.is_alive()  # it waits for the row
    other.join(90)

    assert outcome == ({"missed": [come[0].finals[0].raw]} if first == "store" else {"lost": {session.pk}})


def test_who_resumes_last_holds_the_session(project):
    _, token = resumable(project)

    holders = [lifecycle.resume(token, 0).session for _ in range(3)]

    lost = [lifecycle.store([progress(holder, results(1, "x"))]) for holder in holders]
    assert lost == [{holders[0].pk}, {holders[0].pk}, set()]


@pytest.mark.parametrize("case", ["unknown", "ended", "not resumable", "key revoked", "project deleted"])
def test_nothing_goes_on_with_a_token_that_is_of_no_use(project, case):
    key, _ = ApiKey.objects.issue(project, "desk")
    session, token = lifecycle.open_session(project, **ASKED, key=key, resumable=True)
    if case == "unknown":
        token = "another"
    elif case == "ended":
        end(session)
    elif case == "not resumable":
        LiveSession.objects.update(resumable=False)
    elif case == "key revoked":
        key.revoke()
    else:
        project.hide()

    with pytest.raises(NotResumable) as refused:
        lifecycle.resume(token, 0)

    assert refused.value.code == ("session_ended" if case in ("ended", "not resumable") else "unknown_token")
    assert stored(session).epoch == 1


def test_the_token_is_nowhere_in_the_database(project):
    session, token = lifecycle.open_session(project, **ASKED, resumable=True)

    assert token not in str(LiveSession.objects.filter(pk=session.pk).values().get())


def test_a_session_ends_once_and_is_told_of_once(project):
    endpoint = WebhookEndpoint.objects.create(project=project, url="https://example.com/hook")
    session = live(project, tags=["desk"])
    lifecycle.store([progress(session, results(1, "Hello."), duration=4.5, latency={"p50_ms": 3.0})])

    end(session)
    with pytest.raises(NotHeld):
        end(session, EndReason.DRAINED)

    row = stored(session)
    assert (row.state, row.reason, row.latency) == (State.ENDED, EndReason.FINISHED, {"p50_ms": 3.0})
    event = Event.objects.get(type=EventType.STREAM_ENDED)
    assert row.event == event
    assert event.data["id"] == str(session.pk)
    assert (event.data["reason"], event.data["duration"], event.data["tags"]) == ("finished", 4.5, ["desk"])
    assert event.data["url"].endswith(f"/api/v1/streams/{session.pk}/")
    assert Delivery.objects.get().endpoint == endpoint


def test_no_result_is_stored_once_a_session_has_ended(project):
    session = live(project)
    end(session)

    assert lifecycle.store([progress(session, results(1, "Hello."))]) == {session.pk}
    assert not FinalResult.objects.exists()


def test_a_session_whose_process_died_waits_for_its_client_and_then_ends(project):
    session, token = resumable(project)
    forget(session)

    lifecycle.lapse(LiveSession.objects.lapsed().get())
    assert stored(session).state == State.INTERRUPTED
    assert not LiveSession.objects.lapsed().exists()
    assert lifecycle.resume(token, 0).session.state == State.CONNECTING

    forget(session)
    lifecycle.lapse(LiveSession.objects.lapsed().get())
    forget(session)
    lifecycle.lapse(LiveSession.objects.lapsed().get())
    row = stored(session)
    assert (row.state, row.reason) == (State.ENDED, EndReason.CLIENT_GONE)
    assert Event.objects.filter(type=EventType.STREAM_ENDED).count() == 1


def test_one_that_cannot_be_resumed_ends_with_its_process(project):
    session = live(project)
    forget(session)

    lifecycle.lapse(LiveSession.objects.lapsed().get())

    assert (stored(session).state, stored(session).reason) == (State.ENDED, EndReason.LOST)


@pytest.mark.parametrize("meanwhile", ["renewed", "resumed", "ended"])
def test_a_session_that_somebody_looks_after_again_does_not_lapse(project, meanwhile):
    session, token = resumable(project)
    forget(session)
    found = LiveSession.objects.lapsed().get()
    if meanwhile == "renewed":
        LiveSession.objects.renew(60)
    elif meanwhile == "resumed":
        lifecycle.resume(token, 0)
    else:
        end(session)
    before = stored(session).state

    with pytest.raises(NotHeld):
        lifecycle.lapse(found)

    assert stored(session).state == before


def test_a_client_that_is_away_has_its_time_however_short_its_relays_lease_is(project):
    session, _ = resumable(project)
    interrupt(session)

    LiveSession.objects.renew(1)

    assert LiveSession.objects.filter(lease_until__gt=seconds_from_now(RESUME_SECONDS - 60)).exists()


def test_a_process_renews_the_sessions_that_it_holds_and_no_others(project):
    """Those whose client stays away as well: they end by the relay that still has something to store."""
    mine, away, ended = live(project), resumable(project)[0], live(project)
    interrupt(away)
    end(ended)
    others = live(project)
    LiveSession.objects.filter(pk=others.pk).update(relay="another:1:1")
    LiveSession.objects.exclude(pk=ended.pk).update(lease_until=Now())

    assert LiveSession.objects.filter(relay=mine.relay).renew(60) == 2

    assert set(LiveSession.objects.lapsed()) == {others}


def test_a_key_has_no_more_sessions_open_than_it_may(project):
    key, _ = ApiKey.objects.issue(project, "desk")
    first, _ = lifecycle.open_session(project, **ASKED, key=key, limit=1)

    with pytest.raises(TooManySessions):
        lifecycle.open_session(project, **ASKED, key=key, limit=1)

    end(first)
    lifecycle.open_session(project, **ASKED, key=key, limit=1)


def test_the_database_holds_that_only_resumable_sessions_are_interrupted(project):
    live(project)

    with pytest.raises(IntegrityError), transaction.atomic():
        LiveSession.objects.interrupt()


def test_nothing_is_held_by_an_epoch_of_another_session(project):
    session = live(project)
    come = progress(session, results(1, "Hello."))

    unknown = lifecycle.Progress(uuid4(), 1, 0, 0.0, 0, 0.0)
    assert lifecycle.store([come, unknown]) == {unknown.session_id}


@pytest.mark.parametrize("ended_by", ["itself", "its deletion", "its project's"])
def test_its_audio_is_in_the_usage_report_once_however_it_ends(project, ended_by):
    session = live(project)
    lifecycle.store([progress(session, duration=90.0)])
    session.refresh_from_db()

    if ended_by == "itself":
        end(session)
    elif ended_by == "its deletion":
        aftercare.delete(session)
    else:
        erasure.begin(project)
    aftercare.delete(session)

    [line] = UsageLine.objects.filter(tag="")
    assert (line.mode, line.requests, line.seconds, line.model) == ("streaming", 1, 90.0, "nova-3")
