"""Telling those who follow live sessions that something of them was stored.

As with workers (jobs.running.wakeups), a message has no content but the sessions' ids: whoever it does not
reach looks a second later. So nobody waits for Redis, and without it only other processes are told late.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from uuid import UUID

import redis
import redis.asyncio
from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)

CHANNEL = "live-sessions"
SPACING_SECONDS = 0.05
REST_SECONDS = 1.0

Listener = Callable[[Collection[UUID]], None]

_listeners: list[Listener] = []


def listen_here(listener: Listener) -> None:
    """Have it called, in whatever thread, with the ids of sessions of which this process stored something."""
    _listeners.append(listener)


def tell(ids: Collection[UUID]) -> None:
    """Once the transaction is committed, say that there is something new of these sessions."""
    if ids:
        transaction.on_commit(partial(_tell, frozenset(ids)))


def _tell(ids: frozenset[UUID]) -> None:
    for listener in _listeners:
        listener(ids)
    if settings.REDIS_URL:
        _publisher_of(settings.REDIS_URL).ask(ids)


async def told_elsewhere() -> AsyncIterator[set[UUID]]:
    """The ids of sessions that other processes tell of, for as long as Redis can be reached."""
    async with (
        redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=5) as client,
        client.pubsub(ignore_subscribe_messages=True) as channel,
    ):
        await channel.subscribe(CHANNEL)
        async for message in channel.listen():
            yield {UUID(text) for text in message["data"].decode().split()}


class _Publisher(threading.Thread):
    """Publishes in its own time: what was asked for meanwhile goes out as one message."""

    def __init__(self, url: str) -> None:
        super().__init__(name="news", daemon=True)
        self._client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self._asked: set[UUID] = set()
        self._changed = threading.Condition()

    def ask(self, ids: Collection[UUID]) -> None:
        with self._changed:
            self._asked.update(ids)
            self._changed.notify()

    def run(self) -> None:
        while True:
            with self._changed:
                while not self._asked:
                    self._changed.wait()
                asked, self._asked = self._asked, set()
            try:
                self._client.publish(CHANNEL, " ".join(each.hex for each in asked))
            except (redis.RedisError, OSError) as error:
                logger.warning(
                    "Redis cannot be reached (%s): viewers look by themselves.", type(error).__name__
                )
                time.sleep(REST_SECONDS)
            time.sleep(SPACING_SECONDS)


_publishers: dict[str, _Publisher] = {}
_starting = threading.Lock()


def _publisher_of(url: str) -> _Publisher:
    with _starting:
        publisher = _publishers.get(url)
        if publisher is None or not publisher.is_alive():
            publisher = _publishers[url] = _Publisher(url)
            publisher.start()
    return publisher
