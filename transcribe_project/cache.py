"""Django's cache in Redis, and in this process's memory while that is down."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# For which a Redis that did not answer is not asked again.
REST_SECONDS = 5.0
MEMORY = "while Redis is down"


class Cache(RedisCache):
    """So that nobody fails, or waits more than once in a while, for what may be forgotten anyway."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _Client


class _Client:
    """As RedisCacheClient, whose methods are LocMemCache's with keys and timeouts as they are stored."""

    # Each thread has a client of its own.
    _down_until = 0.0

    def __init__(self, servers: list[str], **options: Any) -> None:
        self._redis = RedisCacheClient(servers, **options)
        self._memory = LocMemCache(MEMORY, {})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            if monotonic() >= _Client._down_until:
                try:
                    return getattr(self._redis, name)(*arguments)
                except (RedisError, OSError) as error:
                    _Client._down_until = monotonic() + REST_SECONDS
                    logger.warning("The cache cannot be reached: %s", type(error).__name__)
            return getattr(self._memory, name)(*arguments)

        return ask
