"""Answers against Deepgram's own OpenAPI document."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.sandbox.receiver import Receiver
from tests.sandbox.sounds import wav

EVERYTHING = {
    "model": "nova-3",
    "smart_format": "true",
    "utterances": "true",
    "diarize": "true",
    "multichannel": "true",
    "detect_language": "true",
    "search": "baba",
    "tag": "t",
    "extra": "k:v",
}
Validate = Callable[[str, Any], None]


@pytest.fixture(scope="session")
def validate(shared: Path) -> Validate:
    path = shared / "reference" / "deepgram-openapi.yml"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    components = yaml.safe_load(path.read_text())["components"]

    def validate(name: str, content: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        checker = Draft202012Validator.FORMAT_CHECKER
        Draft202012Validator(schema, format_checker=checker).validate(content)

    return validate


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("seconds", [0.1, 60])
def test_transcription_is_valid(
    client: httpx.Client, validate: Validate, options: dict[str, str], seconds: float
) -> None:
    answer = client.post("/v1/listen", params=options, content=wav(seconds, channels=2, rate=4000))

    validate("ListenV1Response", answer.json())


def test_accepted_callback_is_valid(client: httpx.Client, validate: Validate, receiver: Receiver) -> None:
    answer = client.post("/v1/listen", params={"callback": receiver.url}, content=wav(1))

    validate("ListenV1AcceptedResponse", answer.json())


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/auth/grant", "GrantV1Response"),
        ("GET", "/v1/models", "ListModelsV1Response"),
        ("GET", "/v1/projects", "ListProjectsV1Response"),
    ],
)
def test_other_answers_are_valid(
    client: httpx.Client, validate: Validate, method: str, path: str, name: str
) -> None:
    validate(name, client.request(method, path).json())


@pytest.mark.parametrize("status", [400, 401, 402, 403, 408, 413, 415, 429, 500, 502, 504])
def test_errors_are_of_the_documented_shape(client: httpx.Client, validate: Validate, status: int) -> None:
    headers = {"x-sandbox-fault": f"status={status}"}

    content = client.post("/v1/listen", content=b"", headers=headers).json()

    # The document's alternatives demand no property, so each also has to be what it is.
    validate("ErrorResponseLegacyError", content)
    assert set(content) == {"err_code", "err_msg", "request_id"}
