"""`WS /v1/listen` over the wire, with the scripted engine."""

import asyncio
import hashlib
import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from sandbox.engines.tones import said, spoken_words, text_of
from tests.sandbox.live_client import CLOSE_STREAM, FINALIZE, listening, transcribed
from tests.sandbox.sounds import contained
from tests.sandbox_process import SandboxProcess

TEXT = text_of(24)
SPEECH = said(TEXT)
SAID = " ".join(word.bare for word in spoken_words(TEXT))


@pytest.fixture(scope="module")
def impatient_sandbox():
    """Closes silent connections soon."""
    with SandboxProcess("--silence-seconds", "1.5", "--max-streams", "3", keys=["a-key"]) as sandbox:
        yield sandbox


async def test_what_was_said_is_heard(sandbox: SandboxProcess) -> None:
    client = await transcribed(sandbox, SPEECH)

    assert client.text() == SAID
    starts = [word["start"] for word in client.words()]
    assert starts == pytest.approx([word.start for word in spoken_words(TEXT)], abs=0.002)


async def test_only_finals_are_sent_unless_interims_are_asked_for(sandbox: SandboxProcess) -> None:
    plain = await transcribed(sandbox, SPEECH)
    full = await transcribed(
        sandbox, SPEECH, interim_results="true", vad_events="TRUE", utterance_end_ms=1000
    )

    assert {message["type"] for message in plain.messages} == {"Results", "Metadata"}
    assert plain.finals() == plain.of("Results")
    assert len(full.of("Results")) > len(full.finals())
    assert {message["type"] for message in full.messages} >= {"Results", "Metadata", "SpeechStarted"}


async def test_nothing_is_sent_on_open_and_metadata_last(sandbox: SandboxProcess) -> None:
    client = await transcribed(sandbox, SPEECH)

    assert client.messages[0]["type"] == "Results"
    metadata = client.messages[-1]
    assert metadata["type"] == "Metadata"
    assert metadata["request_id"] == client.request_id == client.messages[0]["metadata"]["request_id"]
    assert metadata["duration"] == pytest.approx(len(SPEECH) / 32_000)
    assert metadata["sha256"] == hashlib.sha256(SPEECH).hexdigest()


async def test_empty_frame_ends_the_stream(sandbox: SandboxProcess) -> None:
    async with listening(sandbox) as client:
        await client.send(said("baba"))
        await client.socket.send(b"")

        assert await client.closed() == (1000, "")
        assert client.text() == "baba"


async def test_stream_without_audio_has_empty_metadata(sandbox: SandboxProcess) -> None:
    client = await transcribed(sandbox, b"")

    [metadata] = client.messages
    assert (metadata["duration"], metadata["channels"], metadata["models"]) == (0, 0, [])


async def test_finalize_is_answered_at_once_and_the_stream_goes_on(sandbox: SandboxProcess) -> None:
    async with listening(sandbox) as client:
        await client.send(said("baba bebe"))
        await client.tell(FINALIZE)
        first = await client.next("Results")
        await client.send(said("bibi"))
        await client.tell(CLOSE_STREAM)
        await client.closed()

    assert (first["is_final"], first["from_finalize"], first["speech_final"]) == (True, True, False)
    assert first["channel"]["alternatives"][0]["transcript"] == "baba bebe"
    assert client.text() == "baba bebe bibi"


async def test_end_of_utterance_names_the_last_word(sandbox: SandboxProcess) -> None:
    client = await transcribed(sandbox, said("baba bebe") + bytes(64_000), utterance_end_ms=1000)

    [end] = client.of("UtteranceEnd")
    assert end["last_word_end"] == pytest.approx(0.65, abs=0.002)


async def test_formatting_is_as_asked(sandbox: SandboxProcess) -> None:
    client = await transcribed(
        sandbox,
        SPEECH,
        smart_format="true",
        diarize="true",
        language="multi",
        replace="bebi:boat",
        keyterm="BABO",
    )

    first = client.finals()[0]["channel"]["alternatives"][0]
    assert first["transcript"].startswith("Baba babe babi BABO")
    assert first["words"][0]["punctuated_word"] == "Baba"
    assert {word["speaker"] for word in client.words()} == {0, 1}
    assert first["languages"] == ["en"]


