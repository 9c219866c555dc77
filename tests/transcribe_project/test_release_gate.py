"""What the gate for releases says of what a Prometheus has seen."""

import json
from urllib.parse import unquote_plus

import pytest
from django.core.management import CommandError, call_command

from tests.routing.peer import Peer
from transcribe_project.management.commands.release_gate import FAILS, HOLDS, UNKNOWN

WELL = {"latency": 0.2, "results": 500, "failed": 0, "connections": 50}
ASKED = {
    "latency": "histogram_quantile",
    "results": "latency_seconds_count",
    "failed": "failed|broken",
    "connections": "accepted|failed",
}


def telling(seen):
    def serve(connection):
        while request := connection.read_request():
            query = unquote_plus(request.target)
            value = seen.get(next(name for name, part in ASKED.items() if part in query))
            found = [] if value is None else [{"value": [0, str(value)]}]
            connection.answer(200, json.dumps({"data": {"result": found}}).encode())

    return Peer(serve)


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (WELL, HOLDS),
        (WELL | {"latency": 0.5}, FAILS),
        (WELL | {"failed": 1}, FAILS),
        (WELL | {"latency": 0.5, "connections": 3}, FAILS),
        (WELL | {"latency": None, "results": None}, UNKNOWN),
        (WELL | {"connections": 3, "failed": 3}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_a_release_holds_if_there_is_enough_to_tell_and_it_is_good(seen, code):
    with telling(seen) as prometheus:
        try:
            call_command("release_gate", "--prometheus", prometheus.url, "--since", "60")
        except CommandError as error:
            said = error.returncode
        else:
            said = HOLDS

    assert said == code
