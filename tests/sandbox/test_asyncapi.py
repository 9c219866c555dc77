"""Live messages against Deepgram's own AsyncAPI document."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from sandbox.engines.tones import said, silence, text_of
from tests.sandbox.live_client import CLOSE_STREAM, FINALIZE, listening, transcribed
from tests.sandbox_process import SandboxProcess

SPEECH = said(text_of(24)) + silence(2)
EVERYTHING = {
    "interim_results": "true",
    "utterance_end_ms": 1000,
    "vad_events": "true",
    "smart_format": "true",
    "diarize": "true",
    "language": "multi",
    "channels": 2,
    "multichannel": "true",
    "extra": "k:v",
}
Validate = Callable[[list[dict[str, Any]]], None]


@pytest.fixture(scope="session")
def validate(shared: Path) -> Validate:
    path = shared / "reference" / "deepgram-asyncapi.yml"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    components = yaml.safe_load(path.read_text())["components"]

    def validate(messages: list[dict[str, Any]]) -> None:
        for message in messages:
            name = f"ListenV1_ListenV1{message['type']}"
            schema = {"$ref": f"#/components/schemas/{name}", "components": components}
            checker = Draft202012Validator.FORMAT_CHECKER
            Draft202012Validator(schema, format_checker=checker).validate(message)

    return validate


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("audio", [SPEECH, b"", silence(1)], ids=["speech", "nothing", "silence"])
async def test_stream_is_valid(
    sandbox: SandboxProcess, validate: Validate, options: dict[str, Any], audio: bytes
) -> None:
    client = await transcribed(sandbox, audio, **options)

    validate(client.messages)
    assert client.of("Metadata")


async def test_everything_asked_for_is_there(sandbox: SandboxProcess, validate: Validate) -> None:
    async with listening(sandbox, **EVERYTHING) as client:
        await client.send(SPEECH)
        await client.tell(FINALIZE)
        await client.tell(CLOSE_STREAM)
        await client.closed()

    validate(client.messages)
    assert {message["type"] for message in client.messages} == {
        "Results",
        "Metadata",
        "SpeechStarted",
        "UtteranceEnd",
    }
