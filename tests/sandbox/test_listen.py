import hashlib
import io
import json
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import av
import httpx
import psutil
import pytest

from sandbox.engines.tones import said, spoken_words, text_of
from tests.sandbox.receiver import Receiver
from tests.sandbox.sounds import wav
from tests.sandbox_process import SandboxProcess

RECORDING = wav(8)
JSON = {"content-type": "application/json"}


def encoded(seconds: float, container: str, codec: str, rate: int = 48_000) -> bytes:
    """Silence as FFmpeg writes it, into something that cannot be sought, as browsers stream it."""
    file = io.BytesIO()
    pipe = type("Pipe", (), {"write": lambda self, data: file.write(data)})()
    with av.open(pipe, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        for start in range(0, round(seconds * rate), 960):
            frame = av.AudioFrame(format="s16", layout="mono", samples=960)
            frame.rate, frame.pts = rate, start
            frame.planes[0].update(bytes(1920))
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def transcript(answer: httpx.Response, channel: int = 0) -> str:
    return answer.json()["results"]["channels"][channel]["alternatives"][0]["transcript"]


def test_recording_is_described_in_the_answer(client: httpx.Client) -> None:
    answer = client.post("/v1/listen", params={"model": "nova-3", "tag": ["a", "b"]}, content=RECORDING)

    metadata = answer.json()["metadata"]
    assert answer.status_code == 200
    assert metadata["sha256"] == hashlib.sha256(RECORDING).hexdigest()
    assert metadata["duration"] == 8.0
    assert metadata["tags"] == ["a", "b"]
    assert metadata["request_id"] == answer.headers["dg-request-id"] == str(uuid.UUID(metadata["request_id"]))
    assert metadata["model_info"][metadata["models"][0]]["name"] == "scripted (no speech recognition)"


@pytest.mark.parametrize(
    "content_type", ["audio/wav", "application/octet-stream", "deepgram/audio+video", None]
)
def test_any_content_type_is_audio(client: httpx.Client, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}

    assert client.post("/v1/listen", content=RECORDING, headers=headers).status_code == 200


def test_chunked_upload_is_the_same_recording(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(RECORDING), 1000):
            yield RECORDING[start : start + 1000]

    answer = client.post("/v1/listen", content=chunks())

    assert answer.json()["metadata"]["sha256"] == hashlib.sha256(RECORDING).hexdigest()


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("wav", "pcm_s24le"),
        ("wav", "pcm_mulaw"),
        ("webm", "libopus"),
        ("ogg", "libopus"),
        ("flac", "flac"),
        ("mp3", "libmp3lame"),
        ("adts", "aac"),
    ],
)
def test_compressed_recordings_that_were_streamed_have_their_length(
    client: httpx.Client, container: str, codec: str
) -> None:
    answer = client.post("/v1/listen", content=encoded(3, container, codec))

    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"]["duration"] == pytest.approx(3, abs=0.15)


@pytest.mark.parametrize(("encoding", "sample_bytes"), [("linear16", 2), ("mulaw", 1), ("alaw", 1)])
def test_raw_audio_is_read_by_its_parameters(client: httpx.Client, encoding: str, sample_bytes: int) -> None:
    parameters = {"encoding": encoding, "sample_rate": 8000, "channels": 2, "multichannel": "true"}

    answer = client.post("/v1/listen", params=parameters, content=bytes(5 * 8000 * 2 * sample_bytes))

    assert answer.json()["metadata"]["duration"] == 5.0
    assert answer.json()["metadata"]["channels"] == 2


def test_header_of_a_recording_outweighs_the_encoding_parameter(client: httpx.Client) -> None:
    parameters = {"encoding": "mulaw", "sample_rate": 8000}

    assert (
        client.post("/v1/listen", params=parameters, content=RECORDING).json()["metadata"]["duration"] == 8.0
    )


def test_channels_are_mixed_unless_asked_for(client: httpx.Client) -> None:
    stereo = wav(4, channels=2)

    mixed = client.post("/v1/listen", content=stereo)
    apart = client.post("/v1/listen", params={"multichannel": "true", "utterances": "true"}, content=stereo)

    assert mixed.json()["metadata"]["channels"] == 1
    assert apart.json()["metadata"]["channels"] == len(apart.json()["results"]["channels"]) == 2
    assert transcript(apart, 0) != transcript(apart, 1)
    assert {utterance["channel"] for utterance in apart.json()["results"]["utterances"]} == {0, 1}


def test_scripted_transcript_is_what_was_said(client: httpx.Client, sandbox: SandboxProcess) -> None:
    sandbox.set_transcript("It was the best of times.")

    answer = client.post("/v1/listen", params={"punctuate": "true"}, content=RECORDING)

    assert transcript(answer) == "It was the best of times."
    assert answer.json()["results"]["channels"][0]["alternatives"][0]["words"][-1]["end"] == 8.0


def test_same_recording_gets_the_same_words(client: httpx.Client) -> None:
    first, second = (client.post("/v1/listen", content=RECORDING) for _ in range(2))

    assert transcript(first) == transcript(second) != ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"this is no recording" * 100,
        RECORDING[:20],
        json.dumps({"url": "http://127.0.0.1/"}).encode(),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    ],
    ids=["empty", "text", "header only", "JSON as audio", "playlist", "concat script"],
)
def test_what_is_no_audio_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v1/listen", content=body)

    assert answer.status_code == 400
    assert answer.json() == {
        "err_code": "Bad Request",
        "err_msg": "Bad Request: failed to process audio: corrupt or unsupported data",
        "request_id": answer.headers["dg-request-id"],
    }
    assert answer.headers["dg-error"] == answer.json()["err_msg"]


def test_recording_cut_short_is_transcribed_as_far_as_it_goes(client: httpx.Client) -> None:
    answer = client.post("/v1/listen", content=RECORDING[: len(RECORDING) // 2])

    assert answer.json()["metadata"]["duration"] == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"url": 1}', b"", b'"x"', b"\xff"])
def test_json_without_an_address_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v1/listen", content=body, headers=JSON)

    assert answer.status_code == 400
    assert answer.json()["category"] == "INVALID_JSON"
    assert answer.json()["request_id"] == answer.headers["dg-request-id"]


def test_remote_recording_is_fetched(client: httpx.Client, receiver: Receiver) -> None:
    receiver.files["/a.wav"] = RECORDING

    answer = client.post("/v1/listen", json={"url": receiver.url + "/a.wav"})

    assert answer.json()["metadata"]["sha256"] == hashlib.sha256(RECORDING).hexdigest()


def test_remote_recording_that_is_not_there_is_refused(client: httpx.Client, receiver: Receiver) -> None:
    answer = client.post("/v1/listen", json={"url": receiver.url + "/none.wav"})

    assert answer.status_code == 400
    assert answer.json()["err_code"] == "REMOTE_CONTENT_ERROR"
    assert "404 Not Found" in answer.json()["err_msg"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.wav", "http://host.invalid/", "file:///etc/passwd", "http://["]
)
def test_remote_recording_out_of_reach_is_refused(client: httpx.Client, url: str) -> None:
    answer = client.post("/v1/listen", json={"url": url})

    assert (answer.status_code, answer.json()["err_code"]) == (400, "REMOTE_CONTENT_ERROR")


@pytest.mark.parametrize("announced", [True, False], ids=["with a length", "chunked"])
def test_recording_over_the_limit_is_refused(client: httpx.Client, announced: bool) -> None:
    chunks = (bytes(100_000) for _ in range(20))

    answer = client.post("/v1/listen", content=bytes(2_000_000) if announced else chunks)

    assert answer.status_code == 413
    assert answer.json()["err_code"] == "PAYLOAD_TOO_LARGE"


def test_query_is_refused_in_deepgrams_words(client: httpx.Client) -> None:
    answer = client.post("/v1/listen?punctuate=maybe", content=RECORDING)

    assert answer.status_code == 400
    assert answer.json()["err_code"] == "INVALID_QUERY_PARAMETER"
    assert answer.headers["dg-error"].startswith("Failed to deserialize query parameters")


def test_requests_over_the_concurrency_limit_are_refused() -> None:
    with SandboxProcess("--max-concurrent", "2") as sandbox, ThreadPoolExecutor(3) as threads:
        sandbox.set_faults({"fault": "latency=1", "first": 2})

        def post(_: int) -> int:
            headers = {"authorization": "Token k"}
            return httpx.post(
                sandbox.url + "/v1/listen", content=RECORDING, headers=headers, trust_env=False
            ).status_code

        held = [threads.submit(post, n) for n in range(2)]
        deadline = time.monotonic() + 10
        while sandbox.requests()["active"] < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = post(2)

        assert refused == 429
        assert [future.result() for future in held] == [200, 200]
        assert sandbox.requests()["peak"] == 3


def test_memory_stays_constant_while_a_large_recording_comes_in() -> None:
    size = 200_000_000
    with SandboxProcess() as sandbox:
        process = psutil.Process(sandbox.pid)
        headers = {"authorization": "Token k", "content-length": str(44 + size)}

        def body() -> Iterator[bytes]:
            yield wav(0)[:4] + (36 + size).to_bytes(4, "little") + wav(0)[8:40] + size.to_bytes(4, "little")
            for _ in range(size // 1_000_000):
                yield bytes(1_000_000)

        before = process.memory_info().rss
        answer = httpx.post(
            sandbox.url + "/v1/listen", content=body(), headers=headers, timeout=60, trust_env=False
        )

        # Linux keeps the peak of a process; it must have had far less of the upload than all of it.
        with open(f"/proc/{sandbox.pid}/status") as status:
            peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
        assert answer.json()["metadata"]["duration"] == 6250.0
        assert peak - before < 100_000_000


def test_client_that_hangs_up_leaves_no_answer_and_no_file(sandbox: SandboxProcess) -> None:
    host, port = sandbox.url.removeprefix("http://").split(":")
    head = "POST /v1/listen HTTP/1.1\r\nhost: x\r\nauthorization: Token k\r\ncontent-length: 1000\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"some")

    deadline = time.monotonic() + 10
    while sandbox.requests()["by_status"] != {"None": 1} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sandbox.requests()["by_status"] == {"None": 1}
    assert not [file for file in psutil.Process(sandbox.pid).open_files() if "sandbox-" in file.path]


@pytest.mark.parametrize("offset", [0, 3.3, 8.05])
def test_speech_of_tones_is_heard_as_live(client: httpx.Client, offset: float) -> None:
    text = text_of(24)
    parameters = {"encoding": "linear16", "sample_rate": 8000}

    answer = client.post("/v1/listen", params=parameters, content=said(text, 8000)[int(8000 * offset) * 2 :])

    words = [word["word"] for word in answer.json()["results"]["channels"][0]["alternatives"][0]["words"]]
    whole = [word.bare for word in spoken_words(text) if word.start >= offset]
    assert words[-len(whole) :] == whole
    assert len(words) <= len(whole) + 1
