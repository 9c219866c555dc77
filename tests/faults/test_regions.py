"""F13: a region dies piece by piece, with jobs and live sessions in flight, and comes back.

Two regions, each with a provider, a broker and workers of its own; one web server; what processes share is in
a Redis, at full load in a Redis Cluster, which loses a primary as well; there the provider is slow for a
while, and comes and goes, too.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle
from typing import Any

import httpx
import pytest
from django.utils import timezone

from jobs.models import ApiKey, Project, TranscriptionJob
from streaming.models import Happening, LiveSession
from tests.conditions import wait_until
from tests.faults.harness import (
    QUICK,
    Stack,
    Submitter,
    Web,
    Worker,
    ended_jobs,
    lost_and_doubled,
    promises_kept,
    queue_jobs,
)
from tests.faults.test_live import NONE, errors, make_speakers, websocket
from tests.sandbox_process import SandboxProcess
from tests.services import RedisServer
from tests.services.redis_cluster import RedisCluster
from tests.streaming.speaker import Crowd

FULL = [pytest.mark.full_load, pytest.mark.timeout(900)]
SMALL = pytest.mark.postgresql
CONCURRENCY = 10
LEFT_WITHIN_SECONDS = 60
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
# Probes see it as well: they come every five seconds, and two have to fail.
GONE = ["status=503", {"fault": "status=503", "path": "/v1/models"}]
GONE_SECONDS, THERE_SECONDS = 9, 3
WORDS = [f"words_{name}" for name in NONE]


@dataclass(frozen=True)
class Load:
    jobs: int
    """in line when something fails"""
    rate: float
    """of new ones a second"""
    sessions: int
    """when something fails, of so many words"""
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
        for faults, seconds in cycle([(GONE, GONE_SECONDS), ([QUICK_CALL], THERE_SECONDS)]):
            self.provider.set_faults(*faults)
            if self._steady.wait(seconds) and faults != GONE:
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


def health_of(web: Web, key: str, region: str) -> dict[str, Any]:
    """As /api/v1/regions/ answers."""
    headers = {"authorization": f"Token {key}"}
    answer = httpx.get(f"{web.url}/api/v1/regions/", headers=headers, trust_env=False, timeout=20)
    return next(each["health"] for each in answer.json()["results"] if each["name"] == region)


def is_whole(health: dict[str, Any]) -> bool:
    """Whether it is given its share again, by probes and workers that are there."""
    providers = {health["recordings_provider"], health["live_provider"]}
    return providers == {"ok"} and health["broker"] == "ok" and health["slots"] and health["share"] == 1


def is_shown(health: dict[str, Any], pieces: list[str]) -> bool:
    """Each of what has failed, told apart."""
    told = [SHOWN[piece] for piece in pieces if piece in SHOWN]
    return all(health[name] in states for name, states in told)


def interruptions(since: datetime) -> list[float]:
    """Of the live sessions that began since then: seconds for which each was connected to no provider."""
    found = []
    for session in LiveSession.objects.filter(created_at__gt=since):
        lost_at = None
        for entry in session.timeline.filter(type__in=(Happening.CONNECTION_LOST, Happening.CONNECTED)):
            if entry.type == Happening.CONNECTION_LOST:
                lost_at = lost_at or entry.at
            elif lost_at is not None:
                found.append((entry.at - lost_at).total_seconds())
                lost_at = None
    return found


def rehearse(
    web: Web, key: str, region: Region, failing: list[str], load: Load, queued: list[TranscriptionJob]
) -> dict[str, Any]:
    """Let the region fail and heal, with jobs in line and people live, and tell what came of it.

    AssertionError or TimeoutError if something that has to come does not.
    """
    wait_until(lambda: is_whole(health_of(web, key, region.name)), SHOWN_WITHIN_SECONDS)
    began_at = timezone.now()
    speakers = make_speakers(load.sessions, [websocket(web)], key, load.words)
    with Crowd(speakers) as crowd:
        wait_until(lambda: all(speaker.sent > 64_000 for speaker in speakers), 60)
        for name in "ab":
            queued += queue_jobs(load.jobs // 2, region=name, queue=f"transcription.{name}")
        failed_at = timezone.now()
        try:
            for piece in failing:
                region.fail(piece)
            wait_until(lambda: is_shown(health_of(web, key, region.name), failing), SHOWN_WITHIN_SECONDS)
            left = seconds_until_left(region.name, failed_at, load.quiet)
        finally:
            healed_at = timezone.now()
            for piece in failing:
                region.heal(piece)
        back = seconds_until_back(region.name, healed_at)
        crowd.hear_out(120 + load.words)
    times = interruptions(began_at)
    return {
        "left_after": round(left, 1),
        "back_after": round(back, 1),
        "interrupted": len(times),
        "longest": round(max(times, default=0.0), 1),
        **{f"words_{name}": count for name, count in errors(speakers, load.words).items()},
    }


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Load(60, 8, 4, 32, timedelta(seconds=2), [PIECES]), id="small", marks=SMALL),
        pytest.param(Load(300, 10, 20, 80, timedelta(seconds=6), EACH), id="full", marks=FULL),
    ],
)
def test_f13_a_region_that_dies_is_left_and_comes_back(database_url, tell, load):
    _, key = ApiKey.objects.issue(Project.objects.create(name="Calls"), "phone")
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    queued: list[TranscriptionJob] = []
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
            for failing in load.failures:
                name = f"F13 {' and '.join(failing)}"
                try:
                    rows.append(rehearse(web, key, a, failing, load, queued))
                    tell(name, **rows[-1])
                except (AssertionError, TimeoutError) as error:
                    # The others are told all the same.
                    failed.append(name)
                    tell(name, failed=repr(error))
        accepted = len(queued) + len(submitter.accepted)
        with suppress(AssertionError):
            wait_until(lambda: ended_jobs() == accepted, 120)

    tell(
        "F13",
        jobs=accepted,
        refused=len(submitter.refused),
        **lost_and_doubled(accepted),
        interrupted=sum(row["interrupted"] for row in rows),
        longest=max((row["longest"] for row in rows), default=0.0),
        **{name: sum(row[name] for row in rows) for name in WORDS},
    )
    assert not failed
    assert not any(row[name] for row in rows for name in WORDS)
    assert promises_kept(accepted)
    assert not submitter.refused
    assert not TranscriptionJob.objects.exclude(status="completed").exists()
