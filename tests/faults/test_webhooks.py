"""Receivers that misbehave, deliverers that are killed, and one dead receiver among many."""

import json
import subprocess
import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic, time

import pytest
from celery import Celery
from django.db.models import F
from standardwebhooks import Webhook

from jobs.events import emit
from jobs.models import Delivery, DeliveryAttempt, EventType, WebhookEndpoint
from jobs.webhooks.deliverer import SCHEDULE
from jobs.webhooks.wire import ATTEMPT_SECONDS
from tests.conditions import PATIENCE, wait_until
from tests.faults.harness import Stopwatch
from tests.jobs.rows import make_project
from tests.routing.peer import Peer, answering, dripping_body, silent

FULL = [pytest.mark.full_load, pytest.mark.timeout(1800)]
HUGE = b"x" * 10_000_000
RETRY_AFTER = 120


def happen(project, **told):
    return emit(project.pk, EventType.STREAM_ENDED, {"id": "1"}, **told)


# W1

MISBEHAVIOURS = {
    "error": answering(500),
    "overloaded": answering(429, retry_after=str(RETRY_AFTER)),
    "gone": answering(410),
    "huge": answering(500, HUGE),
    "reset": lambda connection: connection.read_request() and connection.reset(),
    "silent": silent,
    "drip": dripping_body,
}
LONG = ("silent", "drip")


@pytest.mark.parametrize(
    "each",
    [pytest.param(2, id="small", marks=pytest.mark.postgresql), pytest.param(62, id="full", marks=FULL)],
)
def test_w1_receivers_that_misbehave_cost_their_time_and_nothing_else(stack, tell, each):
    project = make_project()
    with ExitStack() as opened, stack.workers(1) as supervisor:
        trap = opened.enter_context(Peer(answering(204, b"")))
        behaviours = MISBEHAVIOURS | {"redirect": answering(302, location=f"{trap.url}/trap")}
        told = {}
        for name, behave in behaviours.items():
            for _ in range(each):
                peer = opened.enter_context(Peer(behave))
                delivery = happen(project, callback_url=f"{peer.url}/hook").deliveries.get()
                told[delivery.pk] = name
        before = supervisor.workers[0].memory_bytes

        def attempted(names, attempts):
            pks = [pk for pk, name in told.items() if name in names]
            return Delivery.objects.filter(pk__in=pks, attempts__gte=attempts).count() == len(pks)

        wait_until(lambda: attempted(behaviours, 1), 30 + ATTEMPT_SECONDS * (1 + 2 * each / 50))
        wait_until(lambda: attempted(("error", "huge", "reset", "redirect"), 2), 60)
        grown = supervisor.workers[0].memory_bytes - before
        longest = max(DeliveryAttempt.objects.values_list("duration", flat=True))
        trapped = trap.requests

    for delivery in Delivery.objects.prefetch_related("log"):
        name, log = told[delivery.pk], list(delivery.log.all())
        waits = (delivery.run_at - log[-1].started_at).total_seconds() - log[-1].duration
        if name == "gone":
            assert (delivery.status, delivery.attempts) == ("failed", 1)
        elif name == "overloaded":
            assert RETRY_AFTER - 1 < waits < RETRY_AFTER + 5
        else:
            planned = SCHEDULE[len(log) - 1]
            assert planned * 0.75 < waits < planned * 1.25 + PATIENCE, name
    tell("W1", events=len(told), longest=round(longest, 1), grown_mb=round(grown / 1e6))
    assert longest <= ATTEMPT_SECONDS + PATIENCE
    assert not trapped
    assert grown < 100_000_000


# W2