@pytest.mark.parametrize(
    ("model", "keyterms", "answer"),
    [
        ("nova-3", ["BABA"], "ConfigureSuccess"),
        ("nova-3", ["a"] * 101, "ConfigureFailure"),
        ("nova-2", ["a"], "ConfigureFailure"),
    ],
)
async def test_configure_is_answered_once(
    sandbox: SandboxProcess, model: str, keyterms: list[str], answer: str
) -> None:
    async with listening(sandbox, model=model) as client:
        await client.tell({"type": "Configure", "keyterms": keyterms})
        await client.send(said("baba"))
        await client.tell(CLOSE_STREAM)
        await client.closed()

    kinds = [message["type"] for message in client.messages]
    assert kinds == [answer, "Results", "Metadata"]


@pytest.mark.parametrize("text", ["hello", "[]", "{}", '{"type": "Dance"}', '{"type": 1}', "😀"])
async def test_text_that_is_no_message_is_an_error_and_the_stream_goes_on(
    sandbox: SandboxProcess, text: str
) -> None:
    async with listening(sandbox) as client:
        await client.socket.send(text)
        error = await client.next("Error")
        await client.send(said("baba"))
        await client.tell(CLOSE_STREAM)
        await client.closed()

    assert (error["variant"], error["message"]) == ("SchemaError", text)
    assert client.text() == "baba"


async def test_silent_connection_is_closed(impatient_sandbox: SandboxProcess) -> None:
    async with listening(impatient_sandbox) as client:
        await client.send(said("baba"))
        code, reason = await client.closed()

    assert code == 1011
    assert reason is not None
    assert reason.endswith("net0001")
    assert client.messages[-1]["sha256"] == "incomplete"


async def test_keepalive_does_not_keep_a_stream_that_never_had_audio(
    impatient_sandbox: SandboxProcess,
) -> None:
    async with listening(impatient_sandbox) as client:
        async with asyncio.TaskGroup() as tasks:
            closed = tasks.create_task(client.closed())
            while not closed.done():
                await client.keep_alive(0.2)

        assert closed.result()[0] == 1011


async def test_keepalive_keeps_a_stream_that_had_audio(impatient_sandbox: SandboxProcess) -> None:
    async with listening(impatient_sandbox) as client:
        await client.send(said("baba"))
        for _ in range(16):
            await client.keep_alive(0.2)
        await client.send(said("bebe"))
        await client.tell(CLOSE_STREAM)

        assert await client.closed() == (1000, "")
        assert client.text() == "baba bebe"


