"""S2: clients that never come to an end, before the front proxy; and what else the proxy is there for."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from time import monotonic

import httpx
import pytest

from jobs.models import ApiKey, Project
from tests.conditions import wait_until
from tests.faults.harness import Stack
from tests.sandbox.sounds import wav
from tests.services.nginx import Nginx

ASKED_EVERY_SECONDS = 0.05


async def until_cut(port: int, *, opening: bytes, then_every_second: bytes = b"") -> float:
    """Seconds that a connection lives on which only this is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = monotonic()

    async def drip() -> None:
        while then_every_second:
            await asyncio.sleep(1)
            writer.write(then_every_second)
            await writer.drain()

    dripping = asyncio.create_task(drip())
    with suppress(ConnectionError):
        if opening:
            writer.write(opening)
        while await reader.read(4096):
            pass
    lived = monotonic() - began
    dripping.cancel()
    with suppress(ConnectionError, asyncio.CancelledError):
        await dripping
    writer.close()
    return lived


async def health(url: str, over: asyncio.Event) -> list[float]:
    """Seconds that each answer took, all of them 200."""
    took = []
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        while not over.is_set():
            began = monotonic()
            answer = await client.get(f"{url}/healthz")
            assert answer.status_code == 200
            took.append(monotonic() - began)
            await asyncio.sleep(ASKED_EVERY_SECONDS)
    return took


async def besiege(proxy: Nginx, key: str, of_each: int) -> tuple[float, list[float]]:
    """How long the longest of the slow lived, and how long each question for health took meanwhile."""
    header = b"POST /api/v1/jobs/?mode=async HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: audio/wav\r\n"
    body = header + f"Authorization: Token {key}\r\nContent-Length: 1000000\r\n\r\nRIFF".encode()
    over = asyncio.Event()
    asking = asyncio.create_task(health(proxy.url, over))
    lived = await asyncio.gather(
        *(until_cut(proxy.port, opening=header, then_every_second=b"X") for _ in range(of_each)),
        *(until_cut(proxy.port, opening=body) for _ in range(of_each)),
        *(until_cut(proxy.port, opening=b"") for _ in range(of_each)),
    )
    over.set()
    return max(lived), await asking


@pytest.fixture
def key(transactional_db: None) -> str:
    _, text = ApiKey.objects.issue(Project.objects.create(name="p"), "k")
    return text


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Callable[..., Nginx]]:
    with stack.web(PUBLIC_URL="http://127.0.0.1") as web:
        proxies: list[Nginx] = []

        def make(**values: str) -> Nginx:
            nginx = Nginx(f"127.0.0.1:{web.port}", **values)
            proxies.append(nginx)
            nginx.start()
            return nginx

        yield make
        for nginx in proxies:
            nginx.close()


@pytest.mark.parametrize(
    ("of_each", "header_seconds", "body_seconds", "p99_bound"),
    [
        # A few dozen answers, the slowest of which is their p99, on machines that do other things too.
        pytest.param(60, 2, 3, 5.0, id="small"),
        pytest.param(500, 10, 30, 0.2, id="full", marks=pytest.mark.full_load),
    ],
)
async def test_s2_slow_clients_are_cut_and_hold_up_nobody(
    of_each: int,
    header_seconds: int,
    body_seconds: int,
    p99_bound: float,
    proxy: Callable[..., Nginx],
    key: str,
    tell: Callable[..., None],
) -> None:
    nginx = proxy(
        HEADER_SECONDS=str(header_seconds),
        BODY_SECONDS=str(body_seconds),
        CONNECTIONS_PER_ADDRESS=str(2 * of_each + 10),
    )

    longest, took = await besiege(nginx, key, of_each)

    p99 = sorted(took)[int(len(took) * 0.99)]
    tell("S2", connections=3 * of_each, longest=round(longest, 1), asked=len(took), p99_ms=round(p99 * 1000))
    # Connecting and cutting take a moment with so many at once.
    assert longest < body_seconds + 4
    assert p99 < p99_bound


