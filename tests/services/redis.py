"""A private Redis server."""

import redis

from tests.services import binaries
from tests.services.process import Server, ServerFailed


class RedisServer(Server):
    """Redis without a password on 127.0.0.1.

    It forgets everything when it ends, unless `persistent`, which appends to a file and syncs it every
    second. `options` are those of redis.conf, with underscores: `RedisServer(maxmemory="10mb")`.
    """

    prefix = "redis"

    def __init__(self, *, persistent: bool = False, port: int | None = None, **options: str) -> None:
        super().__init__(port)
        self.options = {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes" if persistent else "no",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        options = (part for name, value in self.options.items() for part in (f"--{name}", value))
        program = binaries.find("redis-server", "redis-server")
        return [str(program), "--port", str(self.port), "--dir", str(self.directory), *options]

    def answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=2, socket_connect_timeout=2) as client:
                client.ping()
                return bool(client.info("server")["process_id"] == self.pid)
        except (redis.RedisError, ServerFailed):
            # Also while it still loads its file, and when it has ended.
            return False
