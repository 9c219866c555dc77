"""Spans: what is done, how long it takes, and of what it is a part. Nobody records them unless asked to.

This is all that the code knows of tracing. Where OTEL_EXPORTER_OTLP_ENDPOINT is set, transcribe_project
puts a tracer here that hands spans to OpenTelemetry; elsewhere nothing of it is imported, and a span costs
two calls. Attributes are ids, codes, names of regions and models, and numbers: nothing that was said, no key,
no URL. A name with a dot in it is one of OpenTelemetry's conventions, any other gets our prefix.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal, Self, TypeAlias

Kind: TypeAlias = Literal["internal", "server", "client", "consumer"]
Value: TypeAlias = str | int | float | bool | None


class Span:
    """Something that is done, as long as its block lasts; spans begun in the block are parts of it.

    An error that leaves the block is told by its code or its type, and not by what it says. This one nobody
    records.
    """

    def tell(self, **attributes: Value) -> None:
        """Say more of it. None and "" are left out."""

    def rename(self, name: str) -> None: ...

    def fail(self, code: str) -> None:
        """It came to nothing, as `code` says."""

    def stay(self) -> None:
        """It is not over with its block, but with `end`."""

    def end(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Tracer:
    """Makes spans; this one makes none."""

    def span(self, name: str, kind: Kind, parent: str, attributes: dict[str, Value]) -> Span:
        return NOBODYS

    def traceparent(self) -> str:
        return ""

    def ids(self) -> dict[str, str]:
        return {}

    def current(self) -> Span:
        return NOBODYS

    def flush(self) -> None: ...


NOBODYS = Span()
_tracer = Tracer()


def use(tracer: Tracer) -> None:
    """From now on, in this process."""
    global _tracer
    _tracer = tracer


def span(name: str, *, kind: Kind = "internal", parent: str = "", **attributes: Value) -> Span:
    """A span that has begun. `parent`: a traceparent (www.w3.org/TR/trace-context) of what it is a part of.

    Without one it is a part of the span in whose block this is called, if there is one.
    """
    return _tracer.span(name, kind, parent, attributes)


def tell(**attributes: Value) -> None:
    """Say more of the span in whose block this is called."""
    _tracer.current().tell(**attributes)


def traceparent() -> str:
    """Of the span in whose block this is called, for whoever goes on elsewhere; "" if there is none."""
    return _tracer.traceparent()


def ids() -> dict[str, str]:
    """Of the same, for lines of the log: trace_id and span_id, or nothing."""
    return _tracer.ids()


def flush() -> None:
    """Hand on what has been recorded, before a process ends without more ado. Takes a few seconds at most."""
    _tracer.flush()
