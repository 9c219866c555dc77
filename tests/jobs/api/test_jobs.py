"""Following jobs: lists, details, moves, history, files."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs import lifecycle
from jobs.ids import first_id
from jobs.models import Priority, Recording, Status, Transcript, TranscriptionJob
from tests.jobs.api.conftest import JOBS, add_job, error_of, run_queued, upload, wav

WORD = {"word": "hello", "punctuated_word": "Hello.", "start": 0.0, "end": 0.5, "confidence": 0.9}


def add_recording(project, name="call.wav", content=b"") -> Recording:
    recording = Recording(project=project, filename=name, size=len(content), media_type="audio/wav")
    recording.file.name = storages["default"].save(Recording.stored_name(recording.pk), ContentFile(content))
    recording.save()
    return recording


def finish(job, text="hello", **fields) -> Transcript:
    """The job ended well with this text."""
    ended = {"status": Status.COMPLETED, "finished_at": timezone.now()}
    TranscriptionJob.objects.filter(pk=job.pk).update(**ended)
    job.refresh_from_db()
    return job.transcripts.create(run=job.run, version=1, text=text, **fields)


def listed(api, query="") -> list[str]:
    response = api.get(f"{JOBS}?{query}")
    assert response.status_code == 200, response.content
    return [job["id"] for job in response.json()["results"]]


def test_jobs_are_listed_newest_first_in_pages(api, project):
    ids = sorted(str(add_job(project).pk) for _ in range(5))

    first = api.get(f"{JOBS}?page_size=2").json()
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()

    assert set(first) == {"next", "previous", "results"}
    pages = [[job["id"] for job in page["results"]] for page in (first, second, third)]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert first["previous"] is None and third["next"] is None
    assert api.get(second["previous"]).json()["results"] == first["results"]


@pytest.mark.parametrize("cursor", ["nonsense", "cD1ub3Rhbmlk"])
def test_a_cursor_that_no_page_gave_is_refused(api, cursor):
    response = api.get(f"{JOBS}?cursor={cursor}")

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_cursor")


def test_a_list_costs_the_same_queries_however_long_and_leaves_transcripts_alone(api, project):
    api.get(JOBS)  # notes the use of the key
    for _ in range(20):
        finish(add_job(project, recording=add_recording(project)), words=[WORD])

    with CaptureQueriesContext(
        connection,
    ) as queries:
        jobs = api.get(JOBS).json()["results"]

    assert len(jobs) == 20
    assert [job["transcript"] for job in jobs] == [None] * 20
    assert len(queries) == 2, [query["sql"] for query in queries]
    assert 'jobs_transcript"' not in queries[-1]["sql"]


@pytest.fixture
def eu(regions):
    regions({"name": "default"}, {"name": "eu"})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=cancelled", {"b"}),
        ("status=queued&status=cancelled", {"a", "b", "c"}),
        ("status=completed", set()),
        ("mode=async", {"a", "b", "c"}),
        ("mode=sync", set()),
        ("region=eu", {"b"}),
        ("priority=high", {"c"}),
        ("tag=support", {"a"}),
        ("tag=supp", set()),
        ("search=CALL", {"a"}),
        ("created_after=2026-01-02T00:00:00Z", {"b", "c"}),
        ("created_before=2026-01-02T00:00:00%2B01:00", {"a"}),
        ("created_after=2026-01-01T12:00:00Z&region=eu", {"b"}),
    ],
)
def test_lists_can_be_narrowed(api, project, eu, query, expected):
    jobs = {
        "a": add_job(project, recording=add_recording(project, "a call.wav"), tags=["support", "x"]),
        "b": add_job(
            project, region="eu", tags=["sales"], status=Status.CANCELLED, finished_at=timezone.now()
        ),
        "c": add_job(project, priority=Priority.HIGH),
    }
    names = {}
    for day, (name, job) in enumerate(jobs.items(), start=1):
        made = datetime(2026, 1, day, hour=day > 1, tzinfo=UTC)
        # Ids tell when they were made, too.
        TranscriptionJob.objects.filter(pk=job.pk).update(id=first_id(made), created_at=made)
        names[str(first_id(made))] = name

    assert {names[pk] for pk in listed(api, query)} == expected


def test_lists_are_narrowed_to_the_millisecond_of_the_making(api, project):
    job = add_job(project)
    job.refresh_from_db()
    made, moment = job.created_at, timedelta(milliseconds=1)

    found = {
        (name, at): listed(api, f"created_{name}={at:%Y-%m-%dT%H:%M:%S.%fZ}") == [str(job.pk)]
        for name in ("after", "before")
        for at in (made - moment, made, made + moment)
    }

    assert [at for (name, at), is_found in found.items() if name == "after" and is_found] == [made - moment]
    assert [at for (name, at), is_found in found.items() if name == "before" and is_found] == [made + moment]


@pytest.mark.parametrize("year", ["0001", "1969", "9999"])
def test_lists_can_be_narrowed_by_any_instant(api, project, year):
    job = add_job(project)

    after = listed(api, f"created_after={year}-12-31T23:59:59Z")
    before = listed(api, f"created_before={year}-12-31T23:59:59Z")

    assert (after, before) == (([], [str(job.pk)]) if year == "9999" else ([str(job.pk)], []))


@pytest.mark.parametrize(
    "query",
    [
        *("status=asleep", "mode=auto", "priority=9", "region=mars", "sha256=xx", "created_after=yesterday"),
        "status=queued&status=x",
        *("created_after=9999-12-31T23:59:59-23:59", "created_before=0001-01-01T00:00:00%2B23:59"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_by_name(api, query):
    response = api.get(f"{JOBS}?{query}")

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "validation_error")
    assert list(error["details"]) == [query.partition("=")[0]]


@pytest.mark.parametrize(
    ("query", "name", "says"),
    [
        ("tags=x", "tags", "did you mean tag?"),
        ("Status=queued", "Status", "did you mean status?"),
        ("unknown=1", "unknown", "created_after"),
        ("page_size=0", "page_size", "from 1"),
        ("page_size=abc", "page_size", "from 1"),
        ("page_size=-1", "page_size", "from 1"),
        (f"page_size={'9' * 5000}", "page_size", "from 1"),
    ],
)
def test_a_parameter_that_a_list_does_not_know_is_refused_by_name(api, query, name, says):
    response = api.get(f"{JOBS}?{query}")

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "validation_error")
    assert list(error["details"]) == [name]
    assert says in error["details"][name][0]


@pytest.mark.parametrize(
    "path", ["projects/", "keys/", "regions/", "jobs/{job}/attempts/", "jobs/{job}/timeline/"]
)
def test_every_list_refuses_what_it_does_not_know_and_takes_the_rest(api, project, path):
    path = f"/api/v1/{path}".format(job=add_job(project).pk)

    assert api.get(path, query_params={"status": "queued"}).status_code == 400
    assert api.get(path, query_params={"page_size": "null"}).status_code == 400
    assert api.get(path, query_params={"page_size": "1000", "project": project.pk}).status_code == 200


def test_what_is_unset_is_null_and_instants_are_utc(api, project):
    job = add_job(project)

    shown = api.get(f"{JOBS}{job.pk}/").json()

    nothing = (
        "recording",
        "batch",
        "run_at",
        "eta",
        "error",
        "duration",
        "started_at",
        "finished_at",
        "transcript",
    )
    assert {name: shown[name] for name in nothing} == dict.fromkeys(nothing)
    assert (
        datetime.strptime(shown["created_at"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC) == job.created_at
    )


def test_an_open_job_can_be_cancelled_once(api, project):
    job = add_job(project)

    first = api.post(f"{JOBS}{job.pk}/cancel/")
    second = api.post(f"{JOBS}{job.pk}/cancel/")

    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert first.json()["finished_at"]
    assert (second.status_code, error_of(second)["code"]) == (409, "invalid_transition")
    assert error_of(second)["message"] == "The job is cancelled; only an open one can be cancelled."


@pytest.mark.django_db(transaction=True)
def test_a_requeued_job_runs_again_with_other_options_and_keeps_both_versions(api, provider):
    provider.set_transcript("first")
    job = api.post(JOBS, {"file": upload()}).json()
    provider.set_transcript("second")

    requeued = api.post(
        f"{JOBS}{job['id']}/requeue/", {"options": {"punctuate": True}}, content_type="application/json"
    )
    run_queued()

    assert requeued.status_code == 202
    assert (requeued.json()["status"], requeued.json()["run"]) == ("queued", 2)
    assert requeued.json()["options"]["punctuate"] is True
    again = api.get(f"{JOBS}{job['id']}/").json()
    assert (again["transcript"]["text"], again["transcript"]["version"]) == ("second", 2)
    versions = [api.get(f"{JOBS}{job['id']}/transcript.txt?version={n}").content for n in (1, 2)]
    assert versions == [b"first\n", b"second\n"]


def test_a_requeue_without_options_keeps_those_that_the_job_has(api, project):
    job = add_job(project, options={"model": "nova-2"})
    lifecycle.cancel(job)

    response = api.post(f"{JOBS}{job.pk}/requeue/", content_type="application/json")

    assert response.status_code == 202
    assert response.json()["options"] == {"model": "nova-2"}


def test_an_open_job_cannot_be_requeued(api, project):
    response = api.post(f"{JOBS}{add_job(project).pk}/requeue/", {}, content_type="application/json")

    assert (response.status_code, error_of(response)["code"]) == (409, "invalid_transition")
    assert error_of(response)["message"] == "The job is queued; only one that has ended can be requeued."


def test_a_requeue_with_unknown_options_changes_nothing(api, project):
    job = add_job(project)
    lifecycle.cancel(job)

    response = api.post(
        f"{JOBS}{job.pk}/requeue/", {"options": {"modle": "x"}}, content_type="application/json"
    )

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_options")
    job.refresh_from_db()
    assert job.run == 1


@pytest.mark.django_db(transaction=True)
def test_deleting_a_job_leaves_neither_rows_nor_files(api, provider):
    job = api.post(JOBS, {"file": upload()}).json()
    names = [f"recordings/{job['recording']['id']}", f"answers/{job['id']}/1.json"]
    assert all(storages["default"].exists(name) for name in names)

    response = api.delete(f"{JOBS}{job['id']}/")

    assert (response.status_code, response.content) == (204, b"")
    assert not any(storages["default"].exists(name) for name in names)
    assert not Recording.objects.exists()
    assert not Transcript.objects.exists()
    assert api.get(f"{JOBS}{job['id']}/").status_code == 404


def test_a_recording_that_another_job_has_survives(api, project):
    recording = add_recording(project, content=b"audio")
    first, second = add_job(project, recording=recording), add_job(project, recording=recording)

    api.delete(f"{JOBS}{first.pk}/")

    second.refresh_from_db()
    assert second.recording == recording
    assert storages["default"].exists(recording.file.name)


@pytest.mark.django_db(transaction=True)
def test_attempts_and_timeline_tell_what_happened(api, provider):
    provider.set_faults("status=400")
    job = api.post(JOBS, {"file": upload(), "mode": "sync"}).json()

    attempts = api.get(f"{JOBS}{job['id']}/attempts/").json()
    timeline = api.get(f"{JOBS}{job['id']}/timeline/").json()

    [attempt] = attempts["results"]
    assert (attempt["outcome"], attempt["status_code"], attempt["counted"]) == ("failed", 400, True)
    assert attempt["error"]["code"] == job["error"]["code"]
    assert [entry["type"] for entry in timeline["results"]] == ["created", "attempt", "job.failed"]
    assert timeline["results"][1]["status_code"] == 400
    assert "" not in timeline["results"][1].values(), "what is unset is null"
    instants = [entry["at"] for entry in timeline["results"]]
    assert instants == sorted(instants)


def test_a_transcript_comes_in_every_form(api, project):
    job = add_job(project)
    finish(job, "Hello.", words=[WORD], language="en", confidence=0.9)

    def get(form):
        response = api.get(f"{JOBS}{job.pk}/transcript.{form}")
        assert response.status_code == 200
        return response["Content-Type"], response.content.decode()

    kind, body = get("json")
    assert kind == "application/json"
    assert list(json.loads(body)) == ["text", "confidence", "language", "words", "utterances", "channels"]
    assert get("txt") == ("text/plain; charset=utf-8", "Hello.\n")
    kind, body = get("srt")
    assert kind == "application/x-subrip; charset=utf-8" and body.startswith("1\n00:00:00,000 --> ")
    kind, body = get("vtt")
    assert kind == "text/vtt; charset=utf-8" and body.startswith("WEBVTT\n")


def test_what_a_transcript_does_not_know_is_null(api, project):
    job = add_job(project)
    utterance = {"id": "", "start": 0.0, "end": 0.5, "confidence": None, "channel": 0, "transcript": "Hello."}
    channel = {"index": 0, "text": "Hello.", "confidence": None, "language": "", "words": [WORD]}
    finish(job, "Hello.", words=[WORD], utterances=[utterance | {"words": [WORD]}], channels=[channel])

    transcript = api.get(f"{JOBS}{job.pk}/transcript.json").json()

    assert (transcript["language"], transcript["confidence"]) == (None, None)
    assert transcript["utterances"] == [utterance | {"id": None, "words": [WORD]}]
    assert transcript["channels"] == [channel | {"language": None}]
    assert api.get(f"{JOBS}{job.pk}/").json()["transcript"]["language"] is None


@pytest.mark.django_db(transaction=True)
def test_the_raw_transcript_is_the_providers_bytes(api, provider):
    job = api.post(JOBS, {"file": upload()}).json()

    raw = api.get(f"{JOBS}{job['id']}/transcript.json?raw=true")

    with storages["default"].open(f"answers/{job['id']}/1.json") as kept:
        assert raw.content == kept.read()
    assert raw["Content-Type"] == "application/json"
    assert raw.json()["metadata"]["request_id"]


@pytest.mark.parametrize("query", ["", "?version=1", "?raw=true"])
def test_a_job_without_a_transcript_says_so(api, project, query):
    response = api.get(f"{JOBS}{add_job(project).pk}/transcript.json{query}")

    assert (response.status_code, error_of(response)["code"]) == (404, "no_transcript")


def test_a_version_whose_answer_is_not_kept_says_so(api, project):
    job = add_job(project)
    finish(job)

    response = api.get(f"{JOBS}{job.pk}/transcript.json?raw=true")

    assert (response.status_code, error_of(response)["code"]) == (404, "no_answer")


@pytest.mark.parametrize("version", ["0x1", "-1", "latest", "9" * 30])
def test_a_version_that_is_no_number_is_refused(api, project, version):
    job = add_job(project)
    finish(job)

    response = api.get(f"{JOBS}{job.pk}/transcript.json?version={version}")

    assert (response.status_code, error_of(response)["code"]) == (400, "bad_request")


def test_whether_the_raw_answer_is_wanted_is_said_clearly(api, project):
    job = add_job(project)
    finish(job)

    response = api.get(f"{JOBS}{job.pk}/transcript.json?raw=perhaps")

    assert (response.status_code, error_of(response)["code"]) == (400, "bad_request")


@pytest.mark.parametrize("named", ["0" * 36, "-" * 36, "0" * 32])
@pytest.mark.parametrize("form", ["json", "doc"])
def test_a_transcript_of_what_is_no_job_is_not_there(api, named, form):
    response = api.get(f"{JOBS}{named}/transcript.{form}")

    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


def test_audio_is_only_ever_saved_by_a_browser(api, project):
    job = add_job(project, recording=add_recording(project, 'a "name"\n.wav', wav()))

    response = api.get(f"{JOBS}{job.pk}/audio/")

    assert (response.status_code, b"".join(response)) == (200, wav())
    assert response["Content-Length"] == str(len(wav()))
    assert response["Content-Disposition"].startswith("attachment;")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"].startswith("sandbox")


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "body"),
    [
        ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
        ("bytes=7-", 206, "bytes 7-9/10", b"789"),
        ("bytes=0-99", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=-99", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=0-1,3-4", 200, None, b"0123456789"),
        ("bytes=4-2", 200, None, b"0123456789"),
        ("bytes=-", 200, None, b"0123456789"),
        ("lines=1-2", 200, None, b"0123456789"),
    ],
)
def test_one_range_of_the_audio_may_be_asked_for(api, project, asked, status, content_range, body):
    job = add_job(project, recording=add_recording(project, content=b"0123456789"))

    response = api.get(f"{JOBS}{job.pk}/audio/", headers={"Range": asked})

    assert (response.status_code, response.get("Content-Range")) == (status, content_range)
    assert b"".join(response) == body
    assert response["Content-Length"] == str(len(body))


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_beyond_the_audio_is_refused(api, project, asked):
    job = add_job(project, recording=add_recording(project, content=b"0123456789"))

    response = api.get(f"{JOBS}{job.pk}/audio/", headers={"Range": asked})

    assert (response.status_code, error_of(response)["code"]) == (416, "range_not_satisfiable")


def test_audio_is_read_in_parts_under_asgi(api, project):
    job = add_job(project, recording=add_recording(project, content=bytes(700_000)))
    response = api.get(f"{JOBS}{job.pk}/audio/")

    async def sizes():
        return [len(part) async for part in response]

    assert async_to_sync(sizes)() == [262144, 262144, 175712]
    response.close()


def test_a_url_job_has_no_audio_here(api, project):
    response = api.get(f"{JOBS}{add_job(project).pk}/audio/")

    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


def test_audio_that_is_gone_from_storage_is_a_404(api, project):
    recording = add_recording(project, content=b"x")
    storages["default"].delete(recording.file.name)

    response = api.get(f"{JOBS}{add_job(project, recording=recording).pk}/audio/")

    assert response.status_code == 404


def test_numbers_of_any_size_come_back_in_metadata(api, project):
    job = add_job(project, metadata={"n": 1e20, "big": 2**70})

    answer = api.get(f"/api/v1/jobs/{job.pk}/")

    assert answer.status_code == 200
    assert answer.json()["metadata"] == {"n": 1e20, "big": 2**70}
    assert answer.json()["created_at"].endswith("Z")