async def test_clock_interrupts_nothing(impatient_sandbox: SandboxProcess) -> None:
    data = contained(SPEECH, "webm", "libopus")

    async with listening(impatient_sandbox, encoding="", sample_rate="") as client:
        for start in range(0, len(data), len(data) // 100):
            await client.socket.send(data[start : start + len(data) // 100])
            await asyncio.sleep(0.03)
        await client.tell(CLOSE_STREAM)

        assert await client.closed() == (1000, "")
        assert client.text() == SAID


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"model": "nonsense"}, 400, "Bad Request"),
        ({"model": ""}, 400, "INVALID_QUERY_PARAMETER"),
        ({"sample_rate": ""}, 400, "INVALID_QUERY_PARAMETER"),
        ({"utterance_end_ms": 10}, 400, "INVALID_QUERY_PARAMETER"),
        ({"endpointing": "soon"}, 400, "INVALID_QUERY_PARAMETER"),
        ({"subprotocols": ["token", "invalid"]}, 401, "INVALID_AUTH"),
        ({"fault": "refuse=402"}, 402, "ASR_PAYMENT_REQUIRED"),
        ({"fault": "refuse=429;retry_after=3"}, 429, "TOO_MANY_REQUESTS"),
        ({"fault": "hang"}, 400, "INVALID_QUERY_PARAMETER"),
    ],
)
async def test_refused_handshake_says_why(
    sandbox: SandboxProcess, options: dict[str, Any], status: int, code: str
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with listening(sandbox, **options):
            pass

    answer = caught.value.response
    assert answer.status_code == status
    assert answer.headers["dg-error"]
    body = json.loads(answer.body)
    assert body["err_code"] == code
    assert body["request_id"] == answer.headers["dg-request-id"]
    assert answer.headers.get("retry-after") == ("3" if status == 429 else None)
    assert sandbox.streams()["recent"][-1]["status"] == status


@pytest.mark.parametrize("key", ["a-key", "other"])
async def test_subprotocol_authenticates_and_is_echoed_without_the_key(
    impatient_sandbox: SandboxProcess, key: str
) -> None:
    if key == "other":
        with pytest.raises(InvalidStatus):
            async with listening(impatient_sandbox, subprotocols=["token", key]):
                pass
        return
    async with listening(impatient_sandbox, subprotocols=["token", key]) as client:
        assert client.socket.subprotocol == "token"
        assert client.socket.response is not None
        assert key not in str(client.socket.response.headers)


async def test_more_streams_than_allowed_are_refused(impatient_sandbox: SandboxProcess) -> None:
    async with (
        listening(impatient_sandbox),
        listening(impatient_sandbox),
        listening(impatient_sandbox),
    ):
        with pytest.raises(InvalidStatus) as caught:
            async with listening(impatient_sandbox):
                pass

    assert caught.value.response.status_code == 429


async def test_journal_tells_of_each_connection(sandbox: SandboxProcess) -> None:
    client = await transcribed(sandbox, SPEECH)

    [entry] = sandbox.streams()["recent"]
    assert entry["id"] == client.request_id
    assert entry["audio_bytes"] == len(SPEECH)
    assert entry["audio_seconds"] == pytest.approx(len(SPEECH) / 32_000)
    assert entry["texts"] == {"CloseStream": 1}
    assert (entry["code"], entry["finals"]) == (1000, len(client.finals()))
    assert entry["too_fast_seconds"] > 1


class TestFaults:
    """Of audio time, unless they say `wall`."""

    async def test_drop_ends_without_a_word(self, sandbox: SandboxProcess) -> None:
        async with listening(sandbox, fault="drop=2") as client:
            await client.send(SPEECH[: 32_000 * 2])

            assert (await client.closed())[0] == 1006

        assert sandbox.streams()["recent"][0]["code"] == 1006

    async def test_drop_after_wall_time_needs_no_audio(self, sandbox: SandboxProcess) -> None:
        async with listening(sandbox, fault="drop=0.1;of=wall") as client:
            assert (await client.closed())[0] == 1006

    @pytest.mark.parametrize(("name", "code"), [("net0000", 1011), ("net0001", 1011), ("data0000", 1008)])
    async def test_close_has_deepgrams_reason(self, sandbox: SandboxProcess, name: str, code: int) -> None:
        async with listening(sandbox, fault=f"close={name};after=1") as client:
            await client.send(SPEECH[:32_000])

            closed, reason = await client.closed()

        assert closed == code
        assert reason is not None
        assert reason.endswith(name)

    async def test_close_takes_any_code(self, sandbox: SandboxProcess) -> None:
        async with listening(sandbox, fault="close=4321") as client:
            await client.send(bytes(320))

            assert (await client.closed())[0] == 4321

    async def test_stalled_connection_answers_nothing(self, sandbox: SandboxProcess) -> None:
        async with listening(sandbox, fault="stall=1") as client:
            await client.send(SPEECH[:32_000])
            # What was already on its way may still be read.
            with pytest.raises(TimeoutError):
                for _ in range(10):
                    await asyncio.wait_for(await client.socket.ping(), 0.5)
            client.socket.transport.abort()

    async def test_mute_connection_answers_pings_alone(self, sandbox: SandboxProcess) -> None:
        async with listening(sandbox, fault="mute=0") as client:
            await client.send(SPEECH)
            await asyncio.wait_for(await client.socket.ping(), 60)
            assert client.messages == []

    async def test_lag_delays_every_message(self, sandbox: SandboxProcess) -> None:
        begun = asyncio.get_running_loop().time()

        client = await transcribed(sandbox, SPEECH, fault="lag=0.4")

        assert asyncio.get_running_loop().time() - begun >= 0.4
        assert client.text() == SAID

    async def test_late_connection_works(self, sandbox: SandboxProcess) -> None:
        begun = asyncio.get_running_loop().time()

        await transcribed(sandbox, SPEECH, fault="connect_late=0.3")

        assert asyncio.get_running_loop().time() - begun >= 0.3

    async def test_schedule_is_for_connections_as_for_requests(self, sandbox: SandboxProcess) -> None:
        sandbox.set_faults({"fault": "status=500"}, {"fault": "refuse=503", "first": 1})

        with pytest.raises(InvalidStatus):
            await transcribed(sandbox, SPEECH)
        client = await transcribed(sandbox, SPEECH)

        assert client.text() == SAID
        assert [rule["matched"] for rule in sandbox.faults()] == [0, 2]
