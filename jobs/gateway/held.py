"""An answer that is not there yet: the view has returned, and the connection waits.

Whoever serves responses (transcribe_project.handler) awaits `finish` before it sends this one. Middleware has
seen it by then; the headers that they set stay, and `once_finished` tells them what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from django.http import HttpResponse
from django.http.response import HttpResponseBase

InThread: TypeAlias = Callable[[Callable[[], bool]], Awaitable[bool]]

# As nginx calls it: there is nobody to be answered any more.
CLIENT_LEFT = 499


class Held(HttpResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.told: list[Callable[[], object]] = []

    async def settle(self, in_thread: InThread) -> None:
        """Wait, and then be the answer. `in_thread` calls a function where the database may be asked."""
        raise NotImplementedError

    async def finish(self, in_thread: InThread) -> None:
        """The same, and tell who wants to know, also when the client leaves meanwhile (CLIENT_LEFT)."""
        try:
            await self.settle(in_thread)
        except asyncio.CancelledError:
            self.status_code = CLIENT_LEFT
            raise
        finally:
            for tell in self.told:
                tell()


def once_finished(response: HttpResponseBase, tell: Callable[[], object]) -> None:
    """Call `tell` when the response is what will be sent: now, but for one that is held."""
    if isinstance(response, Held):
        response.told.append(tell)
    else:
        tell()
