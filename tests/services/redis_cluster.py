"""A Redis Cluster of six nodes, three of them replicas."""

import subprocess
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import redis

from tests.services import binaries
from tests.services.process import ServerFailed
from tests.services.redis import RedisServer

PRIMARIES = 3
NODE_TIMEOUT_MS = 1500
FORMED_WITHIN = 30.0


class RedisCluster:
    """Nodes on 127.0.0.1. `nodes` can be killed, frozen and started again one by one."""

    def __init__(self) -> None:
        self._started = ExitStack()
        self.nodes: list[RedisServer] = []

    @property
    def urls(self) -> list[str]:
        return [f"redis://127.0.0.1:{node.port}" for node in self.nodes]

    def primary_of(self, key: str) -> RedisServer:
        """The node that serves `key` now."""
        for node in self.nodes:
            if node.running:
                with redis.Redis(port=node.port, socket_timeout=2) as client:
                    slot = client.execute_command("CLUSTER KEYSLOT", key)
                    for first, last, primary, *_ in client.execute_command("CLUSTER SLOTS"):
                        if first <= slot <= last:
                            return next(each for each in self.nodes if each.port == primary[1])
        raise ServerFailed(f"no node serves {key}")

    def __enter__(self) -> Self:
        try:
            for _ in range(2 * PRIMARIES):
                node = RedisServer(
                    cluster_enabled="yes",
                    cluster_node_timeout=str(NODE_TIMEOUT_MS),
                    # A replica that has never been given anything takes nothing over.
                    repl_diskless_sync_delay="0",
                )
                self.nodes.append(self._started.enter_context(node))
            self._form()
        except BaseException:
            self._started.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started.close()

    def _form(self) -> None:
        program = str(binaries.find("redis-cli", "redis-tools"))
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        command = [program, "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=FORMED_WITHIN, check=False)
        if made.returncode:
            raise ServerFailed(f"the cluster was not made: {made.stdout}{made.stderr}")
        until = time.monotonic() + FORMED_WITHIN
        while not all(self._is_ready(node) for node in self.nodes):
            if time.monotonic() > until:
                raise ServerFailed("the cluster did not form")
            time.sleep(0.1)

    def _is_ready(self, node: RedisServer) -> bool:
        with redis.Redis(port=node.port, socket_timeout=2, decode_responses=True) as client:
            nodes = client.execute_command("CLUSTER NODES").values()
            state = client.execute_command("CLUSTER INFO")["cluster_state"]
            link = client.info("replication").get("master_link_status", "up")
        replicas = sum("slave" in node["flags"] for node in nodes)
        return state == "ok" and replicas == PRIMARIES and link == "up"
