"""The front proxy as it is configured in docker/nginx, before a server of the test's."""

import os
from pathlib import Path
from string import Template

import httpx

from tests.services import binaries
from tests.services.process import Server

TEMPLATE = Path(__file__).parents[2] / "docker" / "nginx" / "nginx.conf.template"
VALUES = {
    "HEADER_SECONDS": "10",
    "BODY_SECONDS": "30",
    "ANSWER_SECONDS": "75",
    "CONNECTIONS_PER_ADDRESS": "100",
    "MAX_BODY_BYTES": "2148532224",
}


class Nginx(Server):
    """Passes on to `upstreams` (host:port). `values` are the template's where they are not the usual."""

    prefix = "nginx"

    def __init__(self, *upstreams: str, port: int | None = None, **values: str) -> None:
        super().__init__(port)
        servers = " ".join(f"server {upstream} max_fails=2 fail_timeout=5s;" for upstream in upstreams)
        self._values = VALUES | {"WEB_SERVERS": servers, "LIVE_SERVERS": servers} | values

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        here = {
            "LISTEN": f"127.0.0.1:{self.port}",
            "TEMP_DIR": str(self.directory),
            "TLS_DIR": str(self.directory / "tls"),
        }
        configuration = self.directory / "nginx.conf"
        configuration.write_text(Template(TEMPLATE.read_text()).safe_substitute(self._values | here))
        # Its workers are the user that started it: the directory is nobody else's.
        user = "user root;" if os.geteuid() == 0 else ""
        own = f"daemon off; pid {self.directory}/pid; {user}"
        return [
            str(binaries.find("nginx", "nginx-light")),
            "-p",
            str(self.directory),
            "-c",
            str(configuration),
            "-g",
            own,
        ]

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False
