from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import DeepgramError
from sandbox.query import MODELS, ListenOptions, parse


def options(query: str) -> ListenOptions:
    return parse(parse_qsl(query, keep_blank_values=True))


def refusal(query: str) -> DeepgramError:
    with pytest.raises(DeepgramError) as caught:
        options(query)
    return caught.value


@pytest.mark.parametrize("value", ["true", "True", "TRUE", "1"])
def test_booleans_are_read_in_any_case(value: str) -> None:
    assert options(f"punctuate={value}").punctuate


@pytest.mark.parametrize("value", ["false", "False", "0", ""])
def test_booleans_can_be_switched_off(value: str) -> None:
    assert not options(f"punctuate={value}").punctuate


def test_unknown_parameters_are_ignored() -> None:
    assert options("no_delay=true&is_final=maybe&nonsense") == ListenOptions()


def test_smart_format_implies_paragraphs_and_punctuation() -> None:
    found = options("smart_format=true")

    assert found.paragraphs
    assert found.punctuate


def test_diarize_model_implies_diarize() -> None:
    assert options("diarize_model=latest").diarize


def test_repeated_keys_are_kept_in_order() -> None:
    found = options("tag=b&tag=a&search=x&search=y&keyterm=K&replace=um:&replace=a:b")

    assert (found.tags, found.search, found.keyterms) == (["b", "a"], ["x", "y"], ["K"])
    assert found.replacements == [("um", ""), ("a", "b")]


def test_last_pair_of_extra_wins() -> None:
    assert options("extra=k:1&extra=k:2&extra=url:http://x").extra == {"k": "2", "url": "http://x"}


@pytest.mark.parametrize(("query", "detects"), [("true", True), ("es", True), ("False", False)])
def test_detect_language_takes_a_boolean_or_languages(query: str, detects: bool) -> None:
    assert options(f"detect_language={query}").detect_language is detects


@pytest.mark.parametrize("model", [*sorted(MODELS), "1b5b4b0e-7a0c-4c2e-9a53-1b0a2f8a1c1d"])
def test_documented_and_custom_models_are_known(model: str) -> None:
    assert options(f"model={model}").model == model


@pytest.mark.parametrize(
    "query",
    ["model=nova-9", "model=flux-general-en", "model=nova&language=multi", "language=klingon!", "language=e"],
)
def test_unknown_models_and_languages_are_refused(query: str) -> None:
    error = refusal(query)

    assert (error.status, error.code) == (400, "Bad Request")
    assert error.message == "No such model/language/tier combination found."


@pytest.mark.parametrize(
    "query",
    [
        "punctuate=maybe",
        "utt_split=abc",
        "utt_split=nan",
        "utt_split=-1",
        "encoding=mp9",
        "encoding=linear16",
        "encoding=linear16&sample_rate=0",
        "encoding=linear16&sample_rate=1e4",
        "channels=21",
        "diarize_model=v9",
        "callback_method=GET",
        "detect_language=no-language-at-all!",
        "model=nova-3&keywords=a:1",
        f"tag={'x' * 129}",
        f"extra=k:{'x' * 2048}",
        "callback=ftp://host/",
        "callback=http://",
        "callback=http://[",
        "callback=nowhere",
    ],
)
def test_values_that_cannot_be_read_are_refused(query: str) -> None:
    error = refusal(query)

    assert (error.status, error.code) == (400, "INVALID_QUERY_PARAMETER")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*sorted(ListenOptions.__dataclass_fields__), "tag", "replace", "keyterm"]),
            st.text(),
        )
    )
)
def test_no_query_is_more_than_refused(query: list[tuple[str, str]]) -> None:
    try:
        found = parse(query)
    except DeepgramError as error:
        assert error.status == 400
    else:
        assert isinstance(found, ListenOptions)
