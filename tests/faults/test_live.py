"""Live sessions whose provider, server or client fails: what was said is told once, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from statistics import linear_regression
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from jobs.models import ApiKey, Project
from sandbox.engines.tones import said, spoken_words, text_of
from streaming.models import LiveSession
from tests.conditions import PATIENCE, wait_until
from tests.faults.harness import Stopwatch
from tests.streaming.speaker import OPTIONS, Crowd, Speaker

FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
SMALL = pytest.mark.postgresql
WORDS = 16
# So long that servers can be started again meanwhile.
LONG_WORDS = 48
ENDED_SECONDS = 120
SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
# What of a client is left may take so long to go.
GONE_SECONDS = 30


@pytest.fixture
def key(transactional_db) -> str:
    _, text = ApiKey.objects.issue(Project.objects.create(name="Calls"), "phone")
    return text


def text_for(number: int, words: int) -> str:
    """Every speaker says something else."""
    return text_of(words, first=number * words)


def make_speakers(count: int, servers: list[str], key: str, words: int = WORDS) -> list[Speaker]:
    """Each begins at the next server, and comes back to the one after."""
    made = []
    for number in range(count):
        turns = cycle([*servers[number % len(servers) :], *servers[: number % len(servers)]])
        made.append(Speaker(turns.__next__, key, said(text_for(number, words))))
    return made


def errors(speakers: list[Speaker], words: int = WORDS) -> dict[str, int]:
    """Words said and not told, told and not said (or twice), and streams with words out of their order."""
    lost, repeated, disordered = Counter[str](), Counter[str](), 0
    for number, speaker in enumerate(speakers):
        spoken = [word.bare for word in spoken_words(text_for(number, words))]
        told = [word["word"] for word in speaker.words]
        lost += Counter(spoken) - Counter(told)
        repeated += Counter(told) - Counter(spoken)
        starts = [word["start"] for word in speaker.words]
        disordered += starts != sorted(starts)
    return {"lost": lost.total(), "repeated": repeated.total(), "disordered": disordered}


NONE = {"lost": 0, "repeated": 0, "disordered": 0}


def websocket(web) -> str:
    return web.url.replace("http", "ws", 1)


def all_ended() -> bool:
    return not LiveSession.objects.open().exists()


@pytest.mark.parametrize(
    ("sessions", "words"),
    [pytest.param(6, 16, id="small", marks=SMALL), pytest.param(40, 120, id="full", marks=FULL)],
)
def test_l1_a_provider_that_drops_its_connections_is_not_noticed(stack, provider, key, tell, sessions, words):
    provider.set_faults(
        {"fault": "drop=2..20", "share": 0.4, "seed": 1},
        {"fault": "close=1011;after=2..20", "share": 0.5, "seed": 2},
        {"fault": "mute=2..20", "share": 0.2, "seed": 3},
        {"fault": "stall=2..20", "share": 0.2, "seed": 4},
    )
    with stack.web() as web:
        speakers = make_speakers(sessions, [websocket(web)], key, words)
        with Crowd(speakers) as crowd:
            crowd.hear_out(ENDED_SECONDS + words)
        wait_until(all_ended, ENDED_SECONDS)

    found = errors(speakers, words)
    reconnects = sum(LiveSession.objects.values_list("reconnects", flat=True))
    assert found == NONE
    assert reconnects
    tell("L1", sessions=sessions, drops=reconnects, **found)


@pytest.mark.parametrize(
    ("sessions", "outage"),
    [pytest.param(4, 3, id="small", marks=SMALL), pytest.param(20, 30, id="full", marks=FULL)],
)
def test_l2_a_provider_that_is_away_for_a_while_loses_no_word(stack, provider, key, tell, sessions, outage):
    """What came meanwhile is caught up, or transcribed by the batch path and marked late."""
    words = WORDS + 4 * outage
    with stack.web() as web:
        speakers = make_speakers(sessions, [websocket(web)], key, words)
        with Crowd(speakers) as crowd:
            wait_until(lambda: all(speaker.sent > 64_000 for speaker in speakers), ENDED_SECONDS)
            provider.stop()
            away = Stopwatch()
            wait_until(lambda: away.seconds > outage, 2 * outage)
            provider.start()
            crowd.hear_out(ENDED_SECONDS + words)
        wait_until(all_ended, ENDED_SECONDS)

    found = errors(speakers, words)
    gaps = [gap for speaker in speakers for gap in speaker.gaps]
    assert (found, gaps) == (NONE, [])
    late = sum(final.get("late", False) for speaker in speakers for final in speaker.finals)
    tell("L2", sessions=sessions, outage=outage, late=late, **found)


@pytest.mark.parametrize(
    "sessions", [pytest.param(4, id="small", marks=SMALL), pytest.param(50, id="full", marks=FULL)]
)
def test_a_server_that_is_killed_loses_no_word(stack, provider, key, tell, sessions):
    """Nor does the next, before the first is back."""
    with stack.web() as first, stack.web() as second:
        speakers = make_speakers(sessions, [websocket(first), websocket(second)], key)
        with Crowd(speakers) as crowd:
            wait_until(lambda: all(speaker.sent > 64_000 for speaker in speakers), ENDED_SECONDS)
            first.kill()
            at_second = sessions + (sessions + 1) // 2
            wait_until(lambda: sum(speaker.sessions for speaker in speakers) == at_second, ENDED_SECONDS)
            second.kill()
            first.start()
            second.start()
            crowd.hear_out(ENDED_SECONDS)
        wait_until(all_ended, ENDED_SECONDS)

    found = errors(speakers)
    assert found == NONE
    assert sum(speaker.sessions for speaker in speakers) > at_second
    tell("L kill", sessions=sessions, kills=2, **found)


@pytest.mark.parametrize(
    "sessions", [pytest.param(6, id="small", marks=SMALL), pytest.param(50, id="full", marks=FULL)]
)
def test_l4_a_rolling_restart_moves_who_can_be_moved_and_hears_the_others_out(
    stack, provider, key, tell, sessions
):
    with stack.web(SHUTDOWN_GRACE_SECONDS="20") as first, stack.web(SHUTDOWN_GRACE_SECONDS="20") as second:
        speakers = make_speakers(sessions, [websocket(first), websocket(second)], key, LONG_WORDS)
        plain = connect_plainly(websocket(first), key)
        with Crowd(speakers) as crowd, plain as other:
            other.send(said(text_for(1000, 2)))
            wait_until(lambda: all(speaker.sent > 64_000 for speaker in speakers), ENDED_SECONDS)
            took = []
            for server in (first, second):
                watch = Stopwatch()
                os.kill(server.pid, signal.SIGTERM)
                if server is first:
                    other.send('{"type":"CloseStream"}')
                    messages = [json.loads(message) for message in other]
                wait_until(lambda: not server.running, 40)  # noqa: B023
                took.append(watch.seconds)
                server.stop()
                server.start()
            crowd.hear_out(ENDED_SECONDS)
        wait_until(all_ended, ENDED_SECONDS)

    found = errors(speakers, LONG_WORDS)
    moved = sum(speaker.closes.count(4000) for speaker in speakers)
    assert found == NONE
    assert moved >= sessions // 2
    assert {code for speaker in speakers for code in speaker.closes} == {4000, 1000}
    assert messages[-1]["type"] == "Metadata"
    assert other.close_code == 1000
    assert max(took) < 20 + 10 * PATIENCE
    tell("L4 restart", sessions=sessions, moved=moved, longest_drain=round(max(took), 1), **found)


def connect_plainly(url: str, key: str, **options: str) -> ClientConnection:
    query = urlencode({name: value for name, value in OPTIONS.items() if name != "resumable"} | options)
    headers = {"Authorization": f"Token {key}"}
    return connect(f"{url}/v1/listen?{query}", additional_headers=headers, proxy=None, max_size=None)


@pytest.mark.parametrize(
    "clients", [pytest.param(10, id="small", marks=SMALL), pytest.param(200, id="full", marks=FULL)]
)
def test_l4_clients_that_vanish_leave_nothing_open(stack, provider, key, tell, clients):
    with stack.web() as web:
        for _ in vanishing(websocket(web), key, 2):
            pass
        wait_until(all_ended, GONE_SECONDS)
        before = web.open_files
        for _ in vanishing(websocket(web), key, clients):
            pass
        closed_in = wait_until(lambda: provider.streams()["active"] == 0, GONE_SECONDS)
        wait_until(all_ended, GONE_SECONDS)
        wait_until(lambda: web.open_files <= before + 2, GONE_SECONDS)
    tell("L4 vanish", clients=clients, closed_in=round(closed_in, 1))


def vanishing(url: str, key: str, clients: int) -> Iterator[None]:
    """Each in the middle of speech, without a word."""
    for number in range(clients):
        with suppress(ConnectionClosed), connect_plainly(url, key) as client:
            client.send(said(text_for(number, 4))[:48_000])
            client.recv()
            client.socket.shutdown(socket.SHUT_RDWR)
            yield


@pytest.mark.parametrize(
    ("clients", "words", "latest_ms"),
    [
        pytest.param(4, WORDS, 15_000, id="small", marks=SMALL),
        pytest.param(40, 60, 50, id="full", marks=FULL),
    ],
)
def test_l3_clients_that_flood_or_talk_nonsense_take_no_memory_and_nobodys_time(
    stack, provider, key, tell, clients, words, latest_ms
):
    # What the floods brought would else be heard out.
    with stack.web(SHUTDOWN_GRACE_SECONDS="1") as web:
        speakers = make_speakers(2, [websocket(web)], key, words)
        with Crowd(speakers) as crowd:
            wait_until(lambda: all(speaker.sent > 32_000 for speaker in speakers), ENDED_SECONDS)
            before = web.memory_bytes
            floods = [connect_plainly(websocket(web), key) for _ in range(clients)]
            for flood in floods:
                with flood as client:
                    flood_with(client)
            growth = web.memory_bytes - before
            crowd.hear_out(ENDED_SECONDS)
        heard = LiveSession.objects.filter(resumable=True)
        wait_until(lambda: not heard.open().exists(), ENDED_SECONDS)
    found = errors(speakers, words)
    p99_ms = max(latency["p99_ms"] for latency in heard.values_list("latency", flat=True))
    assert found == NONE
    assert growth / clients < 4 * 1024**2 or growth < 64 * 1024**2
    assert p99_ms < latest_ms
    tell("L3", clients=clients, growth_mb=round(growth / 1e6), others_p99_ms=p99_ms, **found)


def flood_with(client: ClientConnection) -> None:
    """A minute of speech at once, in huge messages, with nonsense between."""
    client.socket.settimeout(1)
    minute = bytes(60 * 32_000)
    with suppress(ConnectionClosed, OSError):
        for start in range(0, len(minute), 1_000_000):
            client.send(minute[start : start + 1_000_000])
            client.send("nonsense")
            client.send('{"type":"Finalize"')
    client.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.full_load
@pytest.mark.timeout(0)
def test_l5_sessions_leave_nothing_behind_however_many_there_were(stack, provider, key, tell):
    """For SOAK_SECONDS: fifty at once, again and again, over a provider that drops them."""
    provider.set_faults({"fault": "drop=2..20", "share": 0.3, "seed": 5})
    found, taken = Counter[str](), []
    with stack.web() as web:
        watch = Stopwatch()
        while watch.seconds < SOAK_SECONDS:
            speakers = make_speakers(50, [websocket(web)], key)
            with Crowd(speakers) as crowd:
                crowd.hear_out(ENDED_SECONDS)
            wait_until(all_ended, ENDED_SECONDS)
            found.update(errors(speakers))
            taken.append((watch.seconds, web.memory_bytes, web.open_files))
    # By then all code has run, and caches are full.
    settled = taken[len(taken) // 2 :]
    slope, _ = linear_regression([at for at, _, _ in settled], [memory for _, memory, _ in settled])
    growth = settled[-1][1] - settled[0][1]
    tell(
        "L5",
        sessions=50 * len(taken),
        memory_mb=round(settled[-1][1] / 1e6),
        growth_mb=round(growth / 1e6, 1),
        slope_mb_per_hour=round(slope * 3600 / 1e6, 1),
        open_files=settled[-1][2] - settled[0][2],
        **found,
    )
    assert dict(found) == NONE
    assert growth < 8e6
    assert settled[-1][2] <= settled[0][2] + 2
