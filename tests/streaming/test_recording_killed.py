"""A recorded session whose server is killed: what was kept is there, and the session goes on elsewhere."""

import asyncio
import wave
from collections.abc import Iterator

import pytest
from django.core.files.storage import storages

from jobs.database_clock import seconds_from_now
from jobs.models import Status
from sandbox.engines.tones import said, spoken_words, text_of
from streaming import aftercare
from streaming.database import in_database
from streaming.models import AudioPart, LiveSession
from streaming.recorded import PART_SECONDS
from tests.conditions import wait_until
from tests.streaming.speaker import BYTES_PER_SECOND, Speaker
from tests.web_process import WebProcess

SECONDS = 60
TEXT = text_of(24)
AUDIO = said(TEXT)
SAID = " ".join(word.bare for word in spoken_words(TEXT))


@pytest.fixture
def servers(database_url, sandbox) -> Iterator[list[WebProcess]]:
    environment = {"DATABASE_URL": database_url, "DEEPGRAM_BASE_URL": sandbox.url}
    with WebProcess(environment) as first, WebProcess(environment) as second:
        yield [first, second]


def address(server: WebProcess) -> str:
    return server.url.replace("http", "ws")


def recorded() -> LiveSession:
    """The session, once workers have made its recording."""

    def is_recorded() -> bool:
        aftercare.sweep(lambda: False)
        return LiveSession.objects.get().recorded_at is not None

    wait_until(is_recorded, SECONDS)
    return LiveSession.objects.select_related("recording", "job").get()


def samples(session: LiveSession) -> bytes:
    with (
        storages["default"].open(session.recording.file.name) as stored,
        wave.open(stored) as file,
    ):
        return file.readframes(file.getnframes())


async def first_part_kept() -> int:
    """When some of the audio is kept: how many bytes."""
    await in_database(wait_until, AudioPart.objects.exists, SECONDS)
    return (await in_database(AudioPart.objects.get)).size


@pytest.mark.postgresql
async def test_what_was_kept_before_a_kill_is_transcribed(servers, key):
    speaker = Speaker(lambda: address(servers[0]), key, AUDIO, record="true")
    speaking = asyncio.create_task(speaker.speak())
    kept = await first_part_kept()
    servers[0].kill()
    speaking.cancel()

    # Nobody comes back: twice its time runs out.
    for _ in range(2):
        await in_database(LiveSession.objects.update, lease_until=seconds_from_now(-1))
        await in_database(aftercare.sweep, lambda: False)
    session = await in_database(recorded)

    assert (session.state, session.reason) == ("ended", "client_gone")
    assert await in_database(samples, session) == AUDIO[:kept]
    assert session.job.status == Status.QUEUED
    assert SAID.startswith(" ".join(await in_database(words_of, session)))


async def test_a_killed_session_that_goes_on_elsewhere_is_one_recording(servers, key):
    speaker = Speaker(
        lambda: address(servers[0] if servers[0].process else servers[1]), key, AUDIO, record="true"
    )
    speaking = asyncio.create_task(speaker.speak())
    kept = await first_part_kept()
    servers[0].kill()
    await asyncio.wait_for(speaking, SECONDS)

    session = await in_database(recorded)

    assert speaker.text == SAID
    assert (session.reason, session.epoch) == ("finished", 2)
    found = await in_database(samples, session)
    assert len(found) == len(AUDIO)
    differs = [at for at in range(len(AUDIO)) if found[at] != AUDIO[at]]
    # What had been final for the client, and was kept nowhere.
    assert all(found[at] == 0 for at in differs)
    assert not differs or kept <= differs[0] <= differs[-1] < kept + (PART_SECONDS + 2) * BYTES_PER_SECOND


def words_of(session: LiveSession) -> list[str]:
    return [word["word"] for final in session.finals.all() for word in final.words]
