"""The module that pages transcribe with, against a server that a test scripts."""

import json
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection

from tests.browser import Page
from tests.conditions import wait_until
from tests.streaming.browser.conftest import RATE, spoken_clearly, words_in
from tests.streaming.loopback import Loopback

pytestmark = pytest.mark.django_db(transaction=True)

Turn = Callable[[ServerConnection], Awaitable[None]]


class Scripted:
    """A server of the live extension: each connection is a turn of the test's.

    `paths` and `heard`, the messages of audio, are by turn.
    """

    def __init__(self, *turns: Turn) -> None:
        self._turns = turns
        self.paths: list[str] = []
        self.heard: list[list[bytes]] = []

    async def __call__(self, socket: ServerConnection) -> None:
        self.paths.append(socket.request.path)
        self.heard.append([])
        await self._turns[len(self.paths) - 1](socket)

    async def hear(self, socket: ServerConnection, messages: int = 10**6) -> None:
        """So many messages of audio, or all until the stream is closed."""
        for _ in range(messages):
            message = await socket.recv()
            if isinstance(message, bytes):
                self.heard[-1].append(message)
            elif json.loads(message)["type"] == "CloseStream":
                return


async def tell(socket: ServerConnection, kind: str, **fields) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


async def begin(socket: ServerConnection, offset: int = 0, seq: int = 0) -> None:
    await tell(socket, "Session", session_id="s", token="the-token", audio_offset=offset, seq=seq)


async def final(socket: ServerConnection, seq: int, text: str) -> None:
    channel = {"alternatives": [{"transcript": text, "confidence": 1.0, "words": []}]}
    window = {"start": seq - 1, "duration": 1}
    await tell(socket, "Results", seq=seq, is_final=True, speech_final=True, channel=channel, **window)


@pytest.fixture
def module(browser, open_page) -> Page:
    """A page with the module and nothing else; it may speak to any server."""
    page = open_page(browser)
    page.call("Page.setBypassCSP", enabled=True)
    page.call("Page.reload")
    page.wait_for("document.readyState === 'complete' && !document.getElementById('toggle').disabled")
    return page


def start(page: Page, url: str) -> None:
    page.evaluate(
        """(async (url) => {
            const { LiveTranscription } = await import("/static/streaming/live.js");
            window.live = new LiveTranscription({ url });
            window.events = [];
            for (const type of ["connecting", "connected", "disconnected", "final", "retract", "gap"]) {
                live.addEventListener(type, ({ detail }) => events.push([type, detail]));
            }
            await live.start();
        })"""
        f"({json.dumps(url)})"
    )


def stop(page: Page) -> None:
    page.evaluate("live.stop()")


def texts(page: Page) -> list[str]:
    return page.evaluate("live.results.map(({ text }) => text)")


def test_after_a_break_the_audio_goes_on_from_the_byte_that_the_server_names(module):
    stored = []

    async def first(socket):
        await begin(socket)
        await script.hear(socket, 30)
        stored.extend(script.heard[0][:17])
        await tell(socket, "Ack", audio_bytes=len(b"".join(stored)), seq=7)
        socket.transport.abort()

    async def second(socket):
        await begin(socket, offset=len(b"".join(stored)), seq=7)
        await script.hear(socket)
        await socket.close(1000)

    script = Scripted(first, second)
    with Loopback(script) as server:
        start(module, server.url)
        wait_until(lambda: len(script.heard) == 2 and len(script.heard[1]) > 40)
        stop(module)

    clear = spoken_clearly(module)
    heard = [word for word in words_in(b"".join(stored + script.heard[1])) if word in clear]
    assert heard == clear[: len(heard)]
    assert len(heard) > 10
    assert "resumable=true" in script.paths[0]
    assert f"sample_rate={RATE}" in script.paths[0]
    assert "resume=the-token&last_seq=7" in script.paths[1]
    chunks = [max(map(len, heard)) / RATE / 2 for heard in script.heard]
    assert chunks == [pytest.approx(0.1), pytest.approx(0.2)], "messages grow on a poor connection"
    events = module.evaluate("events.map(([type]) => type)")
    assert events == ["connecting", "connected", "connecting", "connected", "disconnected"]


def test_final_results_that_were_not_stored_are_taken_back_and_the_others_shown_once(module):
    async def first(socket):
        await begin(socket)
        for seq, text in enumerate(["one", "two", "three"], start=1):
            await final(socket, seq, text)
        await tell(socket, "Ack", audio_bytes=0, seq=1)
        await socket.close(1011)

    async def second(socket):
        await final(socket, 2, "two")
        await begin(socket, seq=2)
        await final(socket, 3, "tree")
        await script.hear(socket)
        await socket.close(1000)

    script = Scripted(first, second)
    with Loopback(script) as server:
        start(module, server.url)
        module.wait_for("live.results.some(({ text }) => text === 'tree')")
        stop(module)

    assert texts(module) == ["one", "two", "tree"]
    shown = module.evaluate("events.filter(([type]) => type === 'final' || type === 'retract')")
    assert [(kind, detail["seq"]) for kind, detail in shown] == [
        ("final", 1),
        ("final", 2),
        ("final", 3),
        ("retract", 3),
        ("final", 3),
    ]


