"""Django's ASGI handler, with one thread for a whole request, threads that are used again, and large bodies
that are received as they are read (transcribe_project/body.py).

Django adapts each middleware for itself, and a synchronous one costs a change of thread each way. All of ours
and all of our views are synchronous, so the chain is built synchronous and entered once. Django also makes a
thread for each request and ends it; here the next request gets it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import django
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse

from transcribe_project.body import Body, is_large

IDLE_THREADS = 32
VIEW_RUNS = "transcribe_project.view_runs"


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
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, thread_name_prefix="request")
        if is_large(scope):
            receive = Body(scope, receive)
            send = receive.answering(send)
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self.handle(scope, receive, send)
        finally:
            if scope.get(VIEW_RUNS):
                # It goes on although its client has left: the thread is free only when it has ended.
                thread.submit(_nothing).add_done_callback(lambda _: self._free(thread))
            else:
                self._free(thread)

    async def read_body(self, receive: Any) -> Any:
        return receive.as_file() if isinstance(receive, Body) else await super().read_body(receive)

    async def listen_for_disconnect(self, receive: Any) -> None:
        if isinstance(receive, Body):
            await receive.feed()
        else:
            await super().listen_for_disconnect(receive)

    def _free(self, thread: ThreadPoolExecutor) -> None:
        if len(self._idle) < IDLE_THREADS:
            self._idle.append(thread)
        else:
            thread.shutdown(wait=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        scope = cast("dict[str, Any]", cast(ASGIRequest, request).scope)
        scope[VIEW_RUNS] = True
        response = await sync_to_async(self.get_response, thread_sensitive=True)(request)
        # Not reached when the client leaves: the wait is cancelled, the view is not.
        scope[VIEW_RUNS] = False
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            # Django would read all of it before the first byte is sent.
            response.streaming_content = _in_a_thread(cast(Iterator[bytes], response.streaming_content))
        return response


async def _in_a_thread(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each part when it is its turn."""
    read = sync_to_async(partial(next, parts, None), thread_sensitive=True)
    while (part := await read()) is not None:
        yield part


def _nothing() -> None:
    pass


def get_asgi_application() -> ASGIHandler:
    """The project's, with Django set up."""
    django.setup(set_prefix=False)
    return OneThreadHandler()
