import pytest

from jobs.admin.options_form import OptionsForm, fields_of
from jobs.admin.wording import STATUS_COLOURS, advice, error_in_words, length, receipt_in_words, span, until
from jobs.models import Status


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


def test_an_unknown_error_code_is_still_readable():
    assert error_in_words("strange_new_error") == "Strange new error"
    assert advice("strange_new_error")


def test_every_status_has_a_colour():
    assert set(STATUS_COLOURS) == set(Status.values)


def test_a_job_without_a_receipt_has_no_sentences():
    assert receipt_in_words({}) == []


def test_a_receipt_names_the_alternatives():
    receipt = {"requested_mode": "auto", "mode": "async", "rule": "no_slot", "alternatives": ["sync"]}

    assert "It could also have run sync." in receipt_in_words(receipt)


@pytest.mark.parametrize(
    "options",
    [
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
