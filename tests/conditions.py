"""Waiting for something to become so, never for time to pass."""

import os
import threading
from collections.abc import Callable
from time import monotonic

LOOK_SECONDS = 0.02
# Bounds are those of a quiet machine; one that runs three tests at once on two slow cores gets longer.
PATIENCE = float(os.environ.get("TEST_PATIENCE", "3"))


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Seconds it took until `condition` was true; AssertionError if that takes PATIENCE times `seconds`."""
    bound = PATIENCE * seconds
    begun, pause = monotonic(), threading.Event()
    while not condition():
        assert monotonic() - begun < bound, f"not so within {bound:g} s"
        pause.wait(LOOK_SECONDS)
    return monotonic() - begun