def test_results_that_were_missed_are_shown(module):
    async def first(socket):
        await begin(socket)
        await final(socket, 1, "one")
        await socket.close(1011)

    async def second(socket):
        await final(socket, 1, "one")
        await final(socket, 2, "two")
        await begin(socket, seq=2)
        await script.hear(socket)
        await socket.close(1000)

    script = Scripted(first, second)
    with Loopback(script) as server:
        start(module, server.url)
        module.wait_for("live.results.length === 2 && live.state === 'connected'")
        stop(module)

    assert texts(module) == ["one", "two"]


@pytest.mark.parametrize(
    ("code", "told"), [(1000, "closed"), (1008, "bad_audio"), (4009, "replaced"), (4029, "limit")]
)
def test_a_session_that_is_closed_for_good_is_not_taken_up_again(module, code, told):
    async def only(socket):
        await begin(socket)
        await socket.close(code)

    script = Scripted(only)
    with Loopback(script) as server:
        start(module, server.url)
        outcome = module.wait_for("events.find(([type]) => type === 'disconnected')?.[1]")

    assert outcome["code"] == told
    assert outcome["message"]
    assert len(script.paths) == 1


def test_a_session_that_is_moved_goes_on_elsewhere_at_once(module):
    async def first(socket):
        await begin(socket)
        await socket.close(4000)

    async def second(socket):
        await begin(socket)
        await script.hear(socket)
        await socket.close(1000)

    script = Scripted(first, second)
    with Loopback(script) as server:
        start(module, server.url)
        module.wait_for("events.filter(([type]) => type === 'connected').length === 2")
        chunk = module.evaluate("live.chunkMs")
        stop(module)

    assert chunk == 100, "the connection is not to blame"


def test_the_end_is_waited_for_over_a_break(module):
    async def first(socket):
        await begin(socket)
        await script.hear(socket)
        socket.transport.abort()

    async def second(socket):
        await begin(socket)
        await script.hear(socket)
        await final(socket, 1, "the last words")
        await socket.close(1000)

    script = Scripted(first, second)
    with Loopback(script) as server:
        start(module, server.url)
        wait_until(lambda: script.heard and len(script.heard[0]) > 5)
        outcome = module.evaluate("live.stop()")

    assert outcome == {"code": "ended", "message": ""}
    assert texts(module) == ["the last words"]
    assert b"".join(script.heard[1]) == b"".join(script.heard[0])


def test_a_session_that_ended_while_its_client_was_away_is_not_waited_for(module):
    async def only(socket):
        await begin(socket)
        await script.hear(socket)
        socket.transport.abort()

    def answer(socket, request):
        return socket.respond(410, "The session ended.") if script.paths else None

    script = Scripted(only)
    with Loopback(script, answer) as server:
        start(module, server.url)
        wait_until(lambda: script.heard and len(script.heard[0]) > 5)
        outcome = module.evaluate("live.stop()")

    assert outcome["code"] == "closed"


def test_a_server_that_is_not_there_is_given_up_after_a_few_attempts(module):
    with Loopback() as server:
        gone = server.url
    start(module, gone)

    outcome = module.wait_for("events.find(([type]) => type === 'disconnected')?.[1]")

    assert outcome["code"] == "unreachable"


def test_while_a_grant_is_asked_for_the_network_may_come_back(module):
    asked = module.evaluate(
        """(async () => {
            const { LiveTranscription } = await import("/static/streaming/live.js");
            let asked = 0;
            const grant = () => { asked += 1; return new Promise(() => {}); };
            await new LiveTranscription({ grant }).start();
            dispatchEvent(new Event("online"));
            return asked;
        })()"""
    )

    assert asked == 1


def test_audio_is_kept_until_it_is_acknowledged_and_within_bounds(module):
    pieces = """(async () => {
        const { Unacknowledged } = await import("/static/streaming/unacknowledged.js");
        const kept = new Unacknowledged(8);
        const from = (byte) => [...kept.from(byte)].map((piece) => [...piece]);
        const seen = [];
        kept.add(Uint8Array.of(1, 2, 3));
        kept.add(Uint8Array.of(4, 5));
        seen.push(from(0), from(2), from(5));
        kept.acknowledge(4);
        seen.push(kept.start, from(3));
        kept.add(Uint8Array.of(6, 7, 8, 9));
        kept.add(Uint8Array.of(10, 11, 12));
        seen.push(kept.start, from(3), kept.end);
        return seen;
    })()"""

    assert module.evaluate(pieces) == [
        [[1, 2, 3], [4, 5]],
        [[3], [4, 5]],
        [],
        3,
        [[4, 5]],
        # The oldest went, since nine bytes are more than eight: they would be sent as silence.
        5,
        [[0, 0], [6, 7, 8, 9], [10, 11, 12]],
        12,
    ]


def test_latency_is_from_the_end_of_the_last_chunk_that_a_result_covers(module):
    measured = module.evaluate(
        """(async () => {
            const { LatencyMeter } = await import("/static/streaming/latency.js");
            const meter = new LatencyMeter();
            const before = meter.summary();
            for (let chunk = 1; chunk <= 100; chunk += 1) {
                meter.heard(chunk / 10, chunk * 100);
            }
            for (let chunk = 1; chunk <= 100; chunk += 1) {
                meter.shown(chunk / 10 - 0.05, chunk * 100 + chunk);
            }
            meter.shown(11, 11_000);
            return [before, meter.summary()];
        })()"""
    )

    assert measured[0] is None
    assert measured[1]["results"] == 100
    assert measured[1]["p50_ms"] == pytest.approx(50, rel=0.05)
    assert measured[1]["p95_ms"] == pytest.approx(95, rel=0.05)
    assert measured[1]["p99_ms"] == pytest.approx(99, rel=0.05)
