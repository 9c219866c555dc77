from datetime import UTC, datetime
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.backoff import (
    MAX_RETRY_AFTER,
    ErrorKind,
    GiveUp,
    Retry,
    RetryPolicy,
    delays,
    full_jitter,
    parse_retry_after,
)

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def longest(low: float, high: float) -> float:
    return high


def shortest(low: float, high: float) -> float:
    return low


def test_the_bound_doubles_with_each_failure_up_to_the_cap():
    bounds = [full_jitter(n, base=2.0, cap=60.0, random=longest) for n in range(1, 8)]

    assert bounds == [2, 4, 8, 16, 32, 60, 60]


@given(attempt=st.integers(1, 10_000), base=st.floats(0.01, 100), cap=st.floats(0.01, 1000))
def test_a_delay_is_never_nothing_and_never_above_the_cap(attempt, base, cap):
    assert 0 < full_jitter(attempt, base=base, cap=cap) <= cap


def test_two_jobs_that_failed_together_return_apart():
    assert full_jitter(3) != full_jitter(3)


def test_reconnections_begin_at_once_and_slow_down_to_thirty_seconds():
    assert list(islice(delays(random=longest), 9)) == [0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_takes_away_at_most_half_of_a_reconnection_delay():
    assert list(islice(delays(random=shortest), 8)) == [0, 0.5, 1, 2, 4, 8, 15, 15]


@pytest.mark.parametrize(
    ("attempts", "kind", "decision"),
    [
        (1, ErrorKind.UNAVAILABLE, Retry(2.0)),
        (2, ErrorKind.UNAVAILABLE, Retry(4.0)),
        (3, ErrorKind.UNAVAILABLE, GiveUp("attempts_used_up")),
        (1, ErrorKind.REJECTED, GiveUp("rejected")),
        (0, ErrorKind.BUSY, Retry(2.0)),
        (2, ErrorKind.BUSY, Retry(4.0)),
        (3, ErrorKind.BUSY, Retry(8.0)),
        (0, ErrorKind.CREDENTIALS, Retry(2.0)),
        (3, ErrorKind.CREDENTIALS, Retry(8.0)),
    ],
)
def test_the_decision_follows_from_the_attempts_and_the_kind_of_error(attempts, kind, decision):
    assert RetryPolicy(max_attempts=3).decide(attempts, kind, random=longest) == decision


def test_an_enterprise_policy_allows_more_attempts():
    policy = RetryPolicy(max_attempts=5)

    assert isinstance(policy.decide(4, ErrorKind.UNAVAILABLE), Retry)
    assert policy.decide(5, ErrorKind.UNAVAILABLE) == GiveUp("attempts_used_up")


def test_waiting_for_room_again_and_again_grows_patient_without_using_up_attempts():
    policy = RetryPolicy(max_attempts=3)

    waits = [policy.decide(0, ErrorKind.BUSY, deferrals=n, random=longest) for n in (1, 3, 50)]

    assert waits == [Retry(2.0), Retry(8.0), Retry(60.0)]


@given(retry_after=st.floats(0, MAX_RETRY_AFTER), attempts=st.integers(1, 2))
def test_a_retry_is_never_earlier_than_the_provider_asked_and_spread_after_it(retry_after, attempts):
    policy = RetryPolicy(max_attempts=3, base=2.0)

    decision = policy.decide(attempts, ErrorKind.UNAVAILABLE, retry_after)

    assert retry_after < decision.delay <= retry_after + 2.0


def test_retry_after_does_not_save_a_job_whose_attempts_are_used_up():
    assert RetryPolicy(max_attempts=3).decide(3, ErrorKind.UNAVAILABLE, 5.0) == GiveUp("attempts_used_up")


def test_an_absurd_retry_after_cannot_park_a_job():
    decision = RetryPolicy().decide(1, ErrorKind.BUSY, 1e9)

    assert decision.delay <= MAX_RETRY_AFTER + 2.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("٣", None),
        ("soon", None),
        ("9" * 5000, MAX_RETRY_AFTER),
        ("86400", MAX_RETRY_AFTER),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 11:59:00 GMT", 0),
        ("Sat, 21 Nov 2026 12:00:30 -0000", 30),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("Sat, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(header, seconds):
    assert parse_retry_after(header, now=NOON) == seconds


@given(st.text())
def test_no_header_can_make_parsing_fail(header):
    seconds = parse_retry_after(header)

    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER
