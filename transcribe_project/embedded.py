"""A Celery worker in a thread of this process: what `runstack` has in place of a worker process.

Everything here was found necessary for `memory://` in one process: a WorkController and not the command
line's Worker (which takes over signals and logging), the application as default before any thread starts
(done where it is made), and its stop by a flag that holds for the whole process.
"""

import threading

import celery.worker.state
from celery.worker import WorkController

from transcribe_project.celery import app, serve_regions


class EmbeddedWorker(threading.Thread):
    """Runs until `stop`. There can be one in a process."""

    def __init__(self, concurrency: int) -> None:
        super().__init__(name="celery", daemon=True)
        self.ready = threading.Event()
        self._concurrency = concurrency

    def run(self) -> None:
        ready = self.ready
        serve_regions()

        class Controller(WorkController):
            def on_consumer_ready(self, consumer: object) -> None:
                ready.set()

        Controller(
            app=app,
            hostname="embedded",
            pool_cls="threads",
            concurrency=self._concurrency,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        ).start()

    def stop(self) -> None:
        """Take no more messages. What runs in the pool goes on."""
        celery.worker.state.should_stop = 0  # type: ignore[assignment]
