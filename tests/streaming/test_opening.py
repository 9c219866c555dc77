"""How a session is opened, or gone on with, as its relay is told."""

import pytest

from streaming.opening import opened

ASKED = "model=nova-3&resumable=true&interim_throttle_ms=500"


def scope(query, *, headers=(), subprotocols=()):
    return {
        "query_string": query.encode(),
        "headers": list(headers),
        "subprotocols": list(subprotocols),
        "scheme": "ws",
    }


@pytest.fixture
def first(key):
    return opened(scope(ASKED, headers=[(b"authorization", f"Token {key}".encode())]))


@pytest.mark.parametrize(
    ("offered", "echoed"), [((), None), (("token", "KEY"), "token"), (("Bearer", "GRANT"), "Bearer")]
)
def test_who_resumes_with_a_subprotocol_has_it_echoed_without_which_browsers_close(first, offered, echoed):
    resumed = opened(scope(f"resume={first.identity.token}&last_seq=0", subprotocols=offered))

    assert resumed.subprotocol == echoed


def test_what_was_asked_for_at_first_still_holds_when_a_session_is_resumed(first):
    resumed = opened(scope(f"resume={first.identity.token}&last_seq=0"))

    assert resumed.terms.interim_throttle == first.terms.interim_throttle == 0.5
    assert resumed.terms.forwarded == first.terms.forwarded
