from urllib.parse import parse_qsl

import pytest

from streaming.rules.parameters import BadParameter, Terms, read


def test_what_the_provider_knows_is_forwarded_in_order_and_repeated():
    query = [("model", "nova-3"), ("keyterm", "Deepgram"), ("nonsense", "1"), ("keyterm", "relay")]
    terms = read(query)
    assert terms.forwarded == (("model", "nova-3"), ("keyterm", "Deepgram"), ("keyterm", "relay"))
    assert terms.options == {"model": "nova-3", "keyterm": ["Deepgram", "relay"]}


@pytest.mark.parametrize(
    "ours", ["resumable=true", "record=true", "interim_throttle_ms=1", "last_seq=1", "resume=1"]
)
def test_what_is_ours_is_not_forwarded(ours):
    assert read(parse_qsl(ours)).forwarded == ()


@pytest.mark.parametrize("policy", ["mip_opt_out", "tag"])
def test_what_the_project_decides_is_not_forwarded(policy):
    assert read([(policy, "false")]).forwarded == ()


@pytest.mark.parametrize("pair", [("model", "a\0"), ("tag", "\0"), ("a\0", "")])
def test_nul_is_refused_which_no_database_keeps(pair):
    with pytest.raises(BadParameter):
        read([pair])


@pytest.mark.parametrize("name", ["callback", "callback_method"])
def test_a_callback_is_refused_by_name(name):
    with pytest.raises(BadParameter) as refused:
        read([("model", "nova-3"), (name, "https://example.com/")])
    assert refused.value.name == name


@pytest.mark.parametrize("value", ["-1", "0.5", "ten", "10001", "9" * 40, "\N{SUPERSCRIPT TWO}"])
def test_a_throttle_that_makes_no_sense_is_refused(value):
    with pytest.raises(BadParameter, match="between 0 and 10000"):
        read([("interim_throttle_ms", value)])


@pytest.mark.parametrize("value", ["", "many", "0", "-8000", "9" * 30])
def test_a_sample_rate_that_makes_no_sense_is_for_the_provider_to_refuse(value):
    terms = read([("encoding", "linear16"), ("sample_rate", value)])
    assert terms.sample_rate is None
    assert ("sample_rate", value) in terms.forwarded


def test_channels_count_only_when_each_has_its_own_results():
    assert read([("channels", "2")]).channels == 1
    assert read([("channels", "2"), ("multichannel", "True")]).channels == 2


def test_resuming_is_for_those_who_can_be_resumed_again():
    terms = read([("resume", "TOKEN"), ("last_seq", "41")])
    assert terms.resumable
    assert (terms.resume, terms.last_seq) == ("TOKEN", 41)


def test_nothing_asked_for_is_nothing():
    assert read([]) == Terms(forwarded=())


@pytest.mark.parametrize("name", ["record", "resumable"])
@pytest.mark.parametrize("value", ["yes", "1", "ture"])
def test_a_flag_of_ours_that_is_neither_is_refused(name, value):
    with pytest.raises(BadParameter, match=f"{name} must be true or false"):
        read([(name, value)])
