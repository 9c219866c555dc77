"""`manage.py evaluate`, from a manifest to its exit code."""

import io
import json
import wave
from contextlib import contextmanager
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from jobs import intake
from jobs.models import ApiKey, EvaluationRun, Project, Recording, TranscriptionJob
from jobs.quality.scores import counted
from routing.regions import all_regions
from sandbox.engines.tones import said, text_of
from tests.sandbox_process import SandboxProcess
from tests.server_thread import ServerThread

SAID, OTHER = text_of(6), text_of(6, first=6)


@pytest.fixture(scope="module")
def running_sandbox():
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox, transactional_db, settings):
    running_sandbox.reset()
    settings.DEEPGRAM_BASE_URL, settings.USES_SANDBOX = running_sandbox.url, False
    all_regions.cache_clear()
    yield running_sandbox
    all_regions.cache_clear()


@pytest.fixture
def manifest(tmp_path):
    """Two recordings of six words; of the second, one is not what is said in it."""
    for number, text in enumerate((SAID, OTHER)):
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(said(text))
    lines = [
        {"audio_filepath": "0.wav", "text": SAID},
        {
            "audio_filepath": "1.wav",
            "text": OTHER.replace(OTHER.split()[2], "nobody"),
            "language": "de",
            "tags": ["phone"],
        },
    ]
    path = tmp_path / "calls.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def evaluate(manifest, *arguments):
    """What is printed, and how it ends."""
    output = io.StringIO()
    try:
        call_command("evaluate", str(manifest), *arguments, stdout=output)
        code, error = 0, ""
    except CommandError as raised:
        code, error = raised.returncode, str(raised)
    return SimpleNamespace(output=output.getvalue(), code=code, error=error)


def test_a_run_is_scored_and_kept(sandbox, manifest):
    done = evaluate(manifest, "--name", "nightly")

    assert done.code == 0, done.error
    assert "8.33%" in done.output
    run = EvaluationRun.objects.get()
    assert str(run.pk) in done.output
    assert "16.67%   1.wav" in done.output
    assert (run.name, run.manifest, run.is_live) == ("nightly", "calls.jsonl", False)
    assert run.scores["wer"]["value"] == 1 / 12
    assert run.scores["ser"]["value"] == 0.5
    assert run.scores["tags"]["phone"]["words"] == 6
    right, wrong = run.recordings.all()
    assert (right.heard, right.errors, right.region) == (SAID, 0.0, "default")
    assert wrong.counts["substitutions"] == 1
    assert wrong.job.options["language"] == "de"


def test_the_gate_says_no_when_it_got_worse_and_only_then(sandbox, manifest, tmp_path):
    report = tmp_path / "baseline.json"
    report.write_text(evaluate(manifest, "--name", "main", "--format", "json").output)
    assert json.loads(report.read_text())["runs"][0]["recordings"][0]["heard"] == SAID

    sandbox.set_transcript(SAID)

    strict = evaluate(manifest, "--baseline", "main", "--max-increase", "1")
    lenient = evaluate(manifest, "--baseline", str(report), "--max-increase", "50", "--format", "json")
    assert (strict.code, lenient.code) == (1, 0)
    assert "8.33% -> 50.00%" in strict.output
    assert json.loads(lenient.output)["regression"] is False
    assert json.loads(lenient.output)["difference"]["recordings"] == 2
    # However often it is evaluated, the audio is there once.
    assert Recording.objects.count() == 2
    assert TranscriptionJob.objects.count() == 6


def test_two_sets_of_options_are_compared(sandbox, manifest):
    done = evaluate(
        manifest, "--option", "model=nova-3", "--option", "punctuate=true", "--versus", "model=nova-2"
    )

    assert done.code == 0, done.error
    assert "8.33% -> 8.33% of 2 recordings: +0.00 points" in done.output
    tried = [run.options for run in EvaluationRun.objects.all()]
    assert {options["model"] for options in tried} == {"nova-3", "nova-2"}
    assert all(options["punctuate"] is True for options in tried)


def test_noise_is_mixed_in(sandbox, manifest):
    evaluate(manifest)
    done = evaluate(manifest, "--noise", str(manifest.parent / "1.wav"), "--snr", "10")

    assert done.code == 0, done.error
    assert sandbox.requests()["total"] == len(sandbox.requests()["by_sha256"]) == 4
    assert EvaluationRun.objects.first().snr == 10.0


