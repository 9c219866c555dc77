"""Waiting for something to become so, never for time to pass."""

import threading
from collections.abc import Callable
from time import monotonic

LOOK_SECONDS = 0.02


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Seconds it took until `condition` was true; AssertionError if that takes longer than `seconds`."""
    begun, pause = monotonic(), threading.Event()
    while not condition():
        assert monotonic() - begun < seconds, f"not so within {seconds:g} s"
        pause.wait(LOOK_SECONDS)
    return monotonic() - begun
