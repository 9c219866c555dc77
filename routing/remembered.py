"""Answers that are good for a moment: asked for once in a while, by whoever needs one then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Remembered(Generic[Answer]):
    """Calls like `ask`, which is asked again when its answer is `seconds` old. Thread-safe.

    One thread asks while the others go by the old answer, and all do if asking raises one of `keeps_through`.
    """

    def __init__(
        self, ask: Callable[[], Answer], seconds: float, keeps_through: tuple[type[Exception], ...]
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._keeps_through = keeps_through
        self._asking = threading.Lock()
        self._known: tuple[float, Answer] | None = None
        self.__doc__ = ask.__doc__

    def __call__(self) -> Answer:
        known = self._known
        if known is not None and (monotonic() < known[0] or not self._asking.acquire(blocking=False)):
            return known[1]
        if known is None:
            return self._asked()
        try:
            return self._asked()
        except self._keeps_through as error:
            logger.warning("%s goes by what it knew: %s", self._ask.__name__, type(error).__name__)
            self._known = (monotonic() + self._seconds, known[1])
            return known[1]
        finally:
            self._asking.release()

    @property
    def known(self) -> Answer | None:
        """The last answer, however old; None if there is none."""
        return self._known and self._known[1]

    def cache_clear(self) -> None:
        self._known = None

    def _asked(self) -> Answer:
        answer = self._ask()
        self._known = (monotonic() + self._seconds, answer)
        return answer


def remembered(
    seconds: float, keeps_through: tuple[type[Exception], ...] = ()
) -> Callable[[Callable[[], Answer]], Remembered[Answer]]:
    return lambda ask: Remembered(ask, seconds, keeps_through)
