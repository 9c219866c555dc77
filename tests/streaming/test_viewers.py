"""Following streams by server-sent events, through a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from django.db import connection

from jobs.models import Project
from streaming import aftercare, lifecycle, news, viewers
from tests.conditions import wait_until
from tests.jobs.api.conftest import client_for, error_of
from tests.streaming import factories
from tests.streaming.factories import end, progress, results

STREAMS = "/api/v1/streams/"
PATIENCE = 30.0


@pytest.fixture
def session(project):
    return factories.live(project)


async def elsewhere(do, *arguments) -> None:
    """Have something done to the rows in a thread that keeps no connection."""

    def in_a_thread() -> None:
        try:
            do(*arguments)
        finally:
            connection.close()

    await asyncio.to_thread(in_a_thread)


async def say(session, *finals) -> None:
    await elsewhere(lifecycle.store, [progress(session, *finals)])


class Viewer:
    """Reads events as browsers do: `id` stays what it was last."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_id = ""
        self._lines = response.aiter_lines()

    async def event(self) -> tuple[str, dict] | None:
        """The next one, or None once the answer has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    self.last_id = fields.get("id", self.last_id)
                    return fields["event"], json.loads(fields["data"])
                else:
                    fields = {}
        return None

    async def texts(self, count: int) -> list[str]:
        """Of so many results, whatever else is told in between."""
        found: list[str] = []
        while len(found) < count:
            name, data = await self.event()
            found += [data["text"]] if name == "result" else []
        return found


@asynccontextmanager
async def following(live, session, key, **headers) -> AsyncIterator[Viewer]:
    url = f"http://127.0.0.1:{live.port}{STREAMS}{session.pk}/events/"
    named = {"Authorization": f"Token {key}"} | headers
    async with (
        httpx.AsyncClient(timeout=PATIENCE) as client,
        client.stream("GET", url, headers=named) as response,
    ):
        yield Viewer(response)


async def test_a_viewer_sees_what_was_said_and_what_is_said_then_and_the_end(live, session, key):
    await say(session, results(1, "Before."))
    async with following(live, session, key) as viewer:
        assert viewer.response.headers["Content-Type"] == "text/event-stream"
        assert viewer.response.headers["X-Accel-Buffering"] == "no"
        assert await viewer.texts(1) == ["Before."]
        assert await viewer.event() == ("state", {"state": "live", "reason": None})

        await say(session, results(4, "During.", 1.0, speech_final=True))
        name, said = await viewer.event()
        assert (name, said["text"], said["start"], said["speech_final"]) == ("result", "During.", 1.0, True)
        assert [word["word"] for word in said["words"]] == ["during"]
        assert viewer.last_id == "4"

        await elsewhere(end, session)
        assert await viewer.event() == ("state", {"state": "ended", "reason": "finished"})
        assert await viewer.event() is None


async def test_a_viewer_who_comes_back_goes_on_after_the_last_event(live, session, key):
    await say(session, results(1, "one"), results(5, "two"), results(6, "three"))

    async with following(live, session, key, **{"Last-Event-ID": "1"}) as viewer:
        assert await viewer.texts(2) == ["two", "three"]


async def test_nobody_asks_again_for_what_is_over_and_was_seen(live, session, key):
    await say(session, results(1, "one"))
    await elsewhere(end, session)

    async with following(live, session, key, **{"Last-Event-ID": "1"}) as viewer:
        assert viewer.response.status_code == 204
    async with following(live, session, key) as viewer:
        assert await viewer.texts(1) == ["one"]
        assert (await viewer.event())[1]["state"] == "ended"
        assert await viewer.event() is None


async def test_more_than_is_kept_for_all_is_read_from_the_rows(live, session, key, monkeypatch):
    monkeypatch.setattr(viewers, "PAGE", 3)
    monkeypatch.setattr(viewers, "KEPT_EVENTS", 2)
    await say(session, *(results(seq, f"w{seq}") for seq in range(1, 9)))
    async with following(live, session, key) as viewer:
        assert await viewer.texts(8) == [f"w{seq}" for seq in range(1, 9)]

        await say(session, *(results(seq, f"w{seq}") for seq in range(9, 16)))
        assert await viewer.texts(7) == [f"w{seq}" for seq in range(9, 16)]


async def test_what_another_process_stores_is_seen_without_being_told(live, session, key, monkeypatch):
    monkeypatch.setattr(news, "_listeners", [])
    async with following(live, session, key) as viewer:
        await viewer.event()
        await say(session, results(1, "Hello."))

        assert await viewer.texts(1) == ["Hello."]


async def test_another_process_is_told_by_redis(live, session, key, monkeypatch, settings, redis_url):
    settings.REDIS_URL = redis_url
    monkeypatch.setattr(news, "_listeners", [])
    async with following(live, session, key) as viewer:
        await viewer.event()
        # From now on nobody looks by themselves.
        monkeypatch.setattr(viewers, "LOOK_SECONDS", 600)
        await say(session, results(1, "one"))
        assert await viewer.texts(1) == ["one"]  # perhaps still by a look
        await say(session, results(2, "two"))
        assert await viewer.texts(1) == ["two"]


async def test_viewers_are_told_that_a_stream_was_deleted(live, session, key):
    async with following(live, session, key) as viewer:
        await viewer.event()
        await elsewhere(aftercare.delete, session)

        assert await viewer.event() == ("state", {"state": "deleted", "reason": None})
        assert await viewer.event() is None


async def test_a_viewer_who_waits_for_nothing_hears_that_the_connection_is_alive(
    live, session, key, monkeypatch
):
    monkeypatch.setattr(viewers, "SILENT_SECONDS", 0.05)
    async with following(live, session, key) as viewer:
        await viewer.event()
        async with asyncio.timeout(PATIENCE):
            assert await anext(viewer._lines) == ":"


async def test_an_answer_ends_after_a_while_so_that_rights_are_asked_for_again(
    live, session, key, monkeypatch
):
    monkeypatch.setattr(viewers, "LONGEST_SECONDS", 0.5)
    monkeypatch.setattr(viewers, "SILENT_SECONDS", 0.05)
    async with following(live, session, key) as viewer:
        assert await viewer.event() == ("state", {"state": "live", "reason": None})
        assert await viewer.event() is None


async def test_more_viewers_than_database_connections_follow_and_none_is_left_behind(live, session, key):
    many = 60
    async with asyncio.TaskGroup() as group:
        opened = asyncio.Barrier(many + 1)

        async def view() -> list[str]:
            async with following(live, session, key) as viewer:
                await viewer.event()
                await opened.wait()
                return await viewer.texts(2)

        tasks = [group.create_task(view()) for _ in range(many)]
        async with asyncio.timeout(PATIENCE):
            await opened.wait()
        assert viewers.how_many() == many
        await say(session, results(1, "one"), results(2, "two"))

    assert {tuple(task.result()) for task in tasks} == {("one", "two")}
    await asyncio.to_thread(wait_until, lambda: viewers.how_many() == 0, PATIENCE)


def test_who_may_not_look_is_refused(project, session, key, client):
    events = f"{STREAMS}{session.pk}/events/"
    assert client.get(events).status_code == 401

    elsewhere = factories.live(Project.objects.create(name="Somebody else's"))
    assert client_for(key).get(f"{STREAMS}{elsewhere.pk}/events/").status_code == 404


@pytest.mark.parametrize("given", ["-1", "x", "9" * 19])
def test_an_event_id_that_is_none_is_refused(session, key, given):
    refused = client_for(key).get(f"{STREAMS}{session.pk}/events/", headers={"Last-Event-ID": given})

    assert (refused.status_code, error_of(refused)["code"]) == (400, "invalid_event_id")


def test_no_more_viewers_than_there_is_room_for(session, key, settings):
    settings.LIVE_VIEWERS = 0

    refused = client_for(key).get(f"{STREAMS}{session.pk}/events/")

    assert (refused.status_code, error_of(refused)["code"]) == (503, "service_unavailable")
    assert refused.headers["Retry-After"] == "5"