@pytest.mark.postgresql
def test_who_sends_or_reads_slowly_holds_no_connection_of_the_database(stack: Stack, key: str) -> None:
    as_key = {"authorization": f"Token {key}"}
    audio, form = "audio/wav", "multipart/form-data; boundary=x"
    sent = [("/api/v1/jobs/", audio), ("/api/v1/jobs/", form), ("/v1/listen", audio)]
    with (
        stack.web(DATABASE_POOL_SIZE="2") as web,
        httpx.Client(base_url=web.url, headers=as_key, trust_env=False, timeout=60) as client,
        ExitStack() as held,
    ):
        job = client.post("/api/v1/jobs/?mode=async", content=wav(400), headers={"content-type": audio})

        def ask(line: str, *more: str) -> bytes:
            """What comes first of the answer, the rest of which nobody reads."""
            asking = held.enter_context(socket.socket())
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            asking.connect(("127.0.0.1", web.port))
            header = [f"{line} HTTP/1.1", "Host: localhost", f"Authorization: Token {key}", *more]
            asking.sendall("\r\n".join([*header, "", ""]).encode())
            return asking.recv(12)

        for _ in range(2):
            for path, kind in sent:
                # It is told to go on once the view waits for it.
                announced = (f"Content-Type: {kind}", "Content-Length: 1000000", "Expect: 100-continue")
                assert ask(f"POST {path}", *announced) == b"HTTP/1.1 100"
            assert ask(f"GET /api/v1/jobs/{job.json()['id']}/audio/") == b"HTTP/1.1 200"

        assert client.get("/api/v1/jobs/").status_code == 200


def test_an_address_has_no_more_connections_than_it_is_given(proxy: Callable[..., Nginx], key: str) -> None:
    # Not cut meanwhile, however slowly all goes.
    nginx = proxy(CONNECTIONS_PER_ADDRESS="2", BODY_SECONDS="600")

    asked = f"POST /api/v1/jobs/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token {key}\r\n"
    opening = f"{asked}Content-Type: audio/wav\r\nContent-Length: 9\r\n\r\n".encode()
    with ExitStack() as held:
        connections = [
            held.enter_context(socket.create_connection(("127.0.0.1", nginx.port))) for _ in range(2)
        ]
        for connection in connections:
            connection.sendall(opening)
        answers: list[httpx.Response] = []

        def refused() -> bool:
            answers.append(httpx.get(f"{nginx.url}/healthz", trust_env=False, timeout=60))
            early = select.select(connections, [], [], 0)[0]
            assert not early, early[0].recv(4096)
            return answers[-1].status_code != 200

        wait_until(refused)
    answer = answers[-1]

    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "too_many_connections"
    assert answer.headers["retry-after"] == "5"


def test_a_recording_goes_through_the_proxy_and_its_limits_answer_as_the_service_does(
    proxy: Callable[..., Nginx], key: str
) -> None:
    nginx = proxy(MAX_BODY_BYTES="100000")
    as_key = {"authorization": f"Token {key}"}
    audio = {"content-type": "audio/wav"}
    with httpx.Client(base_url=nginx.url, headers=as_key, trust_env=False) as client:
        taken = client.post("/api/v1/jobs/", data={"mode": "async"}, files={"file": wav(1.0)})
        too_large = client.post("/api/v1/jobs/", content=bytes(100_001), headers=audio)
        refused = client.post("/api/v1/jobs/", content=bytes(50_000), headers={"authorization": "Token no"})
        inner = client.get("/metrics")

    assert taken.status_code == 202
    assert (too_large.status_code, too_large.json()["error"]["code"]) == (413, "too_large")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "not_authenticated")
    assert inner.status_code == 404


def test_without_the_service_the_proxy_says_when_to_come_again(proxy: Callable[..., Nginx]) -> None:
    nginx = proxy()
    nowhere = Nginx("127.0.0.1:1")
    nowhere.answers = nginx.answers
    with nowhere:
        answer = httpx.get(f"{nowhere.url}/api/v1/jobs/", trust_env=False)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert json.loads(answer.text)["error"]["code"] == "service_unavailable"
