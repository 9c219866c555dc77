"""Django's ASGI handler, with one thread for a whole request, threads that are used again, and large bodies
that are received as they are read (transcribe_project/body.py).

Django adapts each middleware for itself, and a synchronous one costs a change of thread each way. All of ours
and all of our views are synchronous, so the chain is built synchronous and entered once. Django also makes a
thread for each request and ends it; here the next request gets it, also while the first one's connection is
held for a job (jobs.gateway.held).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

import django
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse

from jobs.database_pool import give_back
from jobs.gateway.held import Held
from transcribe_project.body import Body, is_large

P = ParamSpec("P")
T = TypeVar("T")

IDLE_THREADS = 32
THREAD = "transcribe_project.thread"


class Request(ASGIRequest):
    def parse_file_upload(self, META: Any, post_data: Any) -> Any:
        """As Django does, but what had come of a file is not kept until the garbage is collected."""
        try:
            return super().parse_file_upload(META, post_data)
        except BaseException:
            for handler in self.upload_handlers:
                handler.upload_interrupted()
            raise


class OneThreadHandler(ASGIHandler):
    """Serves each request in a thread of its own from first to last."""

    request_class = Request

    def __init__(self) -> None:
        super().__init__()
        self._idle: deque[ThreadPoolExecutor] = deque()

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        thread = scope[THREAD] = _RequestThread(self._idle)
        if is_large(scope):
            receive = Body(scope, receive)
            send = receive.answering(send)
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self.handle(scope, receive, send)
        finally:
            thread.give_back()

    async def read_body(self, receive: Any) -> Any:
        return receive.as_file() if isinstance(receive, Body) else await super().read_body(receive)

    async def listen_for_disconnect(self, receive: Any) -> None:
        if isinstance(receive, Body):
            await receive.feed()
        else:
            await super().listen_for_disconnect(receive)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        thread: _RequestThread = cast("dict[str, Any]", cast(ASGIRequest, request).scope)[THREAD]
        response: HttpResponseBase = await thread.run(partial(self.get_response, request))
        if isinstance(response, Held):
            thread.give_back()
            await response.finish(thread.run)
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            # Django would read all of it before the first byte is sent.
            response.streaming_content = _in_a_thread(cast(Iterator[bytes], response.streaming_content))
        return response


class _RequestThread(Executor):
    """One thread for a request: an idle one when it is needed, and another if it was given back meanwhile."""

    def __init__(self, idle: deque[ThreadPoolExecutor]) -> None:
        self._idle = idle
        self._thread: ThreadPoolExecutor | None = None
        self._is_busy = False

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._thread is None:
            self._thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, "request")
        return self._thread.submit(call, *args, **kwargs)

    async def run(self, call: Callable[[], T]) -> T:
        self._is_busy = True
        result = await sync_to_async(partial(_made, call), thread_sensitive=True)()
        # Not reached when the client leaves: the wait is cancelled, the call is not.
        self._is_busy = False
        return result

    def give_back(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None and self._is_busy:
            # It goes on although its client has left: the thread is free only when it has ended.
            thread.submit(_nothing).add_done_callback(lambda _: self._free(thread))
        elif thread is not None:
            self._free(thread)

    def _free(self, thread: ThreadPoolExecutor) -> None:
        if len(self._idle) < IDLE_THREADS:
            self._idle.append(thread)
        else:
            thread.shutdown(wait=False)


async def _in_a_thread(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each part when it is its turn."""
    read = sync_to_async(partial(next, parts, None), thread_sensitive=True)
    while (part := await read()) is not None:
        yield part


def _made(call: Callable[[], T]) -> T:
    """Whoever reads slowly what is made has no connection of the database's meanwhile."""
    try:
        return call()
    finally:
        give_back()


def _nothing() -> None:
    pass


def get_asgi_application() -> ASGIHandler:
    """The project's, with Django set up."""
    django.setup(set_prefix=False)
    return OneThreadHandler()
