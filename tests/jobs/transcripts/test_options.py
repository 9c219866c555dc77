import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transcripts.options import DEFAULTS, OPTIONS, InvalidOptions, from_query, to_query, validate


def errors_of(options):
    with pytest.raises(InvalidOptions) as caught:
        validate(options)
    return caught.value.errors


def test_defaults_fill_in_what_is_not_given():
    assert validate({"smart_format": False}) == {"model": "nova-3", "smart_format": False}


def test_defaults_can_be_left_to_deepgram():
    assert validate({"punctuate": True}, defaults={}) == {"punctuate": True}


def test_null_means_not_given():
    assert validate({"model": None, "language": None}) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "given_value", "normal"),
    [
        ("diarize", "True", True),
        ("diarize", "false", False),
        ("alternatives", "3", 3),
        ("utt_split", "1.5", 1.5),
        ("utt_split", 2, 2.0),
        ("keyterm", "Deepgram", ["Deepgram"]),
        ("search", ("a", "b"), ["a", "b"]),
        ("redact", [True, "pci"], ["true", "pci"]),
        ("summarize", "v2", "v2"),
        ("summarize", "true", True),
        ("detect_language", "true", True),
        ("detect_language", ["en", "es"], ["en", "es"]),
        ("replace", "um", ["um"]),
        ("replace", "um:", ["um:"]),
        ("extra", "call:17:b", ["call:17:b"]),
        ("language", "es-419", "es-419"),
    ],
)
def test_values_take_the_form_of_the_table(name, given_value, normal):
    assert validate({name: given_value})[name] == normal


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("diarize", "yes"),
        ("diarize", 1),
        ("diarize", [True, False]),
        ("alternatives", 0),
        ("alternatives", True),
        ("alternatives", 1.5),
        ("alternatives", 10**400),
        ("channels", 21),
        ("utt_split", 0),
        ("utt_split", True),
        ("utt_split", "nan"),
        ("utt_split", float("inf")),
        ("utt_split", 10**400),
        ("model", ""),
        ("model", ["nova-3", "nova-2"]),
        ("model", "nova 3"),
        ("language", "english!"),
        ("encoding", "mp3"),
        ("diarize_model", "v3"),
        ("keyterm", []),
        ("keyterm", [["nested"]]),
        ("keyterm", {"a": 1}),
        ("search", "a\0b"),
        ("search", "\ud800"),
        ("replace", ":nothing"),
        ("extra", "no colon"),
        ("extra", "k:" + "v" * 2047),
        ("custom_topic", ["t"] * 101),
        ("redact", False),
    ],
)
def test_values_out_of_form_or_bounds_are_refused_by_name(name, value):
    assert list(errors_of({name: value})) == [name]


def test_every_error_is_reported_at_once():
    assert errors_of({"diarize": "maybe", "alternatives": 0, "nonsense": 1}).keys() == {
        "diarize",
        "alternatives",
        "nonsense",
    }


@pytest.mark.parametrize(
    ("name", "suggested"), [("langauge", "language"), ("Diarise", "diarize"), ("key_term", "keyterm")]
)
def test_an_unknown_option_is_named_with_the_nearest_known_one(name, suggested):
    assert errors_of({name: "x"}) == {name: f"is not known (did you mean {suggested}?)"}


@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("callback", "callback_url"),
        ("callback_method", "callback_url"),
        ("mip_opt_out", "policy"),
        ("tag", "tags"),
        ("interim_results", "live"),
    ],
)
def test_what_is_decided_elsewhere_is_refused_with_a_pointer(name, pointer):
    assert pointer in errors_of({name: "x"})[name]


