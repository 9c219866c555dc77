"""POST /api/v1/jobs/: what is accepted in which form, and how it is answered."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs.api import parsers
from jobs.audio import ingestion
from jobs.forgetting.deletion import delete_job
from jobs.models import Priority, Recording, Status, TranscriptionJob
from jobs.running import sync
from jobs.transcripts.options import DEFAULTS
from tests.conditions import wait_until
from tests.jobs.api.conftest import JOBS, error_of, run_queued, upload, wav
from tests.routing.peer import Peer, answering

URL = "https://example.com/a.wav"


def post_json(client: Client, body, **extra):
    return client.post(JOBS, body, content_type="application/json", **extra)


@pytest.mark.django_db(transaction=True)
def test_a_short_recording_comes_back_transcribed(api, provider):
    provider.set_transcript("hello there")

    response = api.post(JOBS, {"file": upload()})

    job = response.json()
    assert response.status_code == 201, job
    assert (job["status"], job["mode"], job["receipt"]["rule"]) == ("completed", "sync", "short")
    assert job["transcript"]["text"] == "hello there"
    assert job["transcript"]["version"] == 1
    assert job["recording"] | {"id": None, "sha256": None} == {
        "id": None,
        "filename": "call.wav",
        "size": len(wav()),
        "sha256": None,
        "duration": 1.0,
        "channels": 1,
    }
    assert response["Location"] == f"http://testserver{JOBS}{job['id']}/"


@pytest.mark.django_db(transaction=True)
def test_a_recording_that_the_provider_rejects_is_a_finished_job(api, provider):
    provider.set_faults("status=400")

    response = api.post(JOBS, {"file": upload(), "mode": "sync"})

    assert response.status_code == 201
    assert response.json()["status"] == "failed"
    assert response.json()["error"]["code"]


@pytest.mark.django_db(transaction=True)
def test_an_async_submission_is_queued_and_then_run_by_a_worker(api, provider):
    response = api.post(JOBS, {"file": upload(), "mode": "async"})

    job = response.json()
    assert response.status_code == 202
    assert (job["status"], job["position"], job["transcript"]) == ("queued", None, None)
    run_queued()
    finished = api.get(f"{JOBS}{job['id']}/").json()
    assert finished["status"] == "completed"
    assert finished["transcript"]["text"]
    assert finished["position"] is None


def test_a_url_is_queued_for_the_provider_to_fetch(api):
    response = post_json(api, {"url": URL})

    job = response.json()
    assert response.status_code == 202
    assert (job["url"], job["recording"], job["duration"]) == (URL, None, None)
    assert job["receipt"]["rule"] == "unknown_duration"
    assert job["options"] == dict(DEFAULTS)


@pytest.mark.parametrize("content_type", ["audio/wav", "video/mp4", "application/octet-stream"])
def test_the_body_may_be_the_recording_with_the_fields_in_the_query(api, content_type):
    query = {"mode": "async", "tags": ["a", "b"], "options": '{"punctuate": true}', "metadata": '{"n": 1}'}

    response = api.post(JOBS, wav(), content_type=content_type, query_params=query)

    job = response.json()
    assert response.status_code == 202, job
    assert job["recording"]["size"] == len(wav())
    assert (job["tags"], job["metadata"], job["options"]["punctuate"]) == (["a", "b"], {"n": 1}, True)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, None),
        ("attachment", None),
        ('attachment; filename="call.wav"', "call.wav"),
        ("attachment; filename*=UTF-8''%C3%BCber%20uns.wav", "über uns.wav"),
        ('attachment; filename="C:\\calls/../call.wav"', "call.wav"),
    ],
)
def test_a_recording_as_the_body_is_called_what_its_sender_says(api, header, name):
    headers = {"Content-Disposition": header} if header else {}

    job = api.post(f"{JOBS}?mode=async", wav(), content_type="audio/wav", headers=headers).json()

    assert job["recording"]["filename"] == name
    audio = api.get(f"{JOBS}{job['id']}/audio/")
    audio.close()
    assert ".upload" not in audio["Content-Disposition"]


def test_a_name_that_cannot_be_read_is_refused(api):
    headers = {"Content-Disposition": "attachment; filename*=nonsense''x.wav"}

    response = api.post(JOBS, wav(), content_type="audio/wav", headers=headers)

    assert (response.status_code, error_of(response)["code"]) == (400, "bad_request")
    assert "Content-Disposition" in error_of(response)["message"]


@pytest.mark.parametrize("content_type", ["audio/wav", "application/json", "application/octet-stream"])
def test_a_body_without_anything_is_called_empty(api, content_type):
    response = api.post(JOBS, b"", content_type=content_type)

    assert (response.status_code, error_of(response)["code"]) == (400, "bad_request")
    assert error_of(response)["message"].startswith("The body is empty.")


def test_all_fields_of_a_json_submission_are_kept(api):
    asked = {
        "url": URL,
        "region": "default",
        "callback_url": "https://example.com/hook",
        "metadata": {"call": {"id": 7}},
        "tags": ["support", "de"],
        "priority": "high",
        "batch": None,
        "options": {"model": "nova-2", "language": "de"},
    }

    response = post_json(api, asked)

    job = response.json()
    assert response.status_code == 202, job
    assert {name: job[name] for name in ("region", "metadata", "tags", "priority", "batch")} == {
        name: asked[name] for name in ("region", "metadata", "tags", "priority", "batch")
    }
    assert job["options"] == {**DEFAULTS, "model": "nova-2", "language": "de"}
    row = TranscriptionJob.objects.get()
    assert (row.callback_url, row.pinned, row.priority) == (asked["callback_url"], True, Priority.HIGH)
    assert row.key is not None


def test_fields_of_a_form_may_be_json(api):
    form = {
        "file": upload(),
        "mode": "async",
        "metadata": json.dumps({"call": 7}),
        "options": json.dumps({"diarize": True}),
        "tags": json.dumps(["x", "y"]),
        "priority": "low",
        "region": "",
    }

    job = api.post(JOBS, form).json()

    assert (job["metadata"], job["tags"], job["priority"]) == ({"call": 7}, ["x", "y"], "low")
    assert job["options"]["diarize"] is True


FIELDS = (
    "mode",
    "region",
    "callback_url",
    "metadata",
    "tags",
    "priority",
    "batch",
    "options",
    "project",
    "url",
)


@pytest.mark.parametrize("tag", ["[vip] acme", "[1]", "["])
def test_a_tag_in_json_is_what_it_says(api, tag):
    assert post_json(api, {"url": URL, "tags": [tag]}).json()["tags"] == [tag]


def test_what_is_not_the_json_of_a_list_is_refused_in_a_form(api):
    error = error_of(api.post(JOBS, {"file": upload(), "mode": "async", "tags": "[vip] acme"}))

    assert "JSON of a list" in error["details"]["tags"][0]


def test_an_empty_value_in_a_form_is_as_if_not_given(api):
    response = api.post(JOBS, {**dict.fromkeys(FIELDS, ""), "file": upload(), "mode": "async"})

    job = response.json()
    assert response.status_code == 202, job
    assert (job["tags"], job["metadata"], job["options"]) == ([], {}, dict(DEFAULTS))


def test_an_empty_value_in_the_query_is_as_if_not_given(api):
    query = dict.fromkeys(FIELDS, "") | {"tags": ["", "a"], "priority": "low"}

    response = api.post(
        JOBS, wav(), content_type="audio/wav", query_params=query, headers={"Prefer": "respond-async"}
    )

    job = response.json()
    assert response.status_code == 202, job
    assert (job["tags"], job["priority"]) == (["a"], "low")


@pytest.mark.parametrize("files", [{"file": [upload(), upload()]}, {"file": [upload(), "call.wav"]}])
def test_a_second_file_is_refused_and_not_dropped(api, files):
    for file in files["file"]:
        getattr(file, "seek", id)(0)

    response = api.post(JOBS, files)

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "validation_error")
    assert "one file" in error["details"]["file"][0]
    assert not Recording.objects.exists()


def test_what_is_wrong_with_the_whole_is_told_without_a_field(api):
    response = post_json(api, {})

    assert error_of(response)["message"] == "Give a file, a url or an upload, and only one of them."


def test_null_is_as_if_not_given(api):
    nothing = dict.fromkeys(
        ("mode", "region", "callback_url", "metadata", "tags", "priority", "batch", "options", "project")
    )

    response = post_json(api, {"url": URL, **nothing})

    assert response.status_code == 202, response.json()


@pytest.mark.django_db(transaction=True)
def test_a_recording_that_is_fetched_while_its_caller_waits_is_shown(api, provider, settings):
    settings.FETCH_ALLOW_PRIVATE = True

    with Peer(answering(200, wav())) as peer:
        response = post_json(api, {"url": f"{peer.url}/call.wav", "mode": "sync"})
    ingestion._client(True).close()
    ingestion._client.cache_clear()

    job = response.json()
    assert (response.status_code, job["status"]) == (201, "completed"), job
    assert job["recording"]["sha256"] == hashlib.sha256(wav()).hexdigest()


@pytest.mark.django_db(transaction=True)
def test_a_client_that_prefers_not_to_wait_does_not(api, provider):
    response = api.post(JOBS, {"file": upload()}, headers={"Prefer": "respond-async"})

    assert response.status_code == 202
    assert response["Preference-Applied"] == "respond-async"
    assert response.json()["receipt"]["rule"] == "prefer"


@pytest.mark.django_db(transaction=True)
def test_a_client_that_waits_no_longer_than_it_said_is_answered_202(api, provider):
    provider.set_faults("latency=3")

    response = api.post(JOBS, {"file": upload()}, headers={"Prefer": "wait=1"})

    assert response.status_code == 202, response.json()
    assert response["Preference-Applied"] == "wait=1"
    assert response.json()["status"] == "running"
    job = TranscriptionJob.objects.get()
    assert sync.wait(job, 10, through_retries=False), "it goes on without its caller"
    assert job.status == Status.COMPLETED


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_deleted_while_its_caller_waits_was_accepted_all_the_same(api, provider):
    provider.set_faults("latency=2")

    def delete() -> None:
        wait_until(lambda: provider.requests()["active"])
        delete_job(TranscriptionJob.objects.get())
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        deleted = pool.submit(delete)
        response = api.post(JOBS, {"file": upload()})
        deleted.result()

    assert response.status_code == 202, response.content
    job = response.json()
    assert (job["status"], job["recording"]["filename"]) == ("running", "call.wav")
    assert job["started_at"]
    assert api.get(f"{JOBS}{job['id']}/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_job_that_goes_on_is_shown_without_asking_the_database_after_the_wait(api, provider):
    provider.set_faults("latency=2")

    with CaptureQueriesContext(connection) as queries:
        response = api.post(JOBS, {"file": upload()}, headers={"Prefer": "wait=1"})

    assert response.status_code == 202, response.content
    assert response.json()["recording"]["filename"] == "call.wav"
    assert 'FROM "jobs_transcriptionjob"' in queries[-1]["sql"], "which is the wait's own look"
    assert sync.wait(TranscriptionJob.objects.get(), 10, through_retries=False)


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({}, "request", "a url or an upload"),
        ({"url": URL, "mode": "streaming"}, "mode", "/v1/listen"),
        ({"url": URL, "mode": "later"}, "mode", "one of auto, sync, async"),
        ({"url": URL, "region": "mars"}, "region", "mars"),
        ({"url": URL, "callback_url": "ftp://example.com"}, "callback_url", "https"),
        ({"url": "file:///etc/passwd"}, "url", "http"),
        ({"url": "http://user:pw@example.com/a"}, "url", "password"),
        ({"url": URL, "metadata": [1]}, "metadata", "object"),
        ({"url": URL, "metadata": {"a": "x" * 11000}}, "metadata", "bytes"),
        ({"url": URL, "metadata": {"a": "\0"}}, "metadata", "Null"),
        ({"url": URL, "tags": "a"}, "tags", "list"),
        ({"url": URL, "tags": ["x" * 101]}, "tags", "100"),
        ({"url": URL, "priority": "urgent"}, "priority", "one of high, normal, low"),
        ({"url": URL, "batch": "b"}, "batch", "valid UUID"),
        ({"url": URL, "options": "model=nova-3"}, "options", "object"),
        ({"url": URL, "langauge": "de"}, "langauge", "no such field"),
        ({"url": URL, "file": "a.wav"}, "file", "file"),
    ],
)
def test_what_is_wrong_with_a_submission_is_told_by_field(api, body, field, says):
    response = post_json(api, body)

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "validation_error")
    assert list(error["details"]) == [field]
    assert says in error["details"][field][0]
    assert not TranscriptionJob.objects.exists()


def test_deeply_nested_metadata_is_refused(api):
    nested = {}
    for _ in range(200):
        nested = {"a": nested}

    response = post_json(api, {"url": URL, "metadata": nested})

    assert response.status_code == 400
    assert "levels" in error_of(response)["details"]["metadata"][0]


def test_unknown_options_are_named(api):
    response = post_json(api, {"url": URL, "options": {"diarise": True, "callback": "x"}})

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "invalid_options")
    assert list(error["details"]) == ["diarise", "callback"]
    assert "diarize" in error["details"]["diarise"][0]


def test_a_region_outside_the_projects_residency_is_refused_before_anything_is_stored(api, project):
    project.residency = ["mars"]
    project.save()

    response = api.post(JOBS, {"file": upload(), "region": "default"})

    assert (response.status_code, error_of(response)["code"]) == (400, "region_outside_residency")
    assert not Recording.objects.exists()


def test_what_is_no_audio_is_refused_and_not_kept(api):
    response = api.post(JOBS, b"not audio at all" * 100, content_type="audio/wav")

    assert (response.status_code, error_of(response)["code"]) == (415, "unsupported_media")
    assert not Recording.objects.exists()


def test_an_empty_file_is_told_to_be_empty(api):
    file = upload()
    file.truncate(0)

    response = api.post(JOBS, {"file": file})

    assert (response.status_code, error_of(response)["code"]) == (415, "corrupt_media")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types_are_refused(api, content_type):
    response = api.post(JOBS, b"a=b", content_type=content_type)

    assert (response.status_code, error_of(response)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[1]", b'"a"'])
def test_malformed_json_is_told_in_json(api, body):
    response = api.post(JOBS, body, content_type="application/json")

    assert (response.status_code, error_of(response)["code"]) == (400, "parse_error")


@pytest.mark.parametrize("path", [JOBS, "/api/v1/batches/"])
@pytest.mark.parametrize("told", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_malformed_form_is_told_in_json(api, path, told):
    response = api.post(path, b"nothing", content_type=told)

    assert (response.status_code, error_of(response)["code"]) == (400, "parse_error")


def test_a_recording_that_is_too_large_is_refused(api, settings):
    settings.MAX_UPLOAD_BYTES = 1000

    as_body = api.post(JOBS, wav(), content_type="audio/wav")
    in_form = api.post(JOBS, {"file": upload()})

    assert (as_body.status_code, error_of(as_body)["code"]) == (413, "too_large")
    assert (in_form.status_code, error_of(in_form)["code"]) == (413, "too_large")
    assert not Recording.objects.exists()


def test_a_body_far_too_large_is_refused_before_it_is_read(api, settings):
    settings.MAX_UPLOAD_BYTES = 1000

    response = api.post(JOBS, b"", content_type="audio/wav", headers={"Content-Length": str(10**10)})

    assert (response.status_code, error_of(response)["code"]) == (413, "too_large")


def test_a_json_body_is_limited(api):
    response = post_json(api, {"url": "x" * parsers.JSON_BYTES})

    assert (response.status_code, error_of(response)["code"]) == (413, "too_large")


def test_a_body_in_chunks_is_refused(api):
    response = api.post(JOBS, b"", content_type="audio/wav", headers={"Transfer-Encoding": "chunked"})

    assert (response.status_code, error_of(response)["code"]) == (411, "length_required")


def test_a_job_waits_behind_those_that_go_before_it(api):
    first = post_json(api, {"url": URL, "priority": "low"}).json()
    urgent = post_json(api, {"url": URL, "priority": "high"}).json()
    last = post_json(api, {"url": URL, "priority": "low"}).json()

    positions = [api.get(f"{JOBS}{job['id']}/").json()["position"] for job in (urgent, first, last)]

    assert positions == [0, 1, 2]
    assert all(job.status == Status.QUEUED for job in TranscriptionJob.objects.all())
