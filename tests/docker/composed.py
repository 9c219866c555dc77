"""The compose files as docker-compose understands them, and what the Dockerfile puts into the image."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.environment import ROOT
from tests.services import binaries

DOCKER = ROOT / "docker"
COMPOSE_FILES = ("compose.yml", "compose.multiregion.yml")
# What people fill in, as they are told to make it.
FILLED_IN = {
    "SECRET_KEY": "made-by-openssl-rand-base64-48-made-by-openssl-rand-base64-48",
    "ENCRYPTION_KEYS": "b25seSBmb3IgdGhlIGRlcGxveW1lbnQgY2hlY2sgb2s=",
    "POSTGRES_PASSWORD": "postgres-password",
    "METRICS_TOKEN": "metrics-token",
    "GRAFANA_PASSWORD": "grafana-password",
    "EU_API_KEY": "eu-key",
    "US_API_KEY": "us-key",
}


def filled_in(directory: Path) -> Path:
    """docker/.env, from docker/.env.example."""
    text = (DOCKER / ".env.example").read_text()
    for name, value in FILLED_IN.items():
        text, count = re.subn(rf"^{name}=$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1, name
    path = directory / ".env"
    path.write_text(text)
    return path


def config(file: str, environment_file: Path) -> dict[str, Any]:
    """What `docker-compose config` makes of the file; AssertionError with its words if it is not valid."""
    docker_compose = str(binaries.find("docker-compose", "docker-compose"))
    command = [docker_compose, "-f", str(DOCKER / file), "--env-file", str(environment_file), "config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def dockerfile() -> str:
    """With its continued lines joined."""
    return (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")


def copy_image(into: Path) -> None:
    """What the last stage copies from the repository, and compiled as there: nothing can be written later."""
    last = dockerfile().rpartition("\nFROM ")[2]
    for source, target in re.findall(r"^COPY (?!--from)(\S+) (\S+)$", last, re.MULTILINE):
        destination = into / target
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, destination)
        else:
            destination.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, destination)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(into)], check=True)


def image_environment() -> dict[str, str]:
    """The last ENV, but for PATH and what is unset."""
    last = dockerfile().rpartition("\nENV ")[2].splitlines()[0]
    return {name: value for name, value in re.findall(r"(\w+)=(\S+)", last) if name != "PATH"}
