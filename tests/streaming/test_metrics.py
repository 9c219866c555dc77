"""What is counted of live audio."""

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from streaming import lifecycle
from streaming.metrics import OfSession
from streaming.models import LiveSession
from tests.conditions import wait_until
from tests.counted import Rise
from tests.streaming.test_relay import QUERY, TENTH, close_stream, recogniser


@pytest.fixture
def credentials(key):
    return {"additional_headers": {"Authorization": f"Token {key}"}}


def test_a_session_is_counted_with_the_latency_of_its_results(live, upstream, credentials):
    upstream(recogniser)
    of_region = {"region": "default"}
    accepted = Rise("transcribe_live_connections_total", outcome="accepted")
    started = Rise("transcribe_live_sessions_started_total")
    active = Rise("transcribe_live_sessions_active")
    ended = Rise("transcribe_live_sessions_ended_total", reason="finished")
    interims = Rise("transcribe_live_result_latency_seconds_count", kind="interim", **of_region)
    finals = Rise("transcribe_live_result_latency_seconds_count", kind="final", **of_region)
    audio = Rise("transcribe_audio_seconds_total", mode="streaming", model="nova-3", **of_region)
    handshakes = Rise("transcribe_provider_calls_total", operation="live", outcome="ok", **of_region)

    with connect(live.url + QUERY, **credentials) as socket:
        for _ in range(25):
            socket.send(TENTH)
        wait_until(lambda: active.by == 1)
        close_stream(socket)
    wait_until(lambda: LiveSession.objects.get().is_ended)
    wait_until(lambda: active.by == 0)

    assert (accepted.by, started.by, handshakes.by) == (1, 1, 1)
    assert (interims.by, finals.by) == (23, 2)
    assert audio.by == pytest.approx(2.5)
    wait_until(lambda: ended.by == 1)


def test_a_client_that_comes_back_is_counted_as_that(project, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        _, token = lifecycle.open_session(project, options={"model": "nova-3"}, tags=[], resumable=True)
    started, resumed = (Rise(f"transcribe_live_sessions_{what}_total") for what in ("started", "resumed"))

    with django_capture_on_commit_callbacks(execute=True):
        lifecycle.resume(token, 0)

    assert (started.by, resumed.by) == (0, 1)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, "provider_rejected", "refused"),
        (401, "provider_unauthorized", "failed"),
        (503, "provider_error", "failed"),
    ],
)
def test_handshakes_that_come_to_nothing_are_counted_by_whose_fault_it_is(
    live, upstream, credentials, status, code, outcome
):
    upstream(answer=lambda socket, request: socket.respond(status, "no"))
    counted = Rise("transcribe_live_connections_total", outcome=outcome)
    accepted = Rise("transcribe_live_connections_total", outcome="accepted")
    at_provider = Rise("transcribe_provider_calls_total", region="default", operation="live", outcome=code)

    with pytest.raises(InvalidStatus), connect(live.url + QUERY, open_timeout=30, **credentials):
        pass

    assert (counted.by, accepted.by) == (1, 0)
    assert at_provider.by >= 1


def test_who_has_no_key_is_refused_and_no_failure_of_ours(live):
    refused = Rise("transcribe_live_connections_total", outcome="refused")
    failed = Rise("transcribe_live_connections_total", outcome="failed")

    with pytest.raises(InvalidStatus), connect(live.url + QUERY):
        pass

    assert (refused.by, failed.by) == (1, 0)


def test_reconnections_are_counted_with_how_long_they_took_from_the_first_loss():
    reconnects = Rise("transcribe_live_reconnects_total", region="b")
    took = Rise("transcribe_live_reconnect_duration_seconds_sum")
    counted = OfSession({"model": "nova-3"}, 0.0)

    counted.connected("a", 0.0)
    counted.lost_provider(10.0)
    counted.lost_provider(11.0)
    counted.connected("b", 13.5)

    assert (reconnects.by, took.by) == (1, pytest.approx(3.5))


def test_progress_is_counted_once():
    audio = Rise("transcribe_audio_seconds_total", mode="streaming", region="r", model="base")
    dropped = Rise("transcribe_live_interims_dropped_total")
    counted = OfSession({}, 5.0)
    counted.connected("r", 0.0)

    for seconds, interims in ((6.0, 0), (8.0, 3), (8.0, 3)):
        counted.progressed(seconds, interims)

    assert (audio.by, dropped.by) == (pytest.approx(3.0), 3)
