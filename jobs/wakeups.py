"""Waking workers.

1. A message says only "look"; what is to be done stands in the rows. Losing, doubling or delaying every
   message therefore loses and doubles nothing: workers look by themselves every POLL_SECONDS as well.
2. So nobody ever waits for the broker: a thread of its own sends, and while the broker cannot be reached the
   wake-ups are dropped.
"""

import logging
import threading
import time
from collections import Counter

from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

WEBHOOK_QUEUE = "webhooks"
TASKS = {WEBHOOK_QUEUE: "jobs.deliver"}
WORK_TASK = "jobs.work"
BROKER_REST_SECONDS = 1.0


class _Waker(threading.Thread):
    """Sends the wake-ups that have been asked for, in its own time."""

    def __init__(self) -> None:
        super().__init__(name="waker", daemon=True)
        self._asked: Counter[str] = Counter()
        self._changed = threading.Condition()

    def ask(self, queue: str) -> None:
        with self._changed:
            # More than there are threads to wake is of no use: each looks again until nothing is left.
            self._asked[queue] = min(self._asked[queue] + 1, 2 * settings.WORKER_CONCURRENCY)
            self._changed.notify()

    def run(self) -> None:
        while True:
            with self._changed:
                while not self._asked:
                    self._changed.wait()
                asked, self._asked = self._asked, Counter()
            try:
                for queue in asked.elements():
                    current_app.send_task(
                        TASKS.get(queue, WORK_TASK), args=(queue,), queue=queue, retry=False, ignore_result=True
                    )
            except (OperationalError, OSError) as error:
                logger.warning("The broker cannot be reached (%s); workers poll.", type(error).__name__)
                time.sleep(BROKER_REST_SECONDS)


_waker: _Waker | None = None
_starting = threading.Lock()


def wake(queue: str) -> None:
    """Ask a worker of `queue` to look for work soon. Never waits and never fails."""
    global _waker  # noqa: PLW0603
    with _starting:
        if _waker is None or not _waker.is_alive():
            _waker = _Waker()
            _waker.start()
    _waker.ask(queue)