@dataclass(frozen=True)
class Kills:
    events: int
    kills: int


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Kills(100, 1), id="small", marks=pytest.mark.postgresql),
        pytest.param(Kills(1000, 10), id="full", marks=FULL),
    ],
)
def test_w2_deliverers_that_are_killed_lose_nothing_and_repeat_little(stack, tell, load, node_modules):
    project = make_project()

    def behave(connection):
        while connection.read_request():
            connection.stopped.wait(0.05)
            connection.answer(204, b"")

    with ExitStack() as opened:
        receivers = [opened.enter_context(Peer(behave)) for _ in range(5)]
        endpoints = [
            WebhookEndpoint.objects.create(project=project, url=f"{peer.url}/hook") for peer in receivers
        ]
        for _ in range(load.events // len(receivers)):
            happen(project)

        def arrived():
            return sum(len(peer.requests) for peer in receivers)

        in_flight = 0
        with stack.workers(1) as supervisor:
            (worker,) = supervisor.workers
            for kill in range(1, load.kills + 1):
                wait_until(lambda: arrived() >= load.events * kill / (load.kills + 2), 90)  # noqa: B023
                worker.kill()
                in_flight += Delivery.objects.filter(lease_token__isnull=False).count()
                worker.spawn()
            last_kill = Stopwatch()
            wait_until(lambda: not Delivery.objects.exclude(status="delivered").exists(), 90)

        requests = [
            (endpoint.webhook_secret, request)
            for endpoint, peer in zip(endpoints, receivers, strict=True)
            for request in peer.requests
        ]
    times = Counter((secret, request.headers["webhook-id"]) for secret, request in requests)
    repeats = len(requests) - len(times)
    tell("W2", events=load.events, kills=load.kills, lost=load.events - len(times), repeats=repeats,
         in_flight=in_flight, delivered_in=round(last_kill.seconds, 1))  # fmt: skip
    assert len(times) == load.events
    assert repeats <= in_flight
    # The libraries refuse what is older than five minutes, as the first are when ten deliverers were killed.
    recent = [each for each in requests if time() - int(each[1].headers["webhook-timestamp"]) < 240]
    assert len(recent) >= load.events // 4
    for secret, request in recent:
        Webhook(secret).verify(request.body, request.headers)
    assert verified_by_javascript(recent, node_modules) == len(recent)


def verified_by_javascript(requests, node_modules):
    """How many the reference library for JavaScript takes."""
    program = """
        const { Webhook } = require("standardwebhooks");
        const messages = JSON.parse(require("fs").readFileSync(0));
        for (const [secret, headers, body] of messages) new Webhook(secret).verify(body, headers);
        console.log(messages.length);"""
    messages = [(secret, request.headers, request.body.decode()) for secret, request in requests]
    done = subprocess.run(
        ["node", "-e", program],
        cwd=node_modules,
        input=json.dumps(messages),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


# W3


@dataclass(frozen=True)
class Load:
    rounds: int
    endpoints: int
    slack: float
    """seconds that a loaded machine may add beside the tenth that is allowed"""


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(Load(5, 10, 5.0), id="small", marks=pytest.mark.postgresql),
        pytest.param(Load(100, 50, 0.05), id="full", marks=FULL),
    ],
)
def test_w3_one_dead_receiver_delays_no_other(stack, broker, tell, load):
    waker = Celery(broker=broker.url)

    def p95(dead):
        """Seconds from events to their delivery to the living, told once a second."""
        project, pause = make_project(), threading.Event()
        with ExitStack() as opened:
            living = opened.enter_context(Peer(answering(204, b"")))
            peers = [
                living,
                *(opened.enter_context(Peer(answering(204, b""))) for _ in range(load.endpoints - 2)),
            ]
            peers.append(opened.enter_context(Peer(silent if dead else answering(204, b""))))
            for peer in peers:
                WebhookEndpoint.objects.create(project=project, url=f"{peer.url}/hook")
            for _ in range(load.rounds):
                began = monotonic()
                happen(project)
                waker.send_task("jobs.deliver", args=("webhooks",), queue="webhooks", ignore_result=True)
                pause.wait(max(0.0, began + 1 - monotonic()))
            rest = Delivery.objects.filter(event__project=project).exclude(
                endpoint__url__startswith=peers[-1].url
            )
            wait_until(lambda: not rest.exclude(status="delivered").exists(), 60)
        took = rest.annotate(took=F("delivered_at") - F("event__created_at")).values_list("took", flat=True)
        return sorted(one.total_seconds() for one in took)[int(len(took) * 0.95)]

    with stack.workers(1):
        p95(dead=False)  # connections opened, code warm
        without, with_dead = p95(dead=False), p95(dead=True)

    tell(
        "W3", events=load.rounds * load.endpoints, p95_without=round(without, 3), p95_with=round(with_dead, 3)
    )
    assert with_dead <= without * 1.1 + load.slack
