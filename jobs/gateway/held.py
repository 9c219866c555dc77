"""An answer that is not there yet: the view has returned, and the connection waits.

Whoever serves responses (transcribe_project.handler) awaits `settle` before it sends this one. Middleware has
seen it by then; the headers that they set stay.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from django.http import HttpResponse

InThread: TypeAlias = Callable[[Callable[[], bool]], Awaitable[bool]]


class Held(HttpResponse):
    async def settle(self, in_thread: InThread) -> None:
        """Wait, and then be the answer. `in_thread` calls a function where the database may be asked."""
        raise NotImplementedError
