"""`manage.py transcribe`, as a person runs it."""

import json
import os
import subprocess
import sys
import wave

import pytest

from jobs.models import TranscriptionJob
from tests.environment import ROOT
from tests.sandbox_process import SandboxProcess
from tests.services.process import free_port
from transcribe_project.server import listen


def run_transcribe(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "transcribe", *arguments],
        cwd=ROOT,
        env={**os.environ, "RETRY_BASE_SECONDS": "0.2", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def run(database_url):
    with SandboxProcess() as sandbox:
        sandbox.set_transcript("Good morning. This is a test.")

        def transcribe(*arguments: str) -> subprocess.CompletedProcess[str]:
            return run_transcribe(*arguments, DATABASE_URL=database_url, DEEPGRAM_BASE_URL=sandbox.url)

        transcribe.sandbox = sandbox
        yield transcribe


@pytest.fixture
def recording(tmp_path) -> str:
    with wave.open(str(tmp_path / "call.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(3 * 32000))
    return str(tmp_path / "call.wav")


def test_without_a_worker_it_runs_the_job_itself_and_prints_the_text_alone(run, recording):
    done = run(recording)

    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()) == "Good morning. This is a test."
    assert "3.0 s of audio" in done.stderr


def test_a_failing_provider_is_asked_again(run, recording):
    run.sandbox.set_faults({"fault": "status=503", "first": 2})

    done = run(recording, "--format", "srt")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1\n00:00:0")
    assert TranscriptionJob.objects.get().attempts == 3


@pytest.mark.postgresql
def test_options_are_passed_on_and_json_is_json(run, recording):
    done = run(recording, "--format", "json", "--option", "language=de", "--option", "utterances=true")

    assert json.loads(done.stdout)["utterances"]
    assert TranscriptionJob.objects.get().options["language"] == "de"


@pytest.mark.postgresql
def test_what_cannot_be_transcribed_is_told_and_the_rest_goes_on(run, recording, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear Sir")

    done = run(str(tmp_path / "letter.txt"), str(tmp_path / "absent.wav"), recording)

    assert done.returncode == 1
    assert done.stdout.startswith("Good morning.")
    assert "letter.txt" in done.stderr
    assert "absent.wav: No such file" in done.stderr.replace("\n", "")


@pytest.mark.postgresql
def test_names_that_look_like_markup_are_printed_as_they_are(run, tmp_path):
    letter = tmp_path / "[red]a[bold][" / "].txt"
    letter.parent.mkdir()
    letter.write_text("words")

    done = run(str(letter))

    assert done.returncode == 1
    assert f"{letter}: " in done.stderr


@pytest.mark.postgresql
def test_an_unknown_option_is_named(run, recording):
    done = run(recording, "--option", "langauge=de")

    assert done.returncode == 1
    assert "langauge" in done.stderr
    assert "language" in done.stderr


def test_where_nothing_runs_it_brings_the_sandbox_and_takes_it_away(database_url, recording):
    port = free_port()

    done = run_transcribe(recording, "--format", "json", DATABASE_URL=database_url, SANDBOX_PORT=str(port))

    assert done.returncode == 0, done.stderr
    assert "text" in json.loads(done.stdout)
    assert TranscriptionJob.objects.get().status == "completed"
    listen("127.0.0.1", port).close()


def test_whoever_has_the_sandboxs_port_is_sent_nothing(database_url, recording):
    with listen("127.0.0.1", 0) as stranger:
        port = str(stranger.getsockname()[1])

        done = run_transcribe(recording, DATABASE_URL=database_url, SANDBOX_PORT=port)

        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.accept()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"Port {port}, for the sandbox, cannot be used" in done.stderr
    assert "SANDBOX_PORT=" in done.stderr
