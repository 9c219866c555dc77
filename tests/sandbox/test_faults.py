from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.faults import ARGUMENTS, BadFault, Fault, Schedule, parse

LISTEN = "/v1/listen"


def schedule(*rules: dict[str, Any]) -> Schedule:
    result = Schedule()
    result.replace(list(rules))
    return result


def hits(rules: Schedule, count: int, path: str = LISTEN, tags: tuple[str, ...] = ()) -> list[int]:
    return [n for n in range(1, count + 1) if rules.fault_for(path, tags) is not None]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("status=503", Fault("status", status=503, at="body")),
        ("status=429;retry_after=2;at=head", Fault("status", status=429, retry_after="2", at="head")),
        ("status=500;body=a;b=c", Fault("status", status=500, body="a;b=c", at="body")),
        ("latency=1.5", Fault("latency", 1.5, at="body")),
        ("drip", Fault("drip", 1.0, at="body")),
        ("drip=0.1;part=head", Fault("drip", 0.1, at="head")),
        ("reset", Fault("reset", at="request")),
        ("reset=upload;after=1000", Fault("reset", at="upload", after=1000)),
        ("callback_copies", Fault("callback_copies", 2.0, at="body")),
        ("drop=5..35;of=wall", Fault("drop", 5.0, spread=30.0, of="wall", at="body")),
        ("close=net0001;after=2", Fault("close", 2.0, status=1011, body="net0001", at="body")),
        ("close=4000", Fault("close", status=4000, body="4000", at="body")),
        (" hang ", Fault("hang", at="body")),
    ],
)
def test_faults_are_read(text: str, fault: Fault) -> None:
    assert parse(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "explode",
        "status",
        "status=99",
        "status=600",
        "status=abc",
        "latency",
        "latency=-1",
        "latency=nan",
        "drip=x",
        "reset=later",
        "reset;after=-1",
        "status=503;at=noon",
        "hang;after=3",
        "drop",
        "drop=1;of=days",
        "drop=1..x",
        "close=later",
        "close=99",
        "refuse=4",
        "mute=-1..3",
        "hang;body=x",
        "status=503;retry_after",
    ],
)
def test_faults_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(BadFault):
        parse(text)


@given(st.one_of(st.text(), st.builds("{}={}".format, st.sampled_from(sorted(ARGUMENTS)), st.text())))
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        assert parse(text).kind in ARGUMENTS
    except BadFault as error:
        assert str(error)


def test_rule_without_a_measure_hits_every_request() -> None:
    assert hits(schedule({"fault": "hang"}), 3) == [1, 2, 3]


def test_rule_hits_the_first_requests() -> None:
    assert hits(schedule({"fault": "hang", "first": 2}), 5) == [1, 2]


def test_rule_hits_every_nth_request() -> None:
    assert hits(schedule({"fault": "hang", "every": 3}), 7) == [3, 6]


def test_share_is_kept_and_repeats_with_its_seed() -> None:
    rule = {"fault": "hang", "share": 0.2, "seed": 7}

    first, second = hits(schedule(rule), 1000), hits(schedule(rule), 1000)

    assert first == second
    assert 150 < len(first) < 250
    assert hits(schedule({**rule, "seed": 8}), 1000) != first


def test_rule_counts_only_requests_that_it_matches() -> None:
    rules = schedule({"fault": "hang", "first": 1, "tag": "t"})

    assert hits(rules, 2) == []
    assert hits(rules, 2, path="/v1/projects", tags=("t",)) == []
    assert hits(rules, 2, tags=("s", "t")) == [1]


def test_faults_of_live_connections_are_for_them_alone() -> None:
    rules = schedule({"fault": "drop=1"}, {"fault": "hang"})

    assert rules.fault_for(LISTEN, [], live=True) == Fault("drop", 1.0, at="body")
    assert rules.fault_for(LISTEN, []) == Fault("hang", at="body")


def test_moments_are_drawn_from_their_range_and_repeat_with_the_seed() -> None:
    rule = {"fault": "drop=5..35", "seed": 3}

    first, second = (
        [fault.number for _ in range(100) if (fault := rules.fault_for(LISTEN, [], live=True))]
        for rules in (schedule(rule), schedule(rule))
    )

    assert first == second
    assert len(set(first)) == 100
    assert min(first) >= 5
    assert max(first) <= 35


def test_first_rule_that_applies_decides() -> None:
    rules = schedule({"fault": "hang", "first": 1}, {"fault": "empty"})

    kinds = [fault.kind for _ in range(2) if (fault := rules.fault_for(LISTEN, []))]

    assert kinds == ["hang", "empty"]
    assert [(rule["matched"], rule["applied"]) for rule in (r.as_json() for r in rules.rules)] == [
        (2, 1),
        (1, 1),
    ]


@pytest.mark.parametrize(
    "content",
    [
        None,
        {"fault": "hang"},
        ["hang"],
        [{"first": 1}],
        [{"fault": "explode"}],
        [{"fault": "hang", "first": "1"}],
        [{"fault": "hang", "first": True}],
        [{"fault": "hang", "every": 0}],
        [{"fault": "hang", "first": 1, "share": 0.5}],
        [{"fault": "hang", "colour": "red"}],
    ],
)
def test_bad_rules_are_refused_and_the_old_ones_stay(content: object) -> None:
    rules = schedule({"fault": "empty"})

    with pytest.raises(BadFault):
        rules.replace(content)

    assert hits(rules, 1) == [1]
