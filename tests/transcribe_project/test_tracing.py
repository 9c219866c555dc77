"""One trace from the caller to the webhook, over all processes; one of a live session; none by default."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from websockets.sync.client import connect

from jobs.models import ApiKey, Delivery, TranscriptionJob
from routing import tracing
from streaming.models import LiveSession
from tests.conditions import wait_until
from tests.environment import ROOT
from tests.faults.harness import QUICK, Stack
from tests.jobs.rows import make_project
from tests.routing.peer import Peer, answering
from tests.sandbox.sounds import wav
from tests.sandbox_process import SandboxProcess

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
LIVE_TRACE = "0af7651916cd43dd8448eb211c80319c"
LISTEN = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&resumable=true"


class Collector(Peer):
    """Takes traces by OTLP over HTTP."""

    def spans(self) -> Iterator[Span]:
        for request in list(self.requests):
            assert request.target == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
                for scope in resource.scope_spans:
                    yield from scope.spans

    def of(self, trace: str) -> dict[str, list[Span]]:
        """Those of a trace by name, in the order of their beginning."""
        found: dict[str, list[Span]] = {}
        for span in sorted(self.spans(), key=lambda span: span.start_time_unix_nano):
            if span.trace_id.hex() == trace:
                found.setdefault(span.name, []).append(span)
        return found


def told(span: Span) -> dict[str, str]:
    return {
        each.key: each.value.string_value or str(each.value.int_value or each.value.double_value)
        for each in span.attributes
    }


@pytest.mark.timeout(240)
@pytest.mark.postgresql
def test_a_trace_goes_from_the_caller_through_queue_and_provider_to_the_webhook(database_url, redis_url):
    _, key = ApiKey.objects.issue(make_project(), "k")
    authorization = {"authorization": f"Token {key}"}
    with ExitStack() as running:
        enter = running.enter_context
        collector, receiver = enter(Collector(answering(200, b""))), enter(Peer(answering(204, b"")))
        provider = enter(SandboxProcess())
        stack = Stack(database_url, redis_url, provider, dict(QUICK))
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        web = enter(stack.web(**traced))
        enter(stack.workers(1, **traced))

        provider.set_faults({"fault": "status=503", "first": 1})
        asked = {"mode": "async", "callback_url": f"{receiver.url}/hook?token=of-the-receiver"}
        headers = authorization | {"content-type": "audio/wav", "traceparent": f"00-{TRACE}-{CALLER}-01"}
        answer = httpx.post(
            f"{web.url}/api/v1/jobs/", params=asked, content=wav(1.0), headers=headers, trust_env=False
        )
        assert answer.status_code == 202, answer.text
        wait_until(lambda: not TranscriptionJob.objects.open().exists(), 60)
        wait_until(lambda: Delivery.objects.filter(status="delivered").exists(), 60)

        headers = authorization | {"traceparent": f"00-{LIVE_TRACE}-{CALLER}-01"}
        provider.set_faults({"fault": "drop=1", "first": 1})
        with connect(f"{web.url.replace('http', 'ws')}{LISTEN}", additional_headers=headers) as socket:
            for _ in range(20):
                socket.send(wav(0.1)[44:])
            wait_until(lambda: LiveSession.objects.filter(reconnects=1).exists(), 60)
            socket.send('{"type":"CloseStream"}')
            list(socket)
        wait_until(lambda: "webhook.attempt" in collector.of(TRACE), 60)
        wait_until(lambda: "live.session" in collector.of(LIVE_TRACE), 60)

    job, session = TranscriptionJob.objects.get(), LiveSession.objects.get()
    recording = collector.of(TRACE)
    assert {name: len(spans) for name, spans in recording.items()} == {
        "POST /api/v1/jobs/": 1,
        "job.submit": 1,
        "job.attempt": 2,
        "provider.transcribe": 2,
        "webhook.attempt": 1,
    }
    request, submitted = recording["POST /api/v1/jobs/"][0], recording["job.submit"][0]
    assert (request.parent_span_id.hex(), submitted.parent_span_id) == (CALLER, request.span_id)
    assert told(request)["transcribe.request_id"] == answer.headers["x-request-id"]
    attempts, calls = recording["job.attempt"], recording["provider.transcribe"]
    for attempt, call in zip(attempts, calls, strict=True):
        assert (attempt.parent_span_id, call.parent_span_id) == (submitted.span_id, attempt.span_id)
        assert told(attempt)["transcribe.job_id"] == str(job.pk)
    assert [told(attempt)["transcribe.outcome"] for attempt in attempts] == ["retried", "completed"]
    assert calls[0].status.code == Status.STATUS_CODE_ERROR
    assert told(calls[0])["error.type"] == "provider_error"
    assert told(calls[1])["transcribe.request_id"] == job.history.get(outcome="completed").request_id
    of_call = {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": provider.url.rpartition(":")[2],
    }
    assert of_call.items() <= told(calls[1]).items()
    webhook = recording["webhook.attempt"][0]
    assert told(webhook)["http.request.method"] == "POST"
    assert webhook.parent_span_id == submitted.span_id
    assert receiver.requests[0].headers["traceparent"] == f"00-{TRACE}-{webhook.span_id.hex()}-01"

    live = collector.of(LIVE_TRACE)
    assert {name: len(spans) for name, spans in live.items()} == {
        "live.open": 1,
        "live.session": 1,
        "live.connection": 2,
    }
    assert live["live.session"][0].parent_span_id == live["live.open"][0].span_id
    assert {each.parent_span_id for each in live["live.connection"]} == {live["live.session"][0].span_id}
    assert told(live["live.connection"][0])["server.address"] == "127.0.0.1"
    ended = told(live["live.session"][0])
    assert (ended["transcribe.session_id"], ended["transcribe.reason"]) == (str(session.pk), "finished")
    assert ended["transcribe.reconnects"] == "1"

    everything = "".join(map(str, collector.spans()))
    for secret in (key, "of-the-receiver", "token=", job.transcripts.get().text):
        assert secret not in everything


def test_by_default_nobody_records_and_nothing_is_imported(tmp_path):
    code = "import django, sys; django.setup(); import jobs.running.execution, streaming.relay\n"
    # Not all of OpenTelemetry: redis imports some of it where it is installed.
    code += "print({'transcribe_project.tracing', 'opentelemetry.sdk.trace.export'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    with tracing.span("job.attempt", job_id="1") as span:
        assert tracing.span("provider.transcribe") is span
        assert (tracing.traceparent(), tracing.ids()) == ("", {})
    assert told.stdout.strip() == "set()"
