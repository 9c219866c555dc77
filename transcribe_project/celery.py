"""The Celery application. A message is a wake-up call without content; jobs/running/wakeups.py says why."""

import os
import warnings
from collections.abc import Collection
from functools import partial
from typing import Any

from celery import Celery, bootsteps
from celery.exceptions import CPendingDeprecationWarning
from celery.signals import celeryd_init, setup_logging, worker_shutting_down
from django.conf import settings
from django.utils.log import configure_logging
from kombu import Queue

from jobs.queues import BATCH_QUEUE, ISOLATION_QUEUE, WEBHOOK_QUEUE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcribe_project.settings")

# Said at each loss of Redis, of a setting that is left at False on purpose.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

app = Celery("transcribe_project")
# The pool's threads must never fall back to Celery's default application (reliability: amqp://localhost).
app.set_default()


def _named(queue: str) -> Queue:
    return Queue(queue, routing_key=queue)


def serve_regions() -> None:
    """Make this process, before its worker is made, a worker of REGION, or of all queues if none is named.

    That is what it serves unless told otherwise (-Q). One of a region takes what its row says of broker and
    concurrency, unless told otherwise (-c).
    """
    from routing.regions import all_regions, region_named

    if not settings.REGION:
        app.conf.worker_concurrency = settings.WORKER_CONCURRENCY
        for region in all_regions().values():
            app.amqp.queues.select_add(_named(region.queue))
        return
    region = region_named(settings.REGION)
    broker_url = region.broker_url or app.conf.broker_url
    app.conf.update(broker_url=broker_url, worker_concurrency=region.concurrency)
    app.amqp.queues.add(_named(region.queue))
    app.amqp.queues.select([region.queue])


class Configuration:
    """Every value was chosen against a measured way of losing or repeating work."""

    broker_connection_max_retries = None
    broker_connection_retry_on_startup = True
    task_acks_late = False
    task_ignore_result = True
    task_publish_retry = False
    worker_prefetch_multiplier = 1
    worker_enable_remote_control = False
    worker_send_task_events = False
    worker_hijack_root_logger = False
    worker_cancel_long_running_tasks_on_connection_loss = False
    worker_pool = "threads"

    broker_url = settings.REDIS_URL or "memory://localhost"
    # Set by serve_regions: what is set before takes the place of a -c that was not given.
    worker_concurrency = None
    # Those that are no region's.
    task_queues = tuple(map(_named, (ISOLATION_QUEUE, WEBHOOK_QUEUE, BATCH_QUEUE)))
    # Only the Redis transport can go without prefetching.
    worker_disable_prefetch = not settings.EMBEDDED
    broker_transport_options = (
        {"polling_interval": 0.02}
        if settings.EMBEDDED
        else {
            # Without these four a half-open connection stalls a worker for ever.
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 5,
            "visibility_timeout": 3600,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
        }
    )


class Jobs(bootsteps.StartStopStep):
    """Makes a Celery worker one that runs jobs: it holds leases, polls, sweeps and reports."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        from jobs.running import worker
        from transcribe_project import operations

        if not settings.EMBEDDED:
            operations.serve(settings.WORKER_PORT)
        queues = list(app.amqp.queues.consume_from)
        worker.start(queues, parent.concurrency, partial(_consume, parent) if serves_all(queues) else None)


def serves_all(queues: Collection[str]) -> bool:
    """Whether a worker of these queues is one of all regions, those to come included."""
    from routing.regions import all_regions

    return not settings.REGION and {each.queue for each in all_regions().values()} <= set(queues)


def _consume(controller: Any, queue: str) -> None:
    """Have a running worker take the messages of one more queue. From any thread."""
    app.amqp.queues.add(_named(queue))
    controller.consumer.call_soon(controller.consumer.add_task_queue, queue)


@celeryd_init.connect
def serve(**_: Any) -> None:
    serve_regions()


@setup_logging.connect
def log_as_all_processes_do(**_: Any) -> None:
    """Celery's own handlers would write past the redaction of secrets; its levels give way to LOG_LEVEL."""
    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)


@worker_shutting_down.connect
def leave_in_time(**_: Any) -> None:
    """On SIGTERM: threads cannot be ended, so the process ends itself when its grace is over."""
    from jobs.running import worker

    worker.current().exit_within(settings.SHUTDOWN_GRACE_SECONDS)


app.config_from_object(Configuration)
app.steps["worker"].add(Jobs)
app.autodiscover_tasks()
