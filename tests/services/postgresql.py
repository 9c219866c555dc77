"""A private PostgreSQL server."""

import os
import pwd
import signal
import subprocess
from pathlib import Path
from typing import Literal

import psycopg

from tests.conditions import PATIENCE
from tests.services import binaries
from tests.services.process import Server, ServerFailed

SUPERUSER = "postgres"
INITDB_TIMEOUT = 60 * PATIENCE

# The postmaster's signals for its three ways of stopping:
# https://www.postgresql.org/docs/current/server-shutdown.html
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

# Nothing waits for the disk. `synchronous_commit` stays on: it costs little without fsync, and off, an
# immediate stop would lose commits that clients were told of, which no test could tell from our own loss.
VOLATILE = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer(Server):
    """PostgreSQL with one superuser, `postgres`, trusted from 127.0.0.1.

    What was committed survives every way of stopping it, unless the machine itself stops; with
    `durable=True` also then, at the price of waiting for the disk. `parameters` are those of
    postgresql.conf. As root it runs under an unprivileged system account, since it refuses to be root.
    """

    prefix = "postgresql"
    stop_signal = STOP_SIGNALS["immediate"]

    def __init__(
        self, *, durable: bool = False, max_connections: int = 100, port: int | None = None, **parameters: str
    ) -> None:
        super().__init__(port)
        self.account = _unprivileged_account() if os.geteuid() == 0 else None
        self.parameters = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": str(max_connections),
            "shared_buffers": "64MB",
            **({} if durable else VOLATILE),
            **parameters,
        }

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        """The address of the database `name`, which need not exist."""
        return f"postgres://{SUPERUSER}@127.0.0.1:{self.port}/{name}"

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """`smart` waits for clients to leave, `fast` ends their transactions, `immediate` is a crash."""
        self._end(STOP_SIGNALS[mode])

    def start(self) -> None:
        if not Path(self._data).exists():
            self._initialise()
        super().start()

    def command(self) -> list[str]:
        program = binaries.find("postgres", "postgresql")
        settings = (f"--{name}={value}" for name, value in self.parameters.items())
        return [str(program), "-D", self._data, "-p", str(self.port), *settings]

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                return connection.execute("SHOW data_directory").fetchone() == (self._data,)
        except psycopg.OperationalError:
            return False

    def _initialise(self) -> None:
        command = [
            str(binaries.find("initdb", "postgresql")),
            f"--pgdata={self._data}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        done = subprocess.run(
            command,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=INITDB_TIMEOUT,
            check=False,
            **self._credentials(),
        )
        if done.returncode:
            raise ServerFailed(f"initdb: {done.stderr or done.stdout}")

    @property
    def _data(self) -> str:
        return str(self.directory / "data")


def _unprivileged_account() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise ServerFailed("PostgreSQL refuses to run as root, and there is no account postgres or nobody")
