"""The database, from the event loop: calls run in threads of their own, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import connections

THREADS = 8

P = ParamSpec("P")
T = TypeVar("T")

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="live-database")


async def in_database(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What `call` returns or raises; its connection is given back after it."""
    loop = asyncio.get_running_loop()
    told = partial(_run, call, *arguments, **named)
    return await loop.run_in_executor(_threads, copy_context().run, told)


def _run(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    try:
        return call(*arguments, **named)
    finally:
        connections.close_all()
