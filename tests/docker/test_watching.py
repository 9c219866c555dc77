"""A real Prometheus before a running service.

It reaches every process, every rule is sound, and the dashboards have something to show. Then the gate for
releases, which asks it.
"""

import json
import re
import subprocess
import sys
from contextlib import ExitStack

import httpx
import pytest
from websockets.sync.client import connect

from jobs.events import emit
from jobs.models import ApiKey, EventType, TranscriptionJob
from streaming.models import LiveSession
from tests.conditions import wait_until
from tests.docker.composed import DOCKER
from tests.environment import ROOT
from tests.faults.harness import Stack, Web
from tests.jobs.rows import make_project
from tests.routing.peer import Peer, answering
from tests.sandbox.sounds import wav
from tests.sandbox_process import SandboxProcess
from tests.services import RedisServer
from tests.services.prometheus import Prometheus
from tests.transcribe_project.test_operations import BEAT, WORKER, Operated
from transcribe_project.management.commands.release_gate import FAILS, HOLDS, UNKNOWN
from transcribe_project.metrics.catalogue import names

TOKEN = "the-token-of-prometheus"
DASHBOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
# Nothing of these has happened in a service that is well.
OF_TROUBLE = re.compile(
    r"transcribe_live_reconnect|provider_rate_limited|transcribe_estimated_cost|transcribe_provider_slots|outcome!~|transcribe_jobs_failed|ALERTS"
)
LISTEN = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&interim_results=true"


def queries():
    """(dashboard, panel, query), with the variables filled in."""
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "1m").replace("$region", ".*")
                yield path.stem, panel["title"], query


def test_dashboards_ask_for_metrics_that_there_are():
    asked = {name for *_, query in queries() for name in re.findall(r"\btranscribe_\w+", query)}

    assert {path.stem for path in DASHBOARDS} == {"batch", "live", "regions", "service", "webhooks"}
    assert asked <= names(), asked - names()


def test_each_panel_says_what_it_shows_and_in_which_unit():
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            assert panel["description"], (path.stem, panel["title"])
            per_minute = all(target["expr"].startswith("60 *") for target in panel["targets"])
            assert per_minute == (panel["fieldConfig"]["defaults"]["unit"] == "cpm"), panel["title"]
            assert per_minute == panel["title"].endswith(", a minute"), panel["title"]
            assert all(target["legendFormat"] for target in panel["targets"])


def speak(url, authorization):
    with connect(
        url.replace("http", "ws") + LISTEN, additional_headers=authorization, open_timeout=30
    ) as socket:
        for _ in range(30):
            socket.send(wav(0.1)[44:])
        socket.send('{"type":"CloseStream"}')
        return list(socket)


def gate(prometheus, *arguments):
    command = [sys.executable, ROOT / "manage.py", "release_gate", "--prometheus", prometheus, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.postgresql
@pytest.mark.timeout(400)
def test_prometheus_reaches_every_process_and_the_gate_judges_a_release(database_url):
    project = make_project()
    _, key = ApiKey.objects.issue(project, "k")
    authorization = {"authorization": f"Token {key}"}
    with ExitStack() as running:
        enter = running.enter_context
        sandbox, receiver = enter(SandboxProcess()), enter(Peer(answering(204, b"")))
        broker = enter(RedisServer())
        environment = Stack(database_url, broker.url, sandbox, {"METRICS_TOKEN": TOKEN}).environment()
        web, live = (enter(Web(environment)) for _ in range(2))
        worker, beat = (
            Operated(sys.executable, *command, environment=environment) for command in (WORKER, BEAT)
        )
        for process in (worker, beat):
            process._environment["WORKER_PORT"] = str(process.port)
            enter(process)
        at = {
            name: [f"127.0.0.1:{process.port}"]
            for name, process in {
                "web": web,
                "live": live,
                "worker": worker,
                "beat": beat,
                "fleet": beat,
            }.items()
        }
        prometheus = enter(Prometheus(at, TOKEN))

        # A release with nothing seen of it yet.
        untold = gate(prometheus.url, "--since", "60")
        away = gate("http://127.0.0.1:1", "--since", "60")

        def happen():
            audio = {"content": wav(1.0), "headers": authorization | {"content-type": "audio/wav"}}
            httpx.post(f"{web.url}/api/v1/jobs/?mode=async", trust_env=False, **audio).raise_for_status()
            emit(project.pk, EventType.STREAM_ENDED, {"id": "1"}, callback_url=f"{receiver.url}/hook")
            speak(live.url, authorization)

        happen()
        wait_until(lambda: not TranscriptionJob.objects.open().exists(), 60)
        wait_until(lambda: not LiveSession.objects.open().exists(), 60)

        def targets():
            return {each["labels"]["job"]: each for each in prometheus.ask("targets")["activeTargets"]}

        wait_until(lambda: all(each["health"] == "up" for each in targets().values()), 60)
        assert set(targets()) == {*at, "prometheus"}

        def rules():
            return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

        wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), 60)
        assert [rule for rule in rules() if rule["health"] != "ok"] == []
        assert [rule["name"] for rule in rules() if rule["state"] == "firing"] == []

        def answered():
            """What has no answer yet: rates need what happens to be seen twice."""
            return [
                each
                for each in queries()
                if not OF_TROUBLE.search(each[2]) and not prometheus.ask("query", query=each[2])["result"]
            ]

        happen()
        wait_until(lambda: not answered(), 60)
        for *_, query in queries():
            prometheus.ask("query", query=query)

        # Any latency will do, on any machine.
        few = ("--since", "300", "--min-connections", "1", "--min-results", "1")
        slow = (*few, "--max-latency-ms", "60000")
        holds = gate(prometheus.url, *slow)
        too_late = gate(prometheus.url, *slow[:-1], "0.001")
        sandbox.stop()
        with pytest.raises(Exception, match="HTTP 503"):
            speak(live.url, authorization)
        failing = 'transcribe_live_connections_total{outcome="failed"} > 0'
        wait_until(lambda: prometheus.ask("query", query=failing)["result"], 60)
        fails = gate(prometheus.url, *slow)

    assert (untold.returncode, away.returncode) == (UNKNOWN, UNKNOWN)
    assert "Too little has happened" in untold.stderr
    assert holds.returncode == HOLDS, holds.stderr
    assert (too_late.returncode, fails.returncode) == (FAILS, FAILS)
    assert "results take longer" in too_late.stderr
    assert "of connections fail" in fails.stderr
