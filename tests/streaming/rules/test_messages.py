import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rules.messages import (
    ClientWord,
    Kind,
    Recognised,
    answers_finalize,
    recognise,
    recognise_client,
    with_fields,
)

# As Deepgram writes it.
INTERIM = (
    '{"type":"Results","channel_index":[1,2],"duration":1.039875,"start":12.08,"is_final":false,'
    '"speech_final":false,"channel":{"alternatives":[{"transcript":"is \\"is_final\\":true","confidence":0.9,'
    '"words":[]}]},"metadata":{"request_id":"a"},"from_finalize":false}'
)


def test_a_result_is_known_by_its_first_bytes():
    assert recognise(INTERIM) == Recognised(Kind.INTERIM, 1, 12.08, pytest.approx(13.119875))
    assert recognise(INTERIM.replace("false", "true", 1)).kind is Kind.FINAL


def test_the_rest_of_it_is_not_looked_at():
    cut_short = INTERIM[:120]
    with pytest.raises(ValueError):
        json.loads(cut_short)
    assert recognise(cut_short) == recognise(INTERIM)


@pytest.mark.parametrize(
    "written",
    [
        json.dumps(json.loads(INTERIM), indent=1),
        json.dumps(dict(reversed(json.loads(INTERIM).items()))),
        json.dumps(json.loads(INTERIM) | {"start": 1208e-2}),
    ],
)
def test_however_it_is_written_it_means_the_same(written):
    assert recognise(written) == recognise(INTERIM)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"type":"UtteranceEnd","channel":[0,1],"last_word_end":2.395}', Kind.UTTERANCE_END),
        ('{"type":"SpeechStarted","channel":[0,1],"timestamp":9.54}', Kind.SPEECH_STARTED),
        ('{"type":"Metadata","duration":44.26}', Kind.METADATA),
        ('{"type":"Error","description":"?"}', Kind.OTHER),
        ('{"type":["Results"]}', Kind.OTHER),
        ("{}", Kind.OTHER),
        ("[1]", Kind.OTHER),
        ("not JSON", Kind.OTHER),
        ("[" * 100_000, Kind.OTHER),
    ],
)
def test_other_messages(text, kind):
    assert recognise(text).kind is kind


def test_a_result_without_numbers_is_one_at_the_beginning():
    assert recognise('{"type":"Results","is_final":true,"start":"x","channel_index":"y"}') == Recognised(
        Kind.FINAL
    )


@pytest.mark.parametrize(
    ("text", "control"),
    [
        ('{"type":"KeepAlive"}', ClientWord.KEEP_ALIVE),
        ('{ "type" : "Finalize", "channel": 0 }', ClientWord.FINALIZE),
        ('{"type":"CloseStream"}', ClientWord.CLOSE_STREAM),
        ('{"type":"Configure","keyterms":["x"]}', ClientWord.CONFIGURE),
        ('{"type":"Nonsense"}', ClientWord.OTHER),
        ("KeepAlive", ClientWord.OTHER),
    ],
)
def test_what_the_client_says(text, control):
    assert recognise_client(text) is control


def test_an_answer_to_finalize_is_found_whatever_the_spaces():
    assert not answers_finalize(INTERIM)
    assert answers_finalize('{"from_finalize" : true}')


@given(st.dictionaries(st.text(max_size=5), st.none() | st.text(max_size=5) | st.integers(), min_size=1))
def test_fields_are_added_without_a_change_to_the_others(message):
    text = json.dumps(message, indent=2) + "\n"
    assert json.loads(with_fields(text, '"seq of ours":7')) == message | {"seq of ours": 7}


@given(st.text())
def test_nothing_that_a_provider_may_say_breaks_it(text):
    recognise(text)
    recognise_client(text)
