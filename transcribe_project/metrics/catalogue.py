"""docs/metrics.md, written from the metrics themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from jobs import metrics as of_jobs
from routing import metrics as of_providers
from streaming import metrics as of_streams
from transcribe_project.metrics import process
from transcribe_project.metrics.fleet import GAUGES

HEAD = """# Metrics

Written by `manage.py describe_metrics`; a test holds it to the code. How to collect them, and who may read
them: [deployment.md](deployment.md#watching-it).

`/metrics` tells what its own process has counted: collect it from every web, live and worker process, and add
up. `/metrics/fleet` tells what is asked of the database, for the service as a whole: collect it from one
address. Embedded (`make run`), `/metrics` tells both.

Seconds, bytes and counts, no averages; a histogram's name stands for its `_bucket`, `_sum` and `_count`.
Labels are few by their making: regions and queues are yours, models are Deepgram's families or `custom`, all
else is fixed in the code. Jobs that are isolated run in a process of their own, and what that process counts
goes with it.

Beside these there are those of
[django-prometheus](https://github.com/django-commons/django-prometheus) (`django_http_*`: requests by view,
method and status, and how long they took; one whose answer waits for a job, as `POST /v1/listen`, is counted
when it is answered, with 499 if its client has left by then) and of the Python process (`process_*`,
`python_*`).
"""


@dataclass(frozen=True, slots=True)
class Described:
    name: str
    kind: str
    labels: Iterable[str]
    meaning: str


def catalogue() -> str:
    """The document."""
    return "\n".join([HEAD, *(line for title, metrics in _sections() for line in _section(title, metrics))])


def names() -> set[str]:
    """Of all series that there may be, as queries have them."""
    described = [each for _, metrics in _sections() for each in metrics]
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {each.name + suffix for each in described for suffix in suffixes.get(each.kind, ("",))}


def _sections() -> list[tuple[str, Iterable[Described]]]:
    return [
        ("Providers", _of(of_providers)),
        ("Jobs and webhooks", _of(of_jobs)),
        ("Live audio", _of(of_streams)),
        ("Each process", _of(process)),
        (
            "The service as a whole (`/metrics/fleet`)",
            [Described(name, "gauge", labels, meaning) for name, (meaning, labels) in GAUGES.items()],
        ),
    ]


def _section(title: str, metrics: Iterable[Described]) -> Iterator[str]:
    yield f"## {title}"
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for each in metrics:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        yield f"| `{each.name}` | {each.kind} | {labels} | {each.meaning} |"
    yield ""


def _of(module: object) -> Iterator[Described]:
    for metric in vars(module).values():
        if isinstance(metric, MetricWrapperBase):
            told = next(iter(metric.describe()))
            name = f"{told.name}_total" if told.type == "counter" else told.name
            yield Described(name, told.type, metric._labelnames, told.documentation)
