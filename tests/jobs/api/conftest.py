"""A project with a key, clients of both kinds, and a provider that answers."""

import io
import wave
from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from jobs.models import ApiKey, Membership, Project, Role, TranscriptionJob
from jobs.running.worker import Worker
from routing.regions import all_regions
from tests.sandbox_process import SandboxProcess

JOBS = "/api/v1/jobs/"


def wav(seconds: float = 1.0) -> bytes:
    """Silence, 16 kHz mono."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16000, 0, "NONE", ""))
        writer.writeframes(bytes(int(seconds * 16000) * 2))
    return file.getvalue()


def upload(name: str = "call.wav", seconds: float = 1.0) -> io.BytesIO:
    """What Django's test client sends as a form's file."""
    file = io.BytesIO(wav(seconds))
    file.name = name
    return file


def client_for(key: str) -> Client:
    return Client(headers={"Authorization": f"Token {key}"})


def add_job(project: Project, **fields) -> TranscriptionJob:
    """A queued job for a URL, as if it had been submitted."""
    place = {"region": "default", "queue": "transcription.default"}
    return TranscriptionJob.objects.create(
        project=project, **({"url": "https://example.com/a.wav"} | place | fields)
    )


def run_queued() -> None:
    """Run what is queued in the default region, as a worker would."""
    Worker(["transcription.default"], 1).run_available("transcription.default")


def error_of(response) -> dict:
    """The error, whose envelope is always the same."""
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}
    assert body["error"]["message"]
    return body["error"]


@pytest.fixture
def project(db) -> Project:
    return Project.objects.create(name="Support calls")


@pytest.fixture
def other_project(db) -> Project:
    return Project.objects.create(name="Somebody else's")


@pytest.fixture
def key(project) -> str:
    return ApiKey.objects.issue(project, "tests")[1]


@pytest.fixture
def api(key) -> Client:
    """Asks with a key that may do everything in `project`."""
    return client_for(key)


@pytest.fixture
def member(project):
    """Makes a user with this role in `project`, and their client, logged in."""

    def make(role: Role, **fields) -> Client:
        user = get_user_model().objects.create_user(f"a-{role}", **fields)
        Membership.objects.create(project=project, user=user, role=role)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def provider(running_sandbox, settings) -> Iterator[SandboxProcess]:
    """What the default region calls."""
    running_sandbox.reset()
    settings.DEEPGRAM_BASE_URL = running_sandbox.url
    all_regions.cache_clear()
    yield running_sandbox
    all_regions.cache_clear()
