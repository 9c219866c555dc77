"""The receivers of docs/webhooks.md, as they stand there, told by real deliveries."""

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from jobs.models import WebhookEndpoint
from jobs.webhooks import deliverer, wire
from tests.clients import forget
from tests.conditions import wait_until
from tests.environment import ROOT
from tests.faults.harness import Program
from tests.jobs.rows import make_project
from tests.services.process import free_port

DOCUMENT = ROOT / "docs" / "webhooks.md"


def receiver_in(language):
    found = re.search(
        rf"^### {language}\n.*?^```\w+\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    return found[1]


class Receiver(Program):
    prefix = "receiver"

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def python_receiver(tmp_path):
    program = tmp_path / "receiver.py"
    program.write_text(receiver_in("Python"))
    return sys.executable, str(program)


@pytest.fixture
def javascript_receiver(node_modules):
    program = node_modules / "receiver.js"
    program.write_text(receiver_in("JavaScript"))
    return "node", str(program)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_it_takes_what_is_signed_with_its_secret_once_and_refuses_the_rest(request, settings, language):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    forget(wire._client)
    port = free_port()
    endpoint = WebhookEndpoint.objects.create(project=make_project(), url=f"http://127.0.0.1:{port}/hook")
    environment = {"WEBHOOK_SECRET": endpoint.webhook_secret, "PORT": str(port)}
    command = request.getfixturevalue(f"{language}_receiver")

    with Receiver(*command, environment=environment, port=port) as receiver:
        taken = deliverer.deliver_test(endpoint)
        wire.post(taken)
        rotated = (endpoint.rotate_webhook_secret(), deliverer.deliver_test(endpoint))[1]
        endpoint.rotate_webhook_secret()
        refused = deliverer.deliver_test(endpoint)
        wait_until(lambda: rotated.event.data["id"] in receiver.output())
        printed = receiver.output()
    wire._client().close()
    forget(wire._client)

    assert [delivery.log.get().status_code for delivery in (taken, rotated, refused)] == [204, 204, 401]
    assert printed.count(f"test {taken.event.data['id']}") == 1, "the second time it is known"
    assert refused.event.data["id"] not in printed


def test_the_receiver_in_go_compiles(tmp_path):
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go toolchain: the receiver in Go is not checked")
    (tmp_path / "main.go").write_text(receiver_in("Go"))
    environment = os.environ | {"GOFLAGS": "-mod=mod", "GOCACHE": str(tmp_path / "cache")}
    for arguments in (("mod", "init", "receiver"), ("mod", "tidy"), ("vet", "./...")):
        subprocess.run([go, *arguments], cwd=tmp_path, env=environment, check=True, timeout=100)
