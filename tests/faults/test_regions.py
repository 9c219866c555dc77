"""F13: a region dies piece by piece, with jobs and live sessions in flight, and comes back.

Two regions, each with a provider, a broker and workers of its own; one web server; what processes share is in
a Redis, at full load in a Redis Cluster, which loses a primary as well; there the provider is slow for a
while, and comes and goes, too.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle

import httpx
import pytest
from django.utils import timezone

from jobs.models import ApiKey, Project, TranscriptionJob
from streaming.models import Happening, LiveSession
from tests.conditions import wait_until
from tests.faults.harness import QUICK, Stack, Submitter, Web, Worker, ended_jobs, promises_kept, queue_jobs
from tests.faults.test_live import NONE, errors, make_speakers, websocket
from tests.sandbox_process import SandboxProcess
from tests.services import RedisServer
from tests.services.redis_cluster import RedisCluster
from tests.streaming.speaker import Crowd

FULL = [pytest.mark.full_load, pytest.mark.timeout(900)]
SMALL = pytest.mark.postgresql
CONCURRENCY = 10
LEFT_WITHIN_SECONDS = 60
# One that comes and goes is left alone for the longer each time, and tried in a bad moment as often as not.
SHOWN_WITHIN_SECONDS = 120
PIECES = ["provider", "broker", "workers"]
EACH = [*([piece] for piece in PIECES), ["provider", "primary"], ["pace"], ["steadiness"]]
SHOWN = {
    "provider": ("recordings_provider", {"erring", "left_alone"}),
    "broker": ("broker", {"unreachable"}),
    "workers": ("slots", {0}),
    "pace": ("recordings_provider", {"slow"}),
    "steadiness": ("recordings_provider", {"flapping"}),
}
"""Where a region's health tells of it, and how."""
QUICK_CALL, SLOW_CALL = "latency=0.2", "latency=3"
COMES_AND_GOES_SECONDS = 3


@dataclass(frozen=True)
class Load:
    jobs: int
    """in line when something fails"""
    rate: float
    """of new ones a second"""
    sessions: int
    words: int
    quiet: timedelta
    """without new work in a region: it is left, and not passed over by chance"""
    failures: list[list[str]]
    """what fails at once; it heals before the next fails"""


class Region:
    """Of one name: its provider, broker and worker, to do harm to."""

    def __init__(self, name: str, provider: SandboxProcess, broker: RedisServer) -> None:
        self.name = name
        self.provider = provider
        self.broker = broker
        self.worker: Worker | None = None
        self.cluster: RedisCluster | None = None
        self._steady = threading.Event()
        self._coming_and_going: threading.Thread | None = None

    @property
    def described(self) -> dict[str, str]:
        return {"name": self.name, "base_url": self.provider.url, "broker_url": self.broker.url}

    def fail(self, piece: str) -> None:
        match piece:
            case "provider":
                self.provider.stop()
            case "broker":
                self.broker.kill()
            case "workers":
                self.worker.kill()
            case "primary":
                self.cluster.primary_of(f"notes:{{{self.name}}}").kill()
            case "pace":
                self.provider.set_faults(SLOW_CALL)
            case "steadiness":
                self._coming_and_going = threading.Thread(target=self._come_and_go)
                self._coming_and_going.start()

    def heal(self, piece: str) -> None:
        match piece:
            case "provider":
                self.provider.start()
            case "broker":
                self.broker.start()
            case "workers":
                self.worker.spawn()
            case "pace":
                self.provider.set_faults(QUICK_CALL)
            case "steadiness":
                self.settle()

    def settle(self) -> None:
        """Come and go no more."""
        if self._coming_and_going is not None:
            self._steady.set()
            self._coming_and_going.join()

    def _come_and_go(self) -> None:
        for fault in cycle(["status=503", QUICK_CALL]):
            self.provider.set_faults(fault)
            if self._steady.wait(COMES_AND_GOES_SECONDS) and fault == QUICK_CALL:
                return


@contextmanager
def two_regions(database_url: str, shared: dict[str, str]) -> Iterator[tuple[Web, Region, Region]]:
    """All programs start at once: on two cores that is what takes longest."""
    with ExitStack() as started:
        a, b = (
            Region(name, started.enter_context(SandboxProcess()), started.enter_context(RedisServer()))
            for name in "ab"
        )
        for region in (a, b):
            started.callback(region.settle)
        settings = dict(QUICK) | {"REGIONS": json.dumps([a.described, b.described])} | shared
        settings["PROVIDER_SLOW_SECONDS"] = "1"
        stack = Stack(database_url, started.enter_context(RedisServer()).url, b.provider, settings)
        a.worker, b.worker = (Worker(stack.environment(REGION=each.name), CONCURRENCY) for each in (a, b))
        web = Web(stack.environment())
        programs = {"a": a.worker, "b": b.worker, "web": web}
        for program in programs.values():
            started.callback(program.close)
            started.callback(program.kill)
            program.spawn()
        try:
            wait_until(lambda: all(program.answers() for program in programs.values()), 120)
            yield web, a, b
        except BaseException:
            for name, program in programs.items():
                print(name, program.output())  # noqa: T201 (shown where it fails)
            raise


