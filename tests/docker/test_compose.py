"""docker/: the files are valid, and what they start does start, in an environment with nothing else in it."""

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml

from tests.conditions import wait_until
from tests.docker.composed import (
    COMPOSE_FILES,
    DOCKER,
    config,
    copy_image,
    dockerfile,
    filled_in,
    image_environment,
)
from tests.environment import ROOT
from tests.sandbox.sounds import wav
from tests.services import PostgresServer, RedisServer, binaries
from tests.services.process import Server, free_port

# Debian's packages may have to be installed first.
pytestmark = pytest.mark.timeout(400)

BIN = Path(sys.executable).parent


class Service(Server):
    """A service's command as it is written, with nothing in its environment but what is given."""

    def __init__(self, name: str, service: dict, image: Path, given: dict[str, str]) -> None:
        super().__init__()
        self.prefix = name
        self._image, self._service, self._given = image, service, given

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        written: dict[str, str] = self._service.get("environment") or {}
        # One machine's ports are one namespace; containers have one each.
        own = {"PATH": f"{BIN}:/usr/bin:/bin", "PORT": str(self.port), "WORKER_PORT": str(self.port)}
        return image_environment() | written | own | self._given

    def in_container(self, *command: str) -> list[str]:
        settings = (f"{name}={value}" for name, value in self.environment().items())
        return ["env", "-i", "-C", str(self._image), *settings, *command]

    def command(self) -> list[str]:
        return self.in_container(
            *(str(self.port) if part == "8090" else part for part in self._service["command"])
        )

    def answers(self) -> bool:
        """By its own health check."""
        kind, *check = self._service["healthcheck"]["test"]
        assert kind == "CMD"
        check = [part.replace("8090", str(self.port)) for part in check]
        return subprocess.run(self.in_container(*check), capture_output=True, timeout=30).returncode == 0


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_compose_takes_the_file_with_the_example_filled_in(file, tmp_path):
    services = config(file, filled_in(tmp_path))["services"]

    assert {"prometheus", "postgres", "migrate", "beat"} < set(services)
    for name, service in services.items():
        if service["image"].startswith("transcribe:"):
            assert service["cap_drop"] == ["ALL"], name
            assert service["read_only"], name
            assert name == "migrate" or service["healthcheck"]["test"], name


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_compose_says_what_is_not_filled_in(file):
    with pytest.raises(AssertionError, match="POSTGRES_PASSWORD"):
        config(file, DOCKER / ".env.example")


def test_the_example_names_what_the_files_use_and_nothing_else():
    used = {
        name
        for file in COMPOSE_FILES
        for name in re.findall(r"(?<!\$)\$\{(\w+)", (DOCKER / file).read_text())
    }
    named = set(re.findall(r"^#?\s*([A-Z_]+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))

    assert used - {"TAG", "LISTEN"} == named - {"COMPOSE_PROFILES"}


def test_the_image_is_not_roots_and_has_every_package_of_the_product():
    text = dockerfile()
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}

    assert copied == packages | {"templates"}
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1] == "10001:10001"
    sent = (ROOT / ".dockerignore").read_text()
    assert all(f"!{name}\n" in sent for name in copied)


