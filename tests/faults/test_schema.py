"""S4: schemathesis over the OpenAPI document as it is served, at a real server.

It sends what the document allows and what it forbids: each field's extremes, mutants, chains of operations by
the ids that were answered. The seeds are fixed, so that a finding can be repeated.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from jobs.models import ApiKey, Project
from streaming import lifecycle
from tests.environment import ROOT
from tests.jobs.api.conftest import wav
from tests.jobs.rows import make_project
from tests.streaming.factories import end, live, progress, results

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
ALL_PHASES = "examples,coverage,fuzzing,stateful"
CSRF = "a" * 32
# What nonsense may be refused with.
REFUSALS = [400, 401, 403, 404, 405, 408, 409, 411, 412, 413, 415, 416, 429]
LEFT_OUT = {
    "positive_data_acceptance": "no document can say whether a region exists or a URL may be called",
}


@dataclass(frozen=True)
class Caller:
    """What the document's security scheme asks for; `spared` are the ids of what the caller is known by."""

    scheme: str = ""
    secret: str = ""
    spared: tuple[str, ...] = ()

    @property
    def headers(self) -> dict[str, str]:
        """As the caller sends it; the session with what Django wants of forms."""
        session = {"Cookie": f"sessionid={self.secret}; csrftoken={CSRF}", "X-CSRFToken": CSRF}
        return {"key": {"Authorization": self.secret}, "cookieAuth": session}.get(self.scheme, {})


def leave_stream(project: Project) -> None:
    """One that is over, as only a socket makes them."""
    session = live(project)
    lifecycle.store([progress(session, results(1, "Hello there."))])
    end(session)


def with_key() -> Caller:
    key, text = ApiKey.objects.issue(make_project(), "schemathesis")
    leave_stream(key.project)
    return Caller("key", f"Token {text}", (str(key.pk), str(key.project_id)))


def with_session() -> Caller:
    user = get_user_model().objects.create_user("sam")
    client = Client()
    client.force_login(user)
    project = Project.objects.personal(user)
    leave_stream(project)
    return Caller("cookieAuth", client.cookies["sessionid"].value, (str(project.pk),))


def examine(url: str, caller: Caller, directory: Path, *, seed: int, examples: int, phases: str) -> int:
    """How many requests were sent; AssertionError with what schemathesis found."""
    config, report = directory / "schemathesis.toml", directory / "report.json"
    known = f'[auth.openapi.{caller.scheme}]\napi_key = "{caller.secret}"\n' if caller.scheme else ""
    config.write_text(
        'cache.enabled = false\nsuppress-health-check = ["too_slow"]\n'
        f"checks.negative_data_rejection.expected-statuses = {REFUSALS}\n{known}"
    )
    done = subprocess.run(
        [
            *(SCHEMATHESIS, f"--config-file={config}", "run", f"{url}/api/schema/", f"--phases={phases}"),
            *(f"--seed={seed}", f"--max-examples={examples}", "--generation-database=none"),
            *("--continue-on-failure", f"--exclude-checks={','.join(LEFT_OUT)}"),
            *("--report=json", f"--report-json-path={report}", "--no-color", "--warnings=off"),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "NO_PROXY": "127.0.0.1",
            "SCHEMATHESIS_HOOKS": "tests.faults.schema_hooks",
            "SPARED": " ".join(caller.spared),
            "CSRF": CSRF if caller.scheme == "cookieAuth" else "",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(report.read_text())
    assert told["operations"]["tested"] == told["operations"]["total"]
    return told["test_cases"]["generated"]


def fill(url: str, caller: Caller) -> None:
    """Something of everything that an operation is about."""
    with httpx.Client(base_url=f"{url}/api/v1/", headers=caller.headers, trust_env=False) as api:
        audio = {"content": wav(), "headers": {"Content-Type": "audio/wav"}}
        assert api.post("jobs/?mode=sync", **audio).json()["status"] == "completed"
        for made in (
            api.post("jobs/?mode=async", **audio),
            api.post("batches/", json={"urls": ["https://example.invalid/a.wav"], "sealed": False}),
            api.post("webhooks/", json={"url": "https://example.invalid/hook"}),
            api.post("uploads/", json={"size": 1000}),
        ):
            assert made.is_success, made.text


@pytest.fixture
def examined(stack, tell, tmp_path) -> Callable[..., None]:
    def examined(caller: Caller, *, seeds: Iterable[int], examples: int, phases: str = ALL_PHASES) -> None:
        sent = 0
        with stack.web(WEBHOOK_ALLOW_PRIVATE="0", FETCH_ALLOW_PRIVATE="0") as web:
            if caller.scheme:
                fill(web.url, caller)
            for seed in seeds:
                sent += examine(web.url, caller, tmp_path, seed=seed, examples=examples, phases=phases)
            known = httpx.get(f"{web.url}/api/v1/jobs/", headers=caller.headers, trust_env=False)
        assert known.status_code == (200 if caller.scheme else 401)
        tell("S4", caller=caller.scheme or "nobody", requests=sent)

    return examined


# A machine may be slow, and every operation takes its time.
@pytest.mark.postgresql
@pytest.mark.timeout(600)
def test_s4_with_a_key_the_service_does_what_its_document_says(examined):
    examined(with_key(), seeds=[1], examples=3)


@pytest.mark.postgresql
@pytest.mark.timeout(600)
def test_s4_with_a_session_the_service_does_what_its_document_says(examined):
    examined(with_session(), seeds=[1], examples=3, phases="fuzzing")


@pytest.mark.postgresql
def test_s4_nobody_is_told_anything(examined):
    examined(Caller(), seeds=[1], examples=1, phases="fuzzing")


@pytest.mark.full_load
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("make_caller", [with_key, with_session, Caller])
def test_s4_at_length_the_service_does_what_its_document_says(examined, make_caller):
    examined(make_caller(), seeds=[1, 2, 3], examples=200)
