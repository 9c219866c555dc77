"""A receiver of webhooks on this machine, to see what they are and to try one's own code with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.markup import escape
from standardwebhooks import Webhook, WebhookVerificationError

MOST_BYTES = 1 << 20
FORWARD_SECONDS = 15.0
FORWARDED = ("content-type", "webhook-id", "webhook-timestamp", "webhook-signature")


class Command(BaseCommand):
    help = "Receives webhooks, verifies their signatures and prints them. Ends with Ctrl+C."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8400, help="where to listen (default: 8400)")
        parser.add_argument("--secret", help="whsec_…, the endpoint's or the project's")
        parser.add_argument(
            "--forward", metavar="URL", help="post each message there as well, answer as it does"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(highlight=False, soft_wrap=True)
        receiver = Receiver(console, options["secret"], options["forward"])
        try:
            server = ThreadingHTTPServer(("127.0.0.1", options["port"]), handler_of(receiver))
        except OSError as error:
            raise CommandError(f"Port {options['port']} cannot be listened on: {error.strerror}.") from None
        with server:
            verified = "verified" if options["secret"] else "not verified: give their --secret"
            console.print(f"Listening on http://127.0.0.1:{server.server_port}/ (signatures are {verified}).")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                console.print("Stopped.")


class Receiver:
    """Tells of each message on the console. Used by several threads."""

    def __init__(self, console: Console, secret: str | None, forward: str | None) -> None:
        self._console = console
        self._forward = forward
        try:
            if secret and not secret.startswith("whsec_"):
                raise ValueError(secret)
            self._webhook = Webhook(secret) if secret else None
        except ValueError:
            raise CommandError("The secret must look like whsec_ and base64.") from None

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """The status to answer with: 204, 401 for a wrong signature, or as whom it is forwarded to."""
        try:
            if self._webhook is not None:
                self._webhook.verify(body, dict(headers))
        except WebhookVerificationError as error:
            named = escape(headers.get("webhook-id", "no webhook-id"))
            self._console.print(f"[red]refused[/] {named}: {error}")
            return 401
        known = "[green]verified[/]" if self._webhook else "[yellow]unverified[/]"
        try:
            message = json.loads(body)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._console.print("[red]refused[/]: the body is not a JSON object")
            return 400
        told = escape(f"{message.get('type')} {headers.get('webhook-id')}")
        self._console.print(f"{known} {told}")
        self._console.print_json(json.dumps(message))
        return self._pass_on(headers, body) if self._forward else 204

    def _pass_on(self, headers: Mapping[str, str], body: bytes) -> int:
        passed = {name: headers[name] for name in FORWARDED if name in headers}
        try:
            answer = httpx.post(
                self._forward or "", content=body, headers=passed, timeout=FORWARD_SECONDS, trust_env=False
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._console.print(f"[red]not forwarded[/]: {type(error).__name__}: {escape(str(error))}")
            return 502
        self._console.print(f"forwarded: {answer.status_code}")
        return answer.status_code


def handler_of(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            status = 413
            if length <= MOST_BYTES:
                status = receiver.receive(
                    {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length)
                )
            self.send_response(status)
            self.send_header("content-length", "0")
            if status == 413:
                self.close_connection = True
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """What is to be told is told of the message."""

    return Handler
