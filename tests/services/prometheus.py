"""A private Prometheus, with the rules and the configuration of docker/prometheus, but for its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import yaml

from tests.environment import ROOT
from tests.services import binaries
from tests.services.process import Server

CONFIGURED = ROOT / "docker" / "prometheus"


class Prometheus(Server):
    """Asks `targets` (host:port, by the configuration's job names) every second, with `token`."""

    prefix = "prometheus"

    def __init__(self, targets: Mapping[str, Sequence[str]], token: str) -> None:
        super().__init__()
        self._targets = targets
        self._token = token

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        (self.directory / "token").write_text(self._token)
        configuration = yaml.safe_load((CONFIGURED / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["rule_files"] = [str(CONFIGURED / "rules" / "*.yml")]
        for job in configuration["scrape_configs"]:
            job.pop("dns_sd_configs", None)
            job.pop("scrape_timeout", None)
            here = self._targets.get(job["job_name"], [f"127.0.0.1:{self.port}"])
            job["static_configs"] = [{"targets": list(here)}]
            if "authorization" in job:
                job["authorization"]["credentials_file"] = str(self.directory / "token")
        path = self.directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(configuration))
        return [
            str(binaries.find("prometheus", "prometheus")),
            f"--config.file={path}",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API; AssertionError with its words if it is an error."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10, trust_env=False).json()
        assert answer["status"] == "success", answer
        return answer["data"]
