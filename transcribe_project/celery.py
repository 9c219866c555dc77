"""The Celery application. A message is a wake-up call without content; jobs/wakeups.py says why."""

import os

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "transcribe_project.settings")

app = Celery("transcribe_project")
# The pool's threads must never fall back to Celery's default application (reliability: amqp://localhost).
app.set_default()


class Configuration:
    """Every value was chosen against a measured way of losing or repeating work."""

    broker_connection_max_retries = None
    broker_connection_retry_on_startup = True
    task_acks_late = False
    task_ignore_result = True
    task_publish_retry = False
    task_create_missing_queues = True
    worker_prefetch_multiplier = 1
    worker_enable_remote_control = False
    worker_send_task_events = False
    worker_hijack_root_logger = False
    worker_cancel_long_running_tasks_on_connection_loss = False
    worker_pool = "threads"

    broker_url = settings.REDIS_URL or "memory://"
    worker_concurrency = settings.WORKER_CONCURRENCY
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


app.config_from_object(Configuration)
app.autodiscover_tasks()
