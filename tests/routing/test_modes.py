import pytest

from routing.modes import Conditions, Thresholds, choose_mode, conditions_of, receipt
from tests.environment import ROOT

THRESHOLDS = Thresholds(sync_max=60, async_min=300)


def given(requested="auto", duration=10.0, *, estimate=None, patience=55.0, slot_free=True, **named):
    return Conditions(requested, duration, estimate, patience, slot_free, **named)


CASES = [
    # What was asked for wins over everything.
    (given("sync", 9999.0, respond_async=True), "sync", "requested"),
    (given("sync", 10.0, slot_free=False), "async", "no_slot"),
    (given("sync", None), "sync", "requested"),
    (given("async", 1.0), "async", "requested"),
    # Then the caller's preference, and what is not known.
    (given(duration=1.0, respond_async=True), "async", "prefer"),
    (given(duration=None, respond_async=True), "async", "prefer"),
    (given(duration=None), "async", "unknown_duration"),
    (given(duration=1.0, low_priority=True), "async", "low_priority"),
    (given("sync", 1.0, low_priority=True), "sync", "requested"),
    # Length, at and around the thresholds.
    (given(duration=0.0), "sync", "short"),
    (given(duration=59.9), "sync", "short"),
    (given(duration=59.9, slot_free=False), "async", "no_slot"),
    (given(duration=60.0), "async", "no_estimate"),
    (given(duration=300.1, estimate=1.0), "async", "long"),
    (given(duration=300.1, slot_free=False), "async", "long"),
    # Between them: what it should take against what the caller waits.
    (given(duration=60.0, estimate=5.0), "sync", "fits_patience"),
    (given(duration=300.0, estimate=55.0), "sync", "fits_patience"),
    (given(duration=300.0, estimate=55.1), "async", "exceeds_patience"),
    (given(duration=200.0, estimate=5.0, patience=4.0), "async", "exceeds_patience"),
    (given(duration=200.0, estimate=5.0, slot_free=False), "async", "no_slot"),
    (given(duration=200.0, estimate=None), "async", "no_estimate"),
]


@pytest.mark.parametrize(("conditions", "mode", "rule"), CASES)
def test_the_first_rule_that_applies_chooses_the_mode(conditions, mode, rule):
    choice = choose_mode(conditions, THRESHOLDS)

    assert (choice.mode, choice.rule) == (mode, rule)
    assert choice.reason


def test_every_rule_has_a_case():
    rules = {"requested", "prefer", "low_priority", "unknown_duration", "long", "no_slot", "short"}

    assert {rule for _, _, rule in CASES} == rules | {"no_estimate", "fits_patience", "exceeds_patience"}


@pytest.mark.parametrize(
    ("conditions", "alternatives"),
    [
        (given(duration=10.0), ("async",)),
        (given(duration=10.0, slot_free=False), ("sync",)),
        (given(duration=1000.0), ()),
        (given("sync"), ()),
    ],
)
def test_what_else_was_possible_is_told(conditions, alternatives):
    assert choose_mode(conditions, THRESHOLDS).alternatives == alternatives


def test_the_thresholds_are_the_callers():
    assert choose_mode(given(duration=10.0), Thresholds(sync_max=5, async_min=8)).rule == "long"


def test_the_receipt_holds_the_choice_and_what_it_was_made_on():
    conditions = given(duration=10.0)

    written = receipt(conditions, choose_mode(conditions, THRESHOLDS), "eu", "It was asked for.")

    assert written == {
        "requested_mode": "auto",
        "duration": 10.0,
        "estimate": None,
        "patience": 55.0,
        "slot_free": True,
        "respond_async": False,
        "low_priority": False,
        "mode": "sync",
        "rule": "short",
        "reason": "10.0 s is under 60 s.",
        "alternatives": ["async"],
        "region": "eu",
        "region_reason": "It was asked for.",
    }


def test_a_receipt_tells_what_its_choice_was_made_on():
    for conditions, _, _ in CASES:
        kept = receipt(conditions, choose_mode(conditions, THRESHOLDS), "default", "It is the first.")
        assert conditions_of(kept) == conditions


def test_a_receipt_from_before_a_condition_was_known_tells_the_others():
    conditions = given(duration=10.0)
    kept = receipt(conditions, choose_mode(conditions, THRESHOLDS), "default", "It is the first.")
    del kept["low_priority"]

    assert conditions_of(kept) == conditions


def test_the_table_in_the_documentation_is_what_is_done():
    """Printed with -s: what is done by duration, mode and load."""
    asked = [("auto", True), ("auto", False), ("sync", True), ("sync", False), ("async", True)]
    audio = {
        ("under 60 s", ""): (10.0, None),
        ("60 to 300 s", "should take less than the caller waits"): (120.0, 5.0),
        ("60 to 300 s", "should take longer"): (120.0, 100.0),
        ("60 to 300 s", "nobody knows how long it takes"): (120.0, None),
        ("over 300 s", ""): (600.0, 5.0),
        ("of unknown length (by URL)", ""): (None, None),
    }
    table = ""
    for (length, estimated), (duration, estimate) in audio.items():
        chosen = [
            choose_mode(given(requested, duration, estimate=estimate, slot_free=free), THRESHOLDS)
            for requested, free in asked
        ]
        modes = " | ".join(f"{choice.mode} (`{choice.rule}`)" for choice in chosen)
        table += f"| {length} | {estimated} | {modes} |\n".replace("|  |", "| |")

    print(table)  # noqa: T201 (what it is for)
    assert table in (ROOT / "docs" / "routing.md").read_text()
