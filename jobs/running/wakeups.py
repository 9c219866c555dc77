"""Waking workers.

1. A message says only "look"; what is to be done stands in the rows. Losing, doubling or delaying every
   message therefore loses and doubles nothing: workers look by themselves every POLL_SECONDS as well.
2. So nobody ever waits for the broker: a thread of its own sends, and while the broker cannot be reached the
   wake-ups are dropped.
3. One message is enough for any number of jobs: a worker that finds one calls its other threads to look too.
   What is asked for soon after a message therefore goes out as one. The first messages after a rest follow
   each other closely, since a worker that found one job may find ten a moment later.
"""

import logging
import threading
import time
from collections.abc import Callable

from celery import current_app
from kombu.exceptions import OperationalError

from jobs.queues import BATCH_QUEUE, WEBHOOK_QUEUE

logger = logging.getLogger(__name__)

WORK_TASK = "jobs.work"
TASK_OF = {WEBHOOK_QUEUE: "jobs.deliver", BATCH_QUEUE: "jobs.batches.moves"}
# A message costs its worker 4 ms: at 20 a second that was a quarter of what it did.
FIRST_SPACING_SECONDS, SPACING_SECONDS = 0.02, 0.2
BROKER_REST_SECONDS = 1.0


class _Waker(threading.Thread):
    """Sends the wake-ups that have been asked for, in its own time."""

    def __init__(self) -> None:
        super().__init__(name="waker", daemon=True)
        self._asked: set[str] = set()
        self._changed = threading.Condition()

    def ask(self, queue: str) -> None:
        with self._changed:
            self._asked.add(queue)
            self._changed.notify()

    def run(self) -> None:
        # First of all: a message sent before would fix the queues of this process as they were until then.
        current_app.finalize()
        spacing = FIRST_SPACING_SECONDS
        while True:
            with self._changed:
                while not self._asked:
                    if not self._changed.wait(SPACING_SECONDS):
                        spacing = FIRST_SPACING_SECONDS
                asked, self._asked = self._asked, set()
            try:
                for queue in asked:
                    task = TASK_OF.get(queue, WORK_TASK)
                    current_app.send_task(task, args=(queue,), queue=queue, retry=False, ignore_result=True)
            except (OperationalError, OSError) as error:
                logger.warning("The broker cannot be reached (%s); workers poll.", type(error).__name__)
                time.sleep(BROKER_REST_SECONDS)
            time.sleep(spacing)
            spacing = min(2 * spacing, SPACING_SECONDS)


_waker: _Waker | None = None
_starting = threading.Lock()
_here: dict[str, Callable[[], None]] = {}


def serve_here(queue: str, look: Callable[[], None]) -> None:
    """Say that this process serves `queue` itself: `look` is called in place of sending a message."""
    _here[queue] = look


def wake(queue: str) -> None:
    """Ask a worker of `queue` to look for work soon. Never waits and never fails."""
    global _waker
    if look := _here.get(queue):
        look()
        return
    with _starting:
        if _waker is None or not _waker.is_alive():
            _waker = _Waker()
            _waker.start()
    _waker.ask(queue)
