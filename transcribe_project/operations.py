"""What whoever runs the service asks of each process: /healthz, /readyz, /metrics, /metrics/fleet.

Web and live answer by a middleware, before anything else is asked: load balancers and Prometheus ask by
address and without TLS, which hosts and redirects would refuse. Workers and beat answer on WORKER_PORT, with
a server of the standard library in a thread.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.datastructures import CaseInsensitiveMapping
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from jobs.refusal import Refusal
from transcribe_project import health
from transcribe_project.metrics.access import check_reader
from transcribe_project.metrics.fleet import FLEET
from transcribe_project.metrics.process import expect_regions

logger = logging.getLogger(__name__)

PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/metrics/fleet"})
# Of a client that is slow, or says nothing.
SOCKET_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Told:
    """An answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def tell(path: str, address: str, headers: Mapping[str, str]) -> Told:
    """The answer to who asks from `address` for one of PATHS. `headers`: names in any case."""
    match path:
        case "/healthz":
            return _found(*health.aliveness())
        case "/readyz":
            return _found(*health.readiness())
    try:
        check_reader(address, headers)
    except Refusal as refusal:
        return _refused(refusal)
    return Told(200, _metrics(of_fleet=path == "/metrics/fleet"), CONTENT_TYPE_LATEST)


def _found(ok: bool, found: dict[str, str]) -> Told:
    return Told(200 if ok else 503, json.dumps(found).encode())


def _refused(refusal: Refusal) -> Told:
    said = {"error": {"code": refusal.code, "message": refusal.message, "details": None}}
    asked_for = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
    return Told(refusal.status, json.dumps(said).encode(), headers=asked_for)


def _metrics(*, of_fleet: bool) -> bytes:
    if of_fleet:
        return generate_latest(FLEET)
    expect_regions()
    own = generate_latest(REGISTRY)
    # Embedded, this process is all there is.
    return own + generate_latest(FLEET) if settings.EMBEDDED else own


class OperationsMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path not in PATHS:
            return self.get_response(request)
        told = tell(request.path, request.META.get("REMOTE_ADDR", ""), request.headers)
        return HttpResponse(told.body, told.content_type, told.status, headers=told.headers)


class _Handler(BaseHTTPRequestHandler):
    timeout = SOCKET_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path not in PATHS:
            self.send_error(404)
            return
        try:
            told = tell(path, self.client_address[0], CaseInsensitiveMapping(self.headers.items()))
        finally:
            connection.close()
        self.send_response(told.status)
        for name, value in {"Content-Type": told.content_type, **told.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(told.body)))
        self.end_headers()
        self.wfile.write(told.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: they are asked every few seconds."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve(port: int) -> None:
    """Answer on this port from now on, in threads; if another process has it, say so and work without."""
    if not port:
        return
    try:
        server = _Server(("", port), _Handler)
    except OSError as error:
        logger.warning("WORKER_PORT %d cannot be used (%s): no health, no metrics.", port, error.strerror)
        return
    threading.Thread(target=server.serve_forever, name="operations", daemon=True).start()
