"""Spans to an OpenTelemetry collector, by OTLP over HTTP. Imported only where one is asked for.

All but where to, and whether, is OpenTelemetry's own to read from the environment:
opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from django.conf import settings
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobs.running.leases import process_name
from routing import tracing
from routing.tracing import Kind, Value

PREFIX = "transcribe."
FLUSH_SECONDS = 3.0

_TRACEPARENT = TraceContextTextMapPropagator()


class Span(tracing.Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._ends_with_block = True

    def tell(self, **attributes: Value) -> None:
        self._span.set_attributes(_named(attributes))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, code: str) -> None:
        self._span.set_attribute("error.type", code)
        self._span.set_status(trace.StatusCode.ERROR)

    def stay(self) -> None:
        self._ends_with_block = False

    def end(self) -> None:
        self._span.end()

    def __enter__(self) -> Self:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context.detach(self._token)
        # Not of what was merely cancelled.
        if isinstance(error, Exception):
            self.fail(getattr(error, "code", type(error).__name__))
        if self._ends_with_block or error is not None:
            self.end()


class Tracer(tracing.Tracer):
    def __init__(self) -> None:
        named = {SERVICE_NAME: settings.OTEL_SERVICE_NAME, SERVICE_INSTANCE_ID: process_name()}
        self._provider = TracerProvider(resource=Resource.create(named))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("transcribe")

    def span(self, name: str, kind: Kind, parent: str, attributes: dict[str, Value]) -> tracing.Span:
        if kind == "client" and not parent and not trace.get_current_span().get_span_context().is_valid:
            # A call that is a part of nothing, as probes are.
            return tracing.NOBODYS
        within = _TRACEPARENT.extract({"traceparent": parent}, context.Context()) if parent else None
        begun = self._tracer.start_span(
            name, within, kind=trace.SpanKind[kind.upper()], attributes=_named(attributes)
        )
        return Span(begun)

    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        _TRACEPARENT.inject(carrier)
        return carrier.get("traceparent", "")

    def ids(self) -> dict[str, str]:
        current = trace.get_current_span().get_span_context()
        if not current.is_valid:
            return {}
        return {
            "trace_id": trace.format_trace_id(current.trace_id),
            "span_id": trace.format_span_id(current.span_id),
        }

    def current(self) -> Span:
        return Span(trace.get_current_span())

    def flush(self) -> None:
        # The collector may be away, and is no reason to stay.
        flushing = threading.Thread(target=self._provider.force_flush, name="traces", daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)


def _named(attributes: dict[str, Value]) -> dict[str, str | int | float | bool]:
    return {
        name if "." in name else f"{PREFIX}{name}": value
        for name, value in attributes.items()
        if value is not None and value != ""
    }
