"""Sessions that go on after a break, here or in another process, without a hole and without a repeat."""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from sandbox.engines.tones import said, spoken_words, text_of
from streaming.database import in_database
from streaming.models import LiveSession
from tests.conditions import wait_until
from tests.server_thread import ServerThread
from tests.streaming.speaker import Speaker

TEXT = text_of(12)
AUDIO = said(TEXT)
SAID = " ".join(word.bare for word in spoken_words(TEXT))
SECONDS = 60


@pytest.fixture
def other(live):
    """A second server with the same database."""
    server = ServerThread()
    server.start()
    yield server
    server.stop()


async def until(condition):
    """In a thread whose connection to the database is given back."""
    await in_database(wait_until, condition, SECONDS)


async def ended():
    await until(lambda: LiveSession.objects.get().is_ended)
    return await in_database(LiveSession.objects.get)


def check(speaker):
    assert speaker.text == SAID
    starts = [word["start"] for word in speaker.words]
    spoken = [word.start for word in spoken_words(TEXT)]
    assert starts == pytest.approx(spoken, abs=0.1)
    seqs = [final["seq"] for final in speaker.finals]
    assert seqs == sorted(set(seqs))
    assert speaker.gaps == []


async def test_a_session_goes_on_at_another_server(live, other, sandbox, key):
    servers = iter([live.url, other.url, live.url])
    speaker = Speaker(lambda: next(servers), key, AUDIO)
    speaking = asyncio.create_task(speaker.speak())

    for sessions in (1, 2):
        await until(
            lambda sessions=sessions: speaker.sessions == sessions and speaker.sent > sessions * 64_000
        )
        speaker.socket.transport.abort()
    await asyncio.wait_for(speaking, SECONDS)

    check(speaker)
    session = await ended()
    assert (session.reason, session.epoch) == ("finished", 3)
    assert session.duration == pytest.approx(len(AUDIO) / 32_000, abs=0.01)


async def test_latency_is_of_all_that_served_the_session(live, other, sandbox, key):
    servers = iter([live.url, other.url])
    speaker = Speaker(lambda: next(servers), key, AUDIO)
    speaking = asyncio.create_task(speaker.speak())

    await until(lambda: LiveSession.objects.filter(latency__results__gt=0).exists())
    speaker.socket.transport.abort()
    await asyncio.wait_for(speaking, SECONDS)

    assert (await ended()).latency["results"] > speaker.results


async def test_a_relay_whose_session_goes_on_elsewhere_is_over(live, other, sandbox, key):
    """Its client has not even noticed: only a network that is half gone leaves two."""
    servers = iter([live.url, other.url])
    speaker = Speaker(lambda: next(servers), key, AUDIO)
    speaking = asyncio.create_task(speaker.speak())
    await until(lambda: speaker.sent > 64_000)
    first = speaker.socket

    async with connect(f"{other.url}/v1/listen?resume={speaker._token}&last_seq=0", proxy=None) as second:
        await second.recv()
        await asyncio.wait_for(first.wait_closed(), SECONDS)
        assert first.close_code == 4009
    await asyncio.wait_for(speaking, SECONDS)

    check(speaker)


@pytest.mark.parametrize("fault", ["drop=2", "close=1011;after=2"])
async def test_a_provider_that_fails_is_not_noticed(live, sandbox, key, fault):
    sandbox.set_faults({"fault": fault, "first": 2})
    speaker = Speaker(lambda: live.url, key, AUDIO)

    await asyncio.wait_for(speaker.speak(), SECONDS)

    check(speaker)
    assert speaker.sessions == 1
    assert "reconnecting" in speaker.states
    assert (await ended()).reconnects >= 1


async def test_an_unknown_token_resumes_nothing(live, sandbox):
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{live.url}/v1/listen?resume=nonsense&last_seq=0", proxy=None):
            pass

    assert refused.value.response.status_code == 404


async def test_a_session_that_ended_is_not_resumed(live, sandbox, key):
    speaker = Speaker(lambda: live.url, key, said(text_of(2)))
    await asyncio.wait_for(speaker.speak(), SECONDS)
    await ended()

    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{live.url}/v1/listen?resume={speaker._token}&last_seq=0", proxy=None):
            pass

    assert refused.value.response.status_code == 410


async def test_of_many_who_resume_at_once_the_last_alone_goes_on(live, sandbox, key):
    speaker = Speaker(lambda: live.url, key, AUDIO)
    speaking = asyncio.create_task(speaker.speak())
    await until(lambda: speaker.sent > 32_000)
    speaking.cancel()

    async def come_back():
        url = f"{live.url}/v1/listen?resume={speaker._token}&last_seq=0"
        async with connect(url, proxy=None, open_timeout=SECONDS) as socket:
            await socket.wait_closed()
            return socket.close_code

    there, replaced = {asyncio.create_task(come_back()) for _ in range(10)}, set()
    async with asyncio.timeout(SECONDS):
        while len(replaced) < 9:
            done, there = await asyncio.wait(there, return_when=asyncio.FIRST_COMPLETED)
            replaced |= done

    assert [client.result() for client in replaced] == [4009] * 9
    [last] = there
    last.cancel()


async def test_a_foreign_page_does_not_come_between_a_session_and_its_client(live, sandbox, key):
    speaker = Speaker(lambda: live.url, key, said(text_of(4)))
    speaking = asyncio.create_task(speaker.speak())
    await until(lambda: speaker.sent > 32_000)

    url = f"{live.url}/v1/listen?resume={speaker._token}&last_seq=0"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, origin="https://evil.example", proxy=None):
            pass
    await asyncio.wait_for(speaking, SECONDS)

    assert refused.value.response.status_code == 403
    assert speaker.sessions == 1