def sent_to(region: str, since: datetime) -> list[datetime]:
    """When jobs were made since then and sent there."""
    made = TranscriptionJob.objects.filter(created_at__gt=since, receipt__region=region)
    return list(made.order_by("created_at").values_list("created_at", flat=True))


def seconds_until_left(region: str, since: datetime, quiet: timedelta) -> float:
    """After which no new work was sent there any more."""

    def is_left() -> bool:
        recent = timezone.now() - quiet
        made = TranscriptionJob.objects.filter(created_at__gt=max(recent, since))
        return timezone.now() - since > quiet and made.count() > 3 and not sent_to(region, recent)

    wait_until(is_left, LEFT_WITHIN_SECONDS)
    return max(((at - since).total_seconds() for at in sent_to(region, since)), default=0.0)


def seconds_until_back(region: str, since: datetime) -> float:
    wait_until(lambda: sent_to(region, since), LEFT_WITHIN_SECONDS)
    return (sent_to(region, since)[0] - since).total_seconds()


def wait_until_shown(web: Web, key: str, region: str, pieces: list[str]) -> None:
    """In the answer of /api/v1/regions/: each of what has failed, told apart."""

    def is_shown() -> bool:
        headers = {"authorization": f"Token {key}"}
        answer = httpx.get(f"{web.url}/api/v1/regions/", headers=headers, trust_env=False, timeout=20)
        health = next(each["health"] for each in answer.json()["results"] if each["name"] == region)
        told = [SHOWN[piece] for piece in pieces if piece in SHOWN]
        return all(health[name] in states for name, states in told)

    wait_until(is_shown, SHOWN_WITHIN_SECONDS)


def longest_interruption() -> float:
    """Seconds for which a live session was connected to no provider."""
    longest = 0.0
    for session in LiveSession.objects.all():
        lost_at = None
        for entry in session.timeline.filter(type__in=(Happening.CONNECTION_LOST, Happening.CONNECTED)):
            if entry.type == Happening.CONNECTION_LOST:
                lost_at = lost_at or entry.at
            elif lost_at is not None:
                longest, lost_at = max(longest, (entry.at - lost_at).total_seconds()), None
    return longest


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Load(60, 8, 4, 32, timedelta(seconds=2), [PIECES]), id="small", marks=SMALL),
        pytest.param(Load(300, 10, 20, 480, timedelta(seconds=6), EACH), id="full", marks=FULL),
    ],
)
def test_f13_a_region_that_dies_is_left_and_comes_back(database_url, tell, load):
    _, key = ApiKey.objects.issue(Project.objects.create(name="Calls"), "phone")
    with ExitStack() as started:
        shared, cluster = {}, None
        if load.failures == EACH:
            cluster = started.enter_context(RedisCluster())
            shared["REDIS_CLUSTER_URL"] = ",".join(cluster.urls)
        web, a, b = started.enter_context(two_regions(database_url, shared))
        a.cluster = cluster
        for region in (a, b):
            region.provider.set_faults(QUICK_CALL)
        with Submitter(web.url, load.rate) as submitter:
            both = timezone.now()
            wait_until(lambda: sent_to("a", both) and sent_to("b", both), 30)
            speakers = make_speakers(load.sessions, [websocket(web)], key, load.words)
            accepted = 0
            with Crowd(speakers) as crowd:
                wait_until(lambda: all(speaker.sent > 64_000 for speaker in speakers), 60)
                for failing in load.failures:
                    for region in (a, b):
                        queue_jobs(load.jobs // 2, region=region.name, queue=f"transcription.{region.name}")
                    accepted += 2 * (load.jobs // 2)
                    failed_at = timezone.now()
                    for piece in failing:
                        a.fail(piece)
                    wait_until_shown(web, key, "a", failing)
                    left = seconds_until_left("a", failed_at, load.quiet)
                    healed_at = timezone.now()
                    for piece in failing:
                        a.heal(piece)
                    back = seconds_until_back("a", healed_at)
                    tell(
                        f"F13 {' and '.join(failing)}",
                        left_after=round(left, 1),
                        back_after=round(back, 1),
                        interrupted=round(longest_interruption(), 1),
                    )
                crowd.hear_out(120 + load.words)
        accepted += len(submitter.accepted)
        wait_until(lambda: ended_jobs() == accepted, 120)

    found = errors(speakers, load.words)
    assert found == NONE
    assert not submitter.refused
    assert not TranscriptionJob.objects.exclude(status="completed").exists()
    tell("F13", jobs=accepted, sessions=load.sessions, **promises_kept(accepted), words_lost=found["lost"])
