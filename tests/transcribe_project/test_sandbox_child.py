import os
import subprocess
import sys

import pytest
from django.core.management import CommandError

from tests.environment import ROOT
from tests.services.process import free_port
from transcribe_project import sandbox_child
from transcribe_project.sandbox_child import SandboxChild
from transcribe_project.server import listen


def test_runstack_does_not_take_a_stranger_for_its_sandbox(tmp_path):
    with listen("127.0.0.1", 0) as stranger:
        port = str(stranger.getsockname()[1])
        environment = os.environ | {
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
            "DATA_DIR": str(tmp_path),
            "PORT": str(free_port()),
            "SANDBOX_PORT": port,
        }

        refused = subprocess.run(
            [sys.executable, "manage.py", "runstack", "--no-sample"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"CommandError: Port {port}, for the sandbox, cannot be used")
    assert "SANDBOX_PORT=" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_it_is_ready_when_it_answers(settings):
    settings.SANDBOX_PORT = free_port()
    child = SandboxChild()
    try:
        child.wait_until_ready()
    finally:
        child.stop()
    listen("127.0.0.1", settings.SANDBOX_PORT).close()


def test_one_that_never_answers_is_told(settings, monkeypatch):
    settings.SANDBOX_PORT = free_port()
    monkeypatch.setattr(sandbox_child, "START_SECONDS", 0.0)
    child = SandboxChild()
    try:
        with pytest.raises(CommandError, match="does not answer"):
            child.wait_until_ready()
    finally:
        child.stop()
