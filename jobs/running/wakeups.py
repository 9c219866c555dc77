"""Waking workers.

1. A message says only "look"; what is to be done stands in the rows. Losing, doubling or delaying every
   message therefore loses and doubles nothing: workers look by themselves every POLL_SECONDS as well.
2. So nobody ever waits for the broker: a thread of its own sends, and while the broker cannot be reached the
   wake-ups are dropped.
3. One message is enough for any number of jobs: a worker that finds one calls its other threads to look too.
   What is asked for soon after a message therefore goes out as one. The first messages after a rest follow
   each other closely, since a worker that found one job may find ten a moment later.
4. Each broker has a thread of its own, so that one that is gone holds up no other's.
"""

import logging
import threading
import time
from collections.abc import Callable

from celery import current_app
from django.conf import settings
from kombu import Connection, Queue
from kombu.exceptions import OperationalError

from jobs.queues import BATCH_QUEUE, WEBHOOK_QUEUE
from routing.regions import all_regions

logger = logging.getLogger(__name__)

WORK_TASK = "jobs.work"
TASK_OF = {WEBHOOK_QUEUE: "jobs.deliver", BATCH_QUEUE: "jobs.batches.moves"}
# A message costs its worker 4 ms: at 20 a second that was a quarter of what it did.
FIRST_SPACING_SECONDS, SPACING_SECONDS = 0.02, 0.2
BROKER_REST_SECONDS = 1.0


class _Waker(threading.Thread):
    """Sends the wake-ups that have been asked for to one broker, in its own time; "": to this process's."""

    def __init__(self, broker_url: str = "") -> None:
        super().__init__(name="waker", daemon=True)
        self._broker_url = broker_url
        self._connection: Connection | None = None
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
                    self._send(queue)
            except (OperationalError, OSError) as error:
                logger.warning("A broker cannot be reached (%s); workers poll.", type(error).__name__)
                self._forget_connection()
                time.sleep(BROKER_REST_SECONDS)
            time.sleep(spacing)
            spacing = min(2 * spacing, SPACING_SECONDS)

    def _send(self, queue: str) -> None:
        if queue not in current_app.amqp.queues:
            # As the queue's workers name it; left to itself Celery would make it another exchange's.
            current_app.amqp.queues.add(Queue(queue, routing_key=queue))
        if self._broker_url and self._connection is None:
            self._connection = current_app.connection_for_write(self._broker_url)
        current_app.send_task(
            TASK_OF.get(queue, WORK_TASK),
            args=(queue,),
            queue=queue,
            connection=self._connection,
            retry=False,
            ignore_result=True,
        )

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.release()
            self._connection = None


_wakers: dict[str, _Waker] = {}
_starting = threading.Lock()
_here: dict[str, Callable[[], None]] = {}


def serve_here(queue: str, look: Callable[[], None]) -> None:
    """Say that this process serves `queue` itself: `look` is called in place of sending a message."""
    _here[queue] = look


def wake(queue: str) -> None:
    """Ask a worker of `queue` to look for work soon. Never waits and never fails."""
    if look := _here.get(queue):
        look()
        return
    broker_url = _broker_of(queue)
    with _starting:
        waker = _wakers.get(broker_url)
        if waker is None or not waker.is_alive():
            waker = _wakers[broker_url] = _Waker(broker_url)
            waker.start()
    waker.ask(queue)


def _broker_of(queue: str) -> str:
    """By what this process knows of regions, without asking for it."""
    known = (all_regions.known or {}).values()
    broker_url = next((region.broker_url for region in known if region.queue == queue), settings.REDIS_URL)
    return "" if broker_url in ("", current_app.conf.broker_url) else broker_url
