"""What is asked of many rows and by many people: asked again only when that has become cheap."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar, cast

from django.core.cache import cache

# What is answered sooner is asked each time.
QUICK_SECONDS = 0.02
# Of the time, at most.
SHARE = 1 / 30

Answer = TypeVar("Answer")


def remembered(name: str, ask: Callable[[], Answer]) -> Answer:
    """What `ask` answers, or answered lately: the longer it takes, the longer it is remembered."""
    found: Any = cache.get(name)
    if found is not None:
        return cast(Answer, found[0])
    began = monotonic()
    answer = ask()
    took = monotonic() - began
    if took > QUICK_SECONDS:
        # In a tuple: None is an answer too.
        cache.set(name, (answer,), took / SHARE)
    return answer
