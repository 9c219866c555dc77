"""`POST /v1/listen`: what is asked becomes a job, and its result the answer."""

import json
import threading

import httpx
import pytest
from django.core.files.storage import storages

from jobs import quotas
from jobs.models import ApiKey, Project, Status, TranscriptionJob
from tests.conditions import wait_until
from tests.jobs.api.conftest import wav
from tests.sandbox.receiver import Receiver

LISTEN = "/v1/listen?model=nova-3&smart_format=true"
WAV = {"Content-Type": "audio/wav"}


def the_job() -> TranscriptionJob:
    return TranscriptionJob.objects.get()


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Its status and code; every refusal has an id and says in a header what is wrong."""
    body = response.json()
    assert response.headers["dg-request-id"] == body["request_id"]
    assert response.headers["dg-error"]
    return response.status_code, body.get("err_code") or body.get("category") or body["error_code"]


def test_the_answer_is_the_providers_own_bytes(client):
    response = client.post(LISTEN, content=wav(), headers=WAV)

    job = the_job()
    with storages["default"].open(job.transcripts.get().answer) as stored:
        assert response.content == stored.read()
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert response.headers["dg-request-id"] == response.json()["metadata"]["request_id"]
    assert response.headers["Transcription-Job"] == str(job.pk)
    assert (job.status, job.mode, job.options) == (
        "completed",
        "sync",
        {"model": "nova-3", "smart_format": True},
    )


def test_audio_of_any_content_type_and_in_chunks_is_taken(client):
    audio = wav(3)

    def in_chunks():
        for start in range(0, len(audio), 1000):
            yield audio[start : start + 1000]

    for content, kind in ((audio, "deepgram/audio+video"), (in_chunks(), "application/octet-stream")):
        response = client.post(LISTEN, content=content, headers={"Content-Type": kind})
        assert response.json()["metadata"]["duration"] == 3.0

    assert len({job.recording.sha256 for job in TranscriptionJob.objects.all()}) == 1


def test_raw_audio_is_what_its_options_say(client, worker):
    samples = wav(3)[44:]
    raw = "/v1/listen?model=nova-3&encoding={}&sample_rate=16000"

    pcm = client.post(raw.format("linear16"), content=samples)
    opus = client.post(raw.format("opus"), content=samples)

    assert pcm.json()["metadata"]["duration"] == 3.0
    # Of which the provider may think as it likes.
    assert opus.headers["Transcription-Job"]
    second, first = TranscriptionJob.objects.all()
    assert (first.mode, first.duration, first.recording.codec) == ("sync", 3.0, "linear16")
    assert (second.mode, second.recording.duration, second.receipt["rule"]) == (
        "async",
        None,
        "unknown_duration",
    )


def test_a_long_recording_goes_through_the_queue_while_the_connection_is_held(client, worker, settings):
    settings.ASYNC_MIN_SECONDS = 2

    response = client.post(LISTEN, content=wav(3), headers=WAV)

    assert response.json()["metadata"]["duration"] == 3.0
    assert (the_job().mode, the_job().receipt["rule"]) == ("async", "long")


def test_audio_is_fetched_from_its_url_by_a_worker(client, worker, settings):
    settings.FETCH_ALLOW_PRIVATE = True
    with Receiver() as server:
        server.files["/call.wav"] = wav(2)
        response = client.post(LISTEN, json={"url": f"{server.url}/call.wav"})

    assert response.json()["metadata"]["duration"] == 2.0
    assert the_job().recording.filename == "call.wav"


def test_what_does_not_come_in_time_is_a_504_and_goes_on(client, settings):
    settings.ASYNC_MIN_SECONDS, settings.GATEWAY_WAIT_SECONDS = 2, 0.1

    response = client.post(LISTEN, content=wav(3), headers=WAV)

    assert refusal(response) == (504, "GATEWAY_TIMEOUT")
    assert the_job().status == Status.QUEUED
    assert f"/api/v1/jobs/{the_job().pk}/" in response.json()["err_msg"]


def test_a_client_that_leaves_leaves_a_job_behind(gateway, key, provider):
    provider.set_faults("latency=1")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            gateway.http_url + LISTEN,
            content=wav(),
            headers={"Authorization": f"Token {key}", **WAV},
            timeout=0.5,
            trust_env=False,
        )

    wait_until(lambda: the_job().status == Status.COMPLETED)


def test_a_retry_is_waited_for(client, worker, provider, settings):
    settings.RETRY_BASE_SECONDS = 0.1
    provider.set_faults({"fault": "status=500", "first": 1})

    response = client.post(LISTEN, content=wav(), headers=WAV)

    assert response.status_code == 200
    assert the_job().attempts == 2


def test_a_job_that_is_cancelled_or_deleted_meanwhile_is_no_more_waited_for(gateway, key, settings):
    settings.ASYNC_MIN_SECONDS = 2

    for end in (lambda: TranscriptionJob.objects.open().end_all(), TranscriptionJob.objects.all().delete):
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(  # noqa: B023 (it ends in the loop)
                httpx.post(
                    gateway.http_url + LISTEN,
                    content=wav(3),
                    headers={"Authorization": f"Token {key}", **WAV},
                    timeout=60,
                    trust_env=False,
                )
            )
        )
        asking.start()
        wait_until(TranscriptionJob.objects.open().exists)
        end()
        asking.join()
        assert refusal(answers[0]) == (499, "CANCELLED")


def test_tags_are_kept_and_what_is_ours_to_say_is_not_asked(client, provider):
    client.post(
        LISTEN + "&tag=a&tag=b&mip_opt_out=false&no_such_option=1&interim_results=true",
        content=wav(),
        headers=WAV,
    )

    assert the_job().tags == ["a", "b"]
    assert the_job().options == {"model": "nova-3", "smart_format": True}
    sent = provider.requests()["recent"][-1]
    assert "no_such_option" not in json.dumps(sent)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("punctuate=perhaps", "punctuate: must be true or false"),
        ("encoding=linear16", "encoding: describes raw audio"),
        ("tag=" + "x" * 129, "tag: must have at most 128 characters"),
        ("tag=%00", "tag: must not contain control characters"),
        ("callback=https://example.com/&callback_method=GET", "callback_method: must be one of POST, PUT"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_before_the_audio_is_sent(client, query, told):
    response = client.post(f"/v1/listen?{query}", content=wav(), headers=WAV)

    assert refusal(response) == (400, "INVALID_QUERY_PARAMETER")
    assert told in response.json()["err_msg"]
    assert not TranscriptionJob.objects.exists()


@pytest.mark.parametrize(
    ("content", "kind", "told"),
    [
        (b"", "audio/wav", (400, "Bad Request")),
        (b"this is no audio", "audio/wav", (400, "Bad Request")),
        (b'{"url": "https://example.com/a.wav"}', "audio/wav", (400, "Bad Request")),
        (b"", "application/json", (400, "INVALID_JSON")),
        (b"{", "application/json", (400, "INVALID_JSON")),
        (b'["https://example.com/a.wav"]', "application/json", (400, "INVALID_JSON")),
        (b'{"url": 5}', "application/json", (400, "INVALID_JSON")),
        (b'{"url": "ftp://example.com/a.wav"}', "application/json", (400, "REMOTE_CONTENT_ERROR")),
        (b'{"url": "http://10.0.0.1/a.wav"}', "application/json", (400, "REMOTE_CONTENT_ERROR")),
        (b'{"url": "http://localhost/a.wav"}', "application/json", (400, "REMOTE_CONTENT_ERROR")),
    ],
)
def test_a_body_that_cannot_be_transcribed_is_refused_as_by_deepgram(client, settings, content, kind, told):
    settings.FETCH_ALLOW_PRIVATE = False

    response = client.post(LISTEN, content=content, headers={"Content-Type": kind})

    assert refusal(response) == told
    assert not TranscriptionJob.objects.exists()


def test_more_than_is_accepted_is_refused_also_in_chunks(client, settings):
    settings.MAX_UPLOAD_BYTES = 10_000

    for content in (wav(), iter([wav()])):
        assert refusal(client.post(LISTEN, content=content, headers=WAV)) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("authorization", ["", "Token", "Token nonsense", "Bearer nonsense", "Basic eDp5"])
def test_who_cannot_be_known_is_refused(gateway, transactional_db, authorization):
    response = httpx.post(
        gateway.http_url + LISTEN, content=wav(), headers={"Authorization": authorization}, trust_env=False
    )

    assert refusal(response) == (401, "INVALID_AUTH")


def test_a_key_that_may_only_look_submits_nothing(gateway, project):
    text = ApiKey.objects.issue(project, "looks", scopes=["read"])[1]
    response = httpx.post(
        gateway.http_url + LISTEN, content=wav(), headers={"Authorization": f"Token {text}"}, trust_env=False
    )

    assert refusal(response) == (403, "INSUFFICIENT_PERMISSIONS")


def test_a_key_at_its_limit_is_told_when_to_try_again(gateway, project):
    text = ApiKey.objects.issue(project, "slow", requests_per_minute=1)[1]
    ask = {
        "content": wav(),
        "headers": {"Authorization": f"token {text}", **WAV},
        "timeout": 60,
        "trust_env": False,
    }
    httpx.post(gateway.http_url + LISTEN, **ask)

    response = httpx.post(gateway.http_url + LISTEN, **ask)

    assert refusal(response) == (429, "TOO_MANY_REQUESTS")
    assert int(response.headers["Retry-After"]) > 0


def test_too_much_audio_for_the_day_is_refused_in_deepgrams_shape(client, project):
    Project.objects.update(daily_minutes=1)
    quotas.count(project.pk, 58)

    taken, refused = (client.post(LISTEN, content=wav(2), headers=WAV) for _ in range(2))

    assert taken.status_code == 200
    assert refusal(refused) == (429, "TOO_MANY_REQUESTS")
    assert "1 min of audio a day" in refused.json()["err_msg"]
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400


def test_what_the_provider_refuses_is_refused_in_its_words(client):
    response = client.post("/v1/listen?model=nova-99", content=wav(), headers=WAV)

    assert refusal(response) == (400, "Bad Request")
    assert response.json()["err_msg"] == "No such model/language/tier combination found."
    assert the_job().status == Status.FAILED


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("GET", "/v1/listen", (405, "METHOD_NOT_ALLOWED")),
        ("POST", "/v2/listen", (404, "NOT_FOUND")),
        ("GET", "/v1/no-such-thing", (404, "NOT_FOUND")),
    ],
)
def test_what_is_not_there_is_said_in_deepgrams_shape(client, method, path, told):
    assert refusal(client.request(method, path)) == told
