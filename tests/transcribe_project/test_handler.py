"""One thread for a whole request, and threads that are used again."""

import asyncio
import threading

from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from prometheus_client import REGISTRY

from jobs.gateway.held import CLIENT_LEFT, Held
from transcribe_project.handler import OneThreadHandler

seen: list[int] = []
held = threading.Event()
begun = threading.Event()


def note(request: HttpRequest) -> HttpResponse:
    seen.append(threading.get_ident())
    return HttpResponse("ok")


def hold(request: HttpRequest) -> HttpResponse:
    seen.append(threading.get_ident())
    begun.set()
    held.wait(90)
    return HttpResponse("late")


class Later(Held):
    """An answer that comes when `held` is set."""

    async def settle(self, in_thread):
        begun.set()
        # Not for ever: what its client has left is not to be set first.
        await in_thread(lambda: held.wait(2))
        self.status_code = 201


def wait(request: HttpRequest) -> HttpResponse:
    return Later()


urlpatterns = [path("note", note), path("hold", hold), path("wait", wait, name="wait")]


class NotesThread:
    """A middleware, which runs where the view does."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        seen.append(threading.get_ident())
        return self.get_response(request)


async def ask(handler: OneThreadHandler, url: str, *, leave: asyncio.Event | None = None) -> list[dict]:
    sent = []
    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if body:
            return body.pop()
        await (leave or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": url,
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await handler(scope, receive, send)
    return sent


def settings_of_test():
    return override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.NotesThread"])


def test_middleware_and_view_share_a_thread_that_the_next_request_gets():
    seen.clear()

    async def two():
        handler = OneThreadHandler()
        return [await ask(handler, "/note"), await ask(handler, "/note")]

    with settings_of_test():
        first, second = asyncio.run(two())

    assert first[0]["status"] == second[0]["status"] == 200
    assert len(seen) == 4
    assert len(set(seen)) == 1


def test_a_thread_whose_client_left_is_not_given_away_while_it_is_busy():
    seen.clear()
    begun.clear()
    held.clear()

    async def leave_and_ask():
        handler, leave = OneThreadHandler(), asyncio.Event()
        leaving = asyncio.create_task(ask(handler, "/hold", leave=leave))
        await asyncio.to_thread(begun.wait, 10)
        leave.set()
        other = await asyncio.wait_for(ask(handler, "/note"), 30)
        held.set()
        await leaving
        return other

    with settings_of_test():
        other = asyncio.run(leave_and_ask())

    assert other[0]["status"] == 200
    assert seen[0] != seen[-1]


def counted(status: int) -> float:
    labels = {"status": str(status), "view": "wait", "method": "GET"}
    return REGISTRY.get_sample_value("django_http_responses_total_by_status_view_method_total", labels) or 0


def test_an_answer_that_is_held_is_counted_and_logged_as_what_became_of_it(caplog):
    caplog.set_level("INFO", "transcribe_project.requests")
    before = counted(201), counted(CLIENT_LEFT)
    metered = ["transcribe_project.requests.RequestMiddleware"]
    metered += [f"transcribe_project.metrics.requests.{half}Middleware" for half in ("Before", "After")]

    async def wait_and_leave():
        handler, leave = OneThreadHandler(), asyncio.Event()
        begun.clear()
        held.clear()
        waiting = asyncio.create_task(ask(handler, "/wait"))
        await asyncio.to_thread(begun.wait, 10)
        lines = len(caplog.records)
        held.set()
        answer = await waiting
        begun.clear()
        held.clear()
        leaving = asyncio.create_task(ask(handler, "/wait", leave=leave))
        await asyncio.to_thread(begun.wait, 10)
        leave.set()
        await leaving
        held.set()
        return lines, answer

    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=metered):
        lines, answer = asyncio.run(wait_and_leave())

    assert (lines, [record.message for record in caplog.records]) == (0, ["GET /wait", "GET /wait"])
    assert answer[0]["status"] == 201
    assert (b"X-Request-ID" in dict(answer[0]["headers"])) is True
    assert (counted(201), counted(CLIENT_LEFT)) == (before[0] + 1, before[1] + 1)
