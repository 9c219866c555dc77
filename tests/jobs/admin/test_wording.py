import re
from datetime import UTC, datetime, timedelta

import pytest

from jobs.admin.options_form import OptionsForm, fields_of
from jobs.admin.wording import (
    ERRORS,
    STATUS_COLOURS,
    advice,
    error_in_words,
    length,
    reason,
    receipt_in_words,
    span,
    took,
    until,
)
from jobs.audio.ingestion import FetchFailed
from jobs.models import Status
from tests.jobs.rows import build_job


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")],  # noqa: RUF001
)
def test_length(seconds, said):
    assert length(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0.0 s"),
        (0.42, "0.4 s"),
        (12.3, "12 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_span(seconds, said):
    assert span(seconds) == said


@pytest.mark.parametrize(("seconds", "said"), [(65, "in 1 min 5 s"), (0, "now"), (-9, "now")])
def test_until(seconds, said):
    assert until(seconds) == said


def test_what_may_be_wrong_with_a_url_is_said_in_words():
    codes = set(re.findall(r"`((?:url|not)_\w+)`", FetchFailed.__doc__))

    assert codes - set(ERRORS) == set()


def test_an_unknown_error_code_is_still_readable():
    assert error_in_words("strange_new_error") == "Strange new error"
    assert advice("strange_new_error")


def test_every_status_has_a_colour():
    assert set(STATUS_COLOURS) == set(Status.values)


def test_a_job_without_a_receipt_has_no_sentences():
    assert receipt_in_words({}, run=1, region="eu") == []


def test_a_receipt_names_the_alternatives():
    receipt = {"requested_mode": "auto", "mode": "async", "rule": "no_slot", "alternatives": ["sync"]}

    assert "It could also have run sync." in receipt_in_words(receipt, run=1, region="eu")


def test_a_receipt_is_said_to_be_of_the_first_run_once_there_are_others():
    receipt = {"requested_mode": "sync", "mode": "sync", "rule": "asked"}

    first, second = (
        receipt_in_words(receipt, run=1, region="eu"),
        receipt_in_words(receipt, run=2, region="eu"),
    )

    assert second == [
        "This is how run 1 was sent its way. What is requeued always goes through the queue.",
        *first,
    ]


def test_a_job_that_was_moved_is_said_to_have_been():
    *_, last = receipt_in_words({"region": "eu", "region_reason": "It is preferred."}, run=1, region="us")

    assert last == "It was moved to us since: eu could not do its work then."


def ended(status, **fields):
    """Claimed at the hour, ended 2.5 s later."""
    claimed = datetime(2026, 11, 21, 10, tzinfo=UTC)
    return build_job(status, started_at=claimed, finished_at=claimed + timedelta(seconds=2.5), **fields)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.DEAD])
def test_what_running_ended_took_time(status):
    assert took(ended(status)) == "2.5 s"


@pytest.mark.parametrize(
    "job",
    [
        ended(Status.CANCELLED),
        ended(Status.FAILED, error_code="deadline_exceeded"),
        build_job(Status.CANCELLED),
        build_job(Status.RUNNING),
    ],
)
def test_what_running_did_not_end_took_none(job):
    assert took(job) == ""


@pytest.mark.parametrize("status", list(Status))
def test_an_error_is_the_reason_only_of_what_came_of_it(status):
    why = reason(build_job(status, error_code="provider_unreachable"))

    by_error = "The provider could not be reached"
    expected = {"waiting": by_error, "failed": by_error, "dead": by_error}
    assert why == expected.get(status, "")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model": "nova-3"},
        {"model": "nova-3", "smart_format": True, "diarize": True, "utterances": True, "multichannel": True},
        {"model": "nova-2-phonecall", "language": "de", "redact": ["pci", "ssn"]},
        {"model": "nova-3", "detect_language": True, "keyterm": ["a b", "c"]},
        {"model": "nova-3", "detect_language": ["en", "de"]},
        {"model": "a-custom-model-id", "language": "tlh", "redact": ["name"]},
        {"model": "nova-3", "replace": ["a:b"], "utt_split": 0.5, "numerals": True},
    ],
)
def test_stored_options_survive_the_form(options):
    form = OptionsForm(initial=fields_of(options))
    posted = {name: form[name].value() for name in form.fields}
    posted = {name: value for name, value in posted.items() if value not in (None, False)}
    posted["keyterm"] = form.fields["keyterm"].prepare_value(posted.get("keyterm", []))

    sent = OptionsForm(posted)

    assert sent.is_valid(), sent.errors
    assert sent.options == options
