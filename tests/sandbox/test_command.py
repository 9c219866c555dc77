import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.sandbox_process import ROOT, SandboxProcess


@pytest.fixture
def without_moonshine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine whose C library is too old for the wheel."""
    package = tmp_path / "moonshine_voice.py"
    package.write_text("raise OSError('GLIBC_2.34 not found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.usefixtures("without_moonshine")
def test_engine_asked_for_by_name_must_run() -> None:
    ended = run("--engine", "moonshine", "--port", "0")

    assert ended.returncode == 1
    assert "cannot run here: GLIBC_2.34 not found" in ended.stderr


@pytest.mark.usefixtures("without_moonshine")
def test_auto_falls_back_to_scripted_under_a_clear_label() -> None:
    with SandboxProcess(engine="auto") as sandbox:
        models = httpx.get(sandbox.url + "/v1/models", headers={"authorization": "Token k"}, trust_env=False)

        assert "scripted (no speech recognition)" in sandbox.errors()
        assert {model["architecture"] for model in models.json()["stt"]} == {"scripted"}


def test_port_in_use_is_an_error() -> None:
    with SandboxProcess() as sandbox:
        ended = run("--engine", "scripted", "--port", sandbox.url.rpartition(":")[2])

    assert ended.returncode != 0
    assert "address already in use" in ended.stderr


def test_server_ends_when_its_standard_input_does() -> None:
    command = [sys.executable, "-m", "sandbox", "--engine", "scripted", "--port", "0", "--with-parent"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().startswith(b"sandbox listening on http://127.0.0.1:")

        process.stdin.close()

        assert process.wait(90) == 0
