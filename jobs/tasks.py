"""Celery's way in: a wake-up, answered by looking at the rows."""

from celery import shared_task

from jobs.running import worker


@shared_task(name="jobs.work")
def work(queue: str) -> None:
    worker.current().run_available(queue)


@shared_task(name="jobs.deliver")
def deliver(_queue: str) -> None:
    worker.current().deliver_soon()


@shared_task(name="jobs.batches.moves")
def batches(_queue: str) -> None:
    worker.current().batches_soon()
