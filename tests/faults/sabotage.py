"""Faults within our own code, and a look at it, for processes whose settings are tests.faults.settings.

SABOTAGE names one:

    dies_before_commit  a process is killed when a job's first answer in a run is kept and not yet committed
    poison              jobs that name a poison in their metadata take it in place of calling the provider
    rebinding           a name leads to a public address, and to this host when it is asked for again; every
                        address that is dialled is written to DIALLED, and public ones do not answer
    times_claims        no fault: how many seconds each claim that found a job took is written to CLAIMS
"""

import ctypes
import itertools
import os
import resource
import signal
import socket
import sys
from time import monotonic

from django.apps import AppConfig

# Of a worker, as a container has it: the poison that asks for more memory must fail, and not the machine.
WORKER_MEMORY_BYTES = 6 * 1024**3
# Enough for a child to start, which costs about two, and as long as that may take beside others.
CHILD_CPU_SECONDS = 12
CHILD_SECONDS = 60.0
STUCK_AFTER_SECONDS = 1.0
REBOUND, PUBLIC = "rebound.example", "8.8.8.8"

SABOTAGED = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings"}


class Sabotage(AppConfig):
    name = "tests.faults"

    def ready(self):
        SABOTAGES[os.environ["SABOTAGE"]]()


def die_before_commit():
    from jobs import lifecycle

    complete = lifecycle.complete

    def die_first(job, **answered):
        if job.claimed_at == job.started_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return complete(job, **answered)

    lifecycle.complete = die_first


def take_poison():
    from jobs.running import execution, isolation, leases

    resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY_BYTES, WORKER_MEMORY_BYTES))
    isolation.CPU_SECONDS = CHILD_CPU_SECONDS
    isolation.longest_attempt = lambda job: CHILD_SECONDS
    leases.STUCK_AFTER_SECONDS = STUCK_AFTER_SECONDS
    ask = execution._ask

    def taste(job, *arguments):
        if poison := job.metadata.get("poison"):
            POISONS[poison]()
        return ask(job, *arguments)

    execution._ask = taste


def time_claims():
    from jobs.models.queue import JobQuerySet

    claim, log = JobQuerySet.claim, open(os.environ["CLAIMS"], "a", buffering=1)  # noqa: SIM115 (till the end)

    def timed(*arguments, **named):
        begun = monotonic()
        job = claim(*arguments, **named)
        if job is not None:
            log.write(f"{monotonic() - begun}\n")
        return job

    JobQuerySet.claim = timed


def loop():
    while True:
        pass


POISONS = {
    "segfault": lambda: ctypes.string_at(0),
    # As the kernel does when memory runs out.
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "loop": loop,
    "memory": lambda: bytearray(2 * WORKER_MEMORY_BYTES),
}


def rebind():
    look_up, asked = socket.getaddrinfo, itertools.count()

    def rebinding(host, port, *arguments, **named):
        if host == REBOUND:
            return look_up("127.0.0.1" if next(asked) % 2 else PUBLIC, port, *arguments, **named)
        return look_up(host, port, *arguments, flags=socket.AI_NUMERICHOST)

    def watch(event, arguments):
        if event != "socket.connect" or not isinstance(arguments[1], tuple):
            return
        address, port = arguments[1][:2]
        with open(os.environ["DIALLED"], "a") as dialled:
            dialled.write(f"{address} {port}\n")
        if address == PUBLIC:
            raise ConnectionRefusedError

    socket.getaddrinfo = rebinding
    sys.addaudithook(watch)


SABOTAGES = {
    "dies_before_commit": die_before_commit,
    "poison": take_poison,
    "rebinding": rebind,
    "times_claims": time_claims,
}
