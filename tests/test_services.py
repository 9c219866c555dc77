import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.services import PostgresServer, RedisServer, binaries
from tests.services.binaries import ProgramMissing
from tests.services.process import ServerFailed, free_port


@pytest.mark.parametrize("stop", ["smart", "fast", "immediate"])
def test_postgres_keeps_what_was_committed_over_every_stop(stop):
    with PostgresServer() as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")

        server.stop(stop)
        server.start()

        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]


def test_a_stopped_postgres_refuses_connections():
    with PostgresServer() as server:
        server.stop("immediate")

        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url)


def test_postgres_waits_for_the_disk_only_when_durable():
    with PostgresServer() as quick, psycopg.connect(quick.url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("off",)
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    with PostgresServer(durable=True) as durable, psycopg.connect(durable.url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_a_killed_redis_comes_back_empty_at_the_same_address():
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        address = server.url

        server.kill()
        server.start()

        assert server.url == address
        assert client.get("key") is None


def test_a_persistent_redis_keeps_its_keys_over_a_stop():
    with RedisServer(persistent=True) as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")

        server.stop()
        server.start()

        assert client.get("key") == b"value"


def test_a_paused_redis_accepts_connections_and_does_not_answer():
    with RedisServer() as server, redis.Redis.from_url(server.url, socket_timeout=0.3) as client:
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()

        server.resume()
        assert client.ping()


def test_a_paused_server_can_be_closed():
    with RedisServer() as server:
        pid, directory = server.pid, server.directory
        server.pause()

    assert not psutil.pid_exists(pid)
    assert not directory.exists()


def test_a_server_that_cannot_start_says_why():
    with RedisServer() as first:
        second = RedisServer(port=first.port)
        try:
            with pytest.raises(ServerFailed, match="Address already in use"):
                second.start()
        finally:
            second.close()


def test_a_server_moves_when_its_port_was_taken_before_its_first_start():
    with RedisServer() as first:
        second = RedisServer()
        second.port = first.port

        with second:
            assert second.port != first.port


def test_servers_do_not_outlive_a_killed_owner():
    owner_source = (
        "import os, signal\n"
        "from tests.services import PostgresServer, RedisServer\n"
        "postgres, redis = PostgresServer(), RedisServer()\n"
        "postgres.start(); redis.start(); redis.pause()\n"
        "print(postgres.pid, redis.pid, postgres.directory, redis.directory, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    owner = subprocess.run([sys.executable, "-c", owner_source], capture_output=True, text=True, timeout=60)

    assert owner.returncode == -signal.SIGKILL
    *pids, postgres_directory, redis_directory = owner.stdout.split()
    left = [Path(postgres_directory), Path(redis_directory)]
    deadline = time.monotonic() + 10
    while any(path.exists() for path in left) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(path.exists() for path in left)
    assert not any(_runs(int(pid)) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_free_port_can_be_listened_on_and_is_not_an_outgoing_one():
    port = free_port()

    with RedisServer(port=port) as server:
        assert server.port == port < 32_768


def test_a_missing_program_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(ProgramMissing, match=r"no-such-server is missing.*apt-get install postgresql"):
        binaries.find("no-such-server", "no-such-package")
