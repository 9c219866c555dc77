"""The cache, with Redis and without."""

import pytest
from django.core.cache.backends.locmem import LocMemCache

from tests.services import RedisServer
from transcribe_project import cache
from transcribe_project.cache import Cache


@pytest.fixture(autouse=True)
def asks_again_at_once(monkeypatch):
    monkeypatch.setattr(cache, "REST_SECONDS", 0)
    monkeypatch.setattr(cache._Client, "_down_until", 0.0)
    LocMemCache(cache.MEMORY, {}).clear()


def test_redis_may_go_and_come_back():
    with RedisServer() as server:
        # As two threads have it.
        one, other = Cache(server.url, {}), Cache(server.url, {})
        one.set("in-redis", "kept", 60)
        assert other.get("in-redis") == "kept"
        server.kill()

        assert one.get("in-redis") is None
        assert one.get_or_set("here", lambda: "asked", 60) == "asked"
        assert (one.add("count", 0, 60), other.incr("count"), one.incr("count")) == (True, 1, 2)
        assert other.get_many(["here", "count"]) == {"here": "asked", "count": 2}
        one.delete_many(["here", "count"])
        assert not other.has_key("here")

        server.start()
        one.set("in-redis", "again", 60)
        assert other.get("in-redis") == "again"
        for each in (one, other):
            each._cache._redis.get_client().connection_pool.disconnect()


def test_a_redis_that_did_not_answer_is_left_alone_for_a_while(monkeypatch):
    monkeypatch.setattr(cache, "REST_SECONDS", 3600)
    with RedisServer() as server:
        kept = Cache(server.url, {})
        server.kill()
        kept.get("anything")
        server.start()

        assert kept.set("here", "too", 60) is None
        assert Cache(server.url, {})._cache._redis.get(":1:here", None) is None