def test_every_service_of_ours_runs_as_written(tmp_path):
    services = config("compose.yml", filled_in(tmp_path))["services"]
    several = config("compose.multiregion.yml", filled_in(tmp_path))["services"]
    image = tmp_path / "app"
    copy_image(image)
    data = tmp_path / "data"
    with ExitStack() as running:
        postgres, redis = running.enter_context(PostgresServer()), running.enter_context(RedisServer())
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE transcribe LOGIN")
            connection.execute("CREATE DATABASE transcribe OWNER transcribe")
        sandbox = Service("sandbox", services["sandbox"], image, {"DATA_DIR": str(data)})
        here = {
            "DATA_DIR": str(data),
            "DATABASE_URL": f"postgres://transcribe@127.0.0.1:{postgres.port}/transcribe",
            "REDIS_URL": redis.url,
            "DEEPGRAM_BASE_URL": f"http://127.0.0.1:{sandbox.port}",
            "TRUSTED_PROXIES": "127.0.0.1",
        }
        migrate = Service("migrate", services["migrate"], image, here)
        subprocess.run(migrate.command(), check=True, capture_output=True, timeout=120)
        written = {name: services[name] for name in ("web", "live", "worker", "beat")}
        written["worker of no region"] = several["worker"]
        started = {name: Service(name, service, image, here) for name, service in written.items()}
        for service in (sandbox, *started.values()):
            running.callback(service.close)
            service._spawn()
        for service in (sandbox, *started.values()):
            wait_until(lambda service=service: not service.running or service.answers(), 90)
            assert service.running, service.log.read_text()
        key = subprocess.run(
            migrate.in_container("python", "manage.py", "create_api_key", "alice"),
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout.strip()
        by_a_proxy = {
            "authorization": f"Token {key}",
            "x-forwarded-proto": "https",
            "host": "transcribe.example.com",
        }
        with httpx.Client(base_url=started["web"].url, headers=by_a_proxy, trust_env=False) as client:
            audio = {"content": wav(1.0), "headers": {"content-type": "audio/wav"}}
            job = client.post("/api/v1/jobs/?mode=async", **audio).json()
            wait_until(lambda: client.get(f"/api/v1/jobs/{job['id']}/").json()["status"] == "completed", 60)
        metrics = httpx.get(
            f"{started['beat'].url}/metrics/fleet", headers={"authorization": "Bearer metrics-token"}
        )

    assert 'transcribe_jobs{status="completed"} 1.0' in metrics.text


def test_a_worker_of_a_region_runs_as_written(tmp_path):
    service = config("compose.multiregion.yml", filled_in(tmp_path))["services"]["worker-eu"]
    regions = service["environment"]["REGIONS"]
    image = tmp_path / "app"
    copy_image(image)
    with ExitStack() as running:
        postgres, broker = running.enter_context(PostgresServer()), running.enter_context(RedisServer())
        here = {
            "DATA_DIR": str(tmp_path / "data"),
            "DATABASE_URL": postgres.url,
            "REDIS_URL": broker.url,
            "REDIS_CLUSTER_URL": "",
            "REGIONS": re.sub(r"redis-\w+:6379", f"127.0.0.1:{broker.port}", regions),
        }
        worker = Service("worker-eu", service, image, here)
        migrate = worker.in_container("python", "manage.py", "migrate", "--no-input")
        subprocess.run(migrate, check=True, capture_output=True, timeout=120)
        running.enter_context(worker)
        serves = 'transcribe_worker_slots{queue="transcription.eu"} 20.0'
        token = {"authorization": "Bearer metrics-token"}
        fleet = f"{worker.url}/metrics/fleet"
        wait_until(lambda: serves in httpx.get(fleet, headers=token, trust_env=False).text, 30)


@pytest.mark.parametrize("service", ["redis", "redis-1"])
def test_redis_takes_what_it_is_started_with(service, tmp_path):
    command = config("compose.multiregion.yml", filled_in(tmp_path))["services"][service]["command"]

    class Written(RedisServer):
        def command(self) -> list[str]:
            program = str(binaries.find("redis-server", "redis-server"))
            return [program, *command[1:], "--port", str(self.port), "--dir", str(self.directory)]

    with Written(port=free_port()) as running:
        assert running.running


@pytest.mark.parametrize("file", ["prometheus.yml", "prometheus.multiregion.yml"])
def test_prometheus_takes_its_configuration_and_asks_every_service(file, tmp_path):
    promtool = str(binaries.find("promtool", "prometheus"))
    path = DOCKER / "prometheus" / file
    checked = subprocess.run(
        [promtool, "check", "config", "--syntax-only", str(path)], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stderr

    jobs = yaml.safe_load(path.read_text())["scrape_configs"]
    asked = {name for job in jobs for sd in job.get("dns_sd_configs", ()) for name in sd["names"]}
    asked |= {
        each.split(":")[0] for job in jobs for sc in job.get("static_configs", ()) for each in sc["targets"]
    }
    compose = "compose.yml" if file == "prometheus.yml" else "compose.multiregion.yml"
    services = config(compose, filled_in(tmp_path))["services"]
    of_ours = {
        name
        for name, service in services.items()
        if service["image"].startswith("transcribe:") and name not in ("migrate", "sandbox")
    }
    assert asked - {"localhost"} == of_ours