@pytest.mark.parametrize(
    ("options", "blamed"),
    [
        ({"model": "nova-2", "keyterm": ["a"]}, "keyterm"),
        ({"model": "whisper-large", "keyterm": ["a"]}, "keyterm"),
        ({"model": "phonecall", "keyterm": ["a"]}, "keyterm"),
        ({"keyterm": ["one two"] * 251}, "keyterm"),
        ({"model": "nova-3", "keywords": ["a:2"]}, "keywords"),
        ({"model": "nova-3-medical", "keywords": ["a"]}, "keywords"),
        ({"model": "enhanced", "language": "multi"}, "language"),
        ({"language": "en", "language_hint": ["en"]}, "language_hint"),
        ({"language_hint": ["en"]}, "language_hint"),
        ({"model": "nova-2", "language": "multi", "language_hint": ["en"]}, "language_hint"),
        ({"language": "en", "detect_language": True}, "detect_language"),
        ({"language": "en", "detect_language": ["en", "de"]}, "detect_language"),
        ({"diarize": False, "diarize_model": "v2"}, "diarize_model"),
        ({"encoding": "linear16"}, "encoding"),
        ({"encoding": "amr-nb", "sample_rate": 16000}, "sample_rate"),
        ({"encoding": "amr-wb", "sample_rate": 8000}, "sample_rate"),
        ({"model": "flux-general-en"}, "model"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, blamed):
    assert list(errors_of(options)) == [blamed]


@pytest.mark.parametrize(
    "options",
    [
        {"keyterm": ["one two"] * 250},
        {"model": "nova-3-general", "language": "multi", "keyterm": ["a"], "language_hint": ["en", "de"]},
        {"model": "nova-2-phonecall", "language": "multi", "keywords": ["a:1.5", "b:-2"]},
        {"model": "5ba7b0c2-6cb0-4a7c-9d8c-1df2a2b6f3a1", "keyterm": ["a"], "keywords": ["b"]},
        {"language": "en", "detect_language": False},
        {"diarize_model": "latest"},
        {"diarize": True, "diarize_model": "v1"},
        {"encoding": "amr-wb", "sample_rate": "16000"},
        {"sample_rate": 8000},
    ],
)
def test_options_that_agree_pass(options):
    assert validate(options)


def test_without_defaults_the_model_is_judged_as_deepgrams_default():
    with pytest.raises(InvalidOptions) as caught:
        validate({"keyterm": "a"}, defaults={})
    assert list(caught.value.errors) == ["keyterm"]


def test_a_wrong_model_does_not_blame_its_neighbours():
    assert list(errors_of({"model": "no such!", "keywords": ["a"]})) == ["model"]


def test_the_query_is_sorted_with_lowercase_booleans_and_repeated_keys():
    options = {
        "utt_split": 0.8,
        "smart_format": True,
        "diarize": False,
        "keyterm": ["b", "a"],
        "alternatives": 2,
    }
    assert to_query(options) == [
        ("alternatives", "2"),
        ("diarize", "false"),
        ("keyterm", "b"),
        ("keyterm", "a"),
        ("smart_format", "true"),
        ("utt_split", "0.8"),
    ]


def test_only_known_options_are_picked_out_of_a_query():
    pairs = parse_qsl("mode=sync&keyterm=a&keyterm=b&tag=x&callback=y&diarize=true")
    assert from_query(pairs) == {"keyterm": ["a", "b"], "diarize": "true"}


def test_every_option_is_documented():
    page = Path(__file__).parents[3] / "docs" / "options.md"
    rows = [line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(OPTIONS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
TRUE_OR_FALSE = [name for name, reader in OPTIONS.items() if reader is OPTIONS["punctuate"]]
VALID = st.fixed_dictionaries(
    {},
    optional={name: st.booleans() for name in TRUE_OR_FALSE}
    | {
        "search": st.lists(st.text("aé中&= +%", min_size=1).filter(str.strip), min_size=1),
        "utt_split": st.floats(0.01, 100),
        "sample_rate": st.integers(8000, 48000),
        "language": st.sampled_from(["en", "pt-BR", "multi"]),
    },
)


@given(st.dictionaries(st.sampled_from([*OPTIONS, "tag"]) | st.text(), JSON))
def test_whatever_is_given_is_refused_or_normalised_once_and_for_all(options):
    try:
        valid = validate(options)
    except InvalidOptions as refused:
        assert refused.errors
    else:
        assert validate(valid) == valid
        assert json.loads(json.dumps(valid, allow_nan=False)) == valid


@given(VALID)
def test_options_survive_the_way_through_a_query(options):
    valid = validate(options)
    sent = urlencode(to_query(valid))
    assert validate(from_query(parse_qsl(sent, keep_blank_values=True))) == valid