def test_what_failed_is_no_pass_and_is_tried_again(sandbox, manifest):
    sandbox.set_faults({"fault": "status=400", "first": 1})

    done = evaluate(manifest, "--at-once", "1")

    run = EvaluationRun.objects.get()
    assert done.code == 2
    assert f"--resume {run.pk}" in done.error
    assert (run.scores["recordings"], run.scores["failed"]) == (1, 1)
    assert "provider_rejected" in run.recordings.first().error

    assert evaluate(manifest, "--resume", str(run.pk)).code == 0
    run.refresh_from_db()
    assert (run.scores["recordings"], run.scores["failed"]) == (2, 0)
    assert run.recordings.first().error == ""


def test_what_was_done_before_an_interruption_is_kept(sandbox, manifest, monkeypatch):
    submit = intake.submit

    def interrupted(order, **audio):
        if EvaluationRun.objects.get().recordings.scored().exists():
            raise KeyboardInterrupt
        return submit(order, **audio)

    with monkeypatch.context() as patch:
        patch.setattr(intake, "submit", interrupted)
        with pytest.raises(SystemExit) as ended:
            evaluate(manifest, "--at-once", "1")
    assert ended.value.code == 130
    run = EvaluationRun.objects.get()
    assert run.finished_at is None

    assert evaluate(manifest, "--resume", str(run.pk)).code == 0
    assert EvaluationRun.objects.get().scores["recordings"] == 2
    assert TranscriptionJob.objects.count() == 2


def test_nothing_is_sent_before_all_is_checked(sandbox, manifest, tmp_path):
    (tmp_path / "letter.wav").write_text("Dear Sir")
    broken = tmp_path / "broken.jsonl"
    broken.write_text(manifest.read_text() + '\n{"file": "letter.wav", "text": ""}')
    other = tmp_path / "other.json"
    heard = {"source": "other.wav", "said": "a", "counts": asdict(counted("a", "a"))}
    other.write_text(json.dumps({"runs": [{"recordings": [heard]}]}))

    asked = {
        "line 3: letter.wav": evaluate(broken),
        "langauge": evaluate(manifest, "--option", "langauge=de"),
        "go together": evaluate(manifest, "--noise", "x.wav"),
        "--noise:": evaluate(manifest, "--noise", str(tmp_path / "letter.wav"), "--snr", "10"),
        "no finished run": evaluate(manifest, "--baseline", "main"),
        "no report": evaluate(manifest, "--baseline", str(manifest)),
        "mars": evaluate(manifest, "--region", "mars"),
        "no such option": evaluate(manifest, "--live", "--option", "encoding=opus"),
        "--snr is": evaluate(manifest, "--noise", "x.wav", "--snr", "nan"),
        "--max-increase is": evaluate(manifest, "--baseline", "x", "--max-increase", "nan"),
        "--project has": evaluate(manifest, "--project", "x" * 101),
        "--server is": evaluate(manifest, "--live", "--server", "localhost:8000"),
        "none of these recordings": evaluate(manifest, "--baseline", str(other)),
    }

    for told, done in asked.items():
        assert done.code == 2
        assert told in done.error
    assert evaluate(manifest, "--dry-run").code == 0
    assert not EvaluationRun.objects.exists() and not Project.objects.exists()
    assert sandbox.requests()["total"] == 0


@contextmanager
def served():
    server = ServerThread()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_live_it_is_streamed_as_it_is_spoken(sandbox, manifest):
    with served() as server:
        done = evaluate(manifest, "--live", "--server", server.http_url)

    assert done.code == 0, done.error
    run = EvaluationRun.objects.get()
    assert run.is_live
    assert run.scores["wer"]["value"] == 1 / 12
    assert [(each.heard, each.region) for each in run.recordings.all()] == [
        (SAID, "default"),
        (OTHER, "default"),
    ]
    assert ApiKey.objects.get().revoked_at is not None


def test_a_server_that_is_not_there_is_told(sandbox, manifest):
    done = evaluate(manifest, "--live", "--server", "http://127.0.0.1:9")

    assert done.code == 2
    assert "http://127.0.0.1:9 failed" in EvaluationRun.objects.get().recordings.first().error
