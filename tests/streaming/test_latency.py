import json

import pytest

from streaming.latency import REMEMBERED, LatencyMeter, reported


def test_a_result_is_late_by_the_time_since_the_last_audio_that_it_covers_arrived():
    meter = LatencyMeter({})
    meter.heard(0.1, now=10.0)
    meter.heard(0.2, now=10.1)
    meter.heard(0.3, now=10.2)

    meter.told(0.2, now=10.4)

    assert meter.summary() == {
        "p50_ms": pytest.approx(300, rel=0.05),
        "p95_ms": pytest.approx(300, rel=0.05),
        "p99_ms": pytest.approx(300, rel=0.05),
        "results": 1,
        "counts": {114: 1},
    }


def test_a_result_may_end_within_a_message():
    meter = LatencyMeter({})
    meter.heard(0.25, now=1.0)
    meter.heard(0.5, now=2.0)

    meter.told(0.3, now=2.5)

    assert meter.summary()["p50_ms"] == pytest.approx(500, rel=0.05)


def test_a_final_may_end_before_an_interim_did():
    meter = LatencyMeter({})
    for tenth in range(100):
        meter.heard((tenth + 1) / 10, now=tenth / 10)

    meter.told(9.1, now=9.0)
    meter.told(8.5, now=9.0)

    assert meter.summary()["p99_ms"] == pytest.approx(600, rel=0.05)


def test_percentiles_are_exact_by_five_percent():
    meter = LatencyMeter({})
    meter.heard(1.0, now=0.0)
    for milliseconds in range(1, 1001):
        meter.told(1.0, now=milliseconds / 1000)

    summary = meter.summary()

    assert summary["p50_ms"] == pytest.approx(500, rel=0.05)
    assert summary["p95_ms"] == pytest.approx(950, rel=0.05)
    assert summary["p99_ms"] == pytest.approx(990, rel=0.05)


def test_a_resumed_session_goes_on_with_what_was_measured_before():
    before = LatencyMeter({})
    before.heard(1.0, now=0.0)
    for _ in range(90):
        before.told(1.0, now=0.1)
    after = LatencyMeter(json.loads(json.dumps(before.summary())))
    after.heard(2.0, now=50.0)

    for _ in range(10):
        after.told(2.0, now=51.0)

    summary = after.summary()
    assert summary["results"] == 100
    assert summary["p50_ms"] == pytest.approx(100, rel=0.05)
    assert summary["p95_ms"] == pytest.approx(1000, rel=0.05)


def test_nothing_was_told_so_there_is_no_latency():
    meter = LatencyMeter({})
    meter.told(1.0, now=1.0)

    assert meter.summary() == {}


def test_what_is_remembered_is_bounded():
    meter = LatencyMeter({})
    for message in range(10 * REMEMBERED):
        meter.heard(message / 10, now=message / 10)

    meter.told(message / 10, now=message / 10 + 1)

    assert len(meter._ends) <= REMEMBERED
    assert meter.summary()["p50_ms"] == pytest.approx(1000, rel=0.05)


def test_a_client_tells_what_it_has_seen_itself():
    said = '{"type":"ClientLatency","p50_ms":310.5,"p95_ms":420,"p99_ms":500,"results":17}'

    assert reported(said) == {"p50_ms": 310.5, "p95_ms": 420, "p99_ms": 500, "results": 17}


@pytest.mark.parametrize("p99", ["-1", "true", "null", '"5"', "1e12", "NaN"])
def test_nonsense_of_a_client_is_left_aside(p99):
    said = '{"type":"ClientLatency","p50_ms":1,"p95_ms":2,"p99_ms":%s,"results":3}' % p99  # noqa: UP031

    assert reported(said) is None
    assert reported('{"type":"ClientLatency"') is None
