"""The page of one job and what is reached from it."""

from datetime import timedelta
from urllib.parse import quote

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.storage import storages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs import audit, lifecycle
from jobs.lifecycle import CallReport
from jobs.models import Delivery, DeliveryAttempt, Recording, Status, Transcript
from jobs.transcripts.options import DEFAULTS
from tests.jobs.admin.conftest import said
from tests.jobs.rows import LEASE_SECONDS, RESULT, WORKER, fresh, make_job, make_project, make_recording
from tests.jobs.test_estimates import transcribed_lately

REFUSED = CallReport(
    status_code=400, request_id="req-1", error_code="provider_rejected", error_message="Bad Request: corrupt"
)


def page(name, job, *arguments):
    return reverse(f"admin:jobs_transcriptionjob_{name}", args=(job.pk, *arguments))


def shown(client, job, **query):
    response = client.get(page("change", job), query)
    assert response.status_code == 200
    return response.content.decode()


def completed(**fields):
    job = make_job(Status.RUNNING, **fields)
    lifecycle.complete(job, RESULT, CallReport(status_code=200, request_id="req-2"))
    return job


def test_a_failure_is_told_in_words_with_what_to_do(staff_client):
    job = make_job(Status.RUNNING)
    lifecycle.fail(job, REFUSED)

    text = shown(staff_client, job)

    assert "The provider refused the request" in text
    assert "Bad Request: corrupt" in text
    assert "Requeue the job with other options." in text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.QUEUED, "in line for a worker"),
        (Status.RUNNING, "being transcribed"),
        (Status.COMPLETED, "transcript is below"),
        (Status.CANCELLED, "Requeue it"),
    ],
)
def test_each_status_is_put_in_words(staff_client, status, words):
    assert words in shown(staff_client, make_job(status))


def test_a_running_job_tells_when_it_should_be_done(staff_client):
    project = make_project()
    transcribed_lately(project, speed=0.1)
    running = {"project": project, "options": dict(DEFAULTS)}
    early = make_job(Status.RUNNING, duration=6000, **running)
    late = make_job(Status.RUNNING, duration=0, **running)

    assert "It should be done in " in shown(staff_client, early)
    assert "It takes longer than most do." in shown(staff_client, late)


def test_the_timeline_tells_attempts_and_deliveries(staff_client):
    job = completed(callback_url="https://hooks.example.com/")
    delivery = Delivery.objects.get()
    DeliveryAttempt.objects.create(
        delivery=delivery, number=1, started_at=timezone.now(), duration=0.2, status_code=502
    )

    text = shown(staff_client, job)

    assert "request id req-2" in text
    assert WORKER in text
    assert "Transcript stored" in text
    assert "to https://hooks.example.com/, attempt 1, answered 502" in text


def test_a_cancelled_job_is_not_explained_by_an_earlier_attempt(staff_client):
    job = make_job(Status.RUNNING)
    lifecycle.wait(job, LEASE_SECONDS, CallReport(error_code="provider_unreachable"), counted=True)
    lifecycle.cancel(job)

    state = staff_client.get(page("state", job)).content.decode().partition("Timeline")[0]

    assert "cancelled" in state
    assert "provider_unreachable" not in state
    assert "The provider could not be reached" not in state


def test_the_receipt_is_told_in_sentences(staff_client):
    receipt = {
        "requested_mode": "auto",
        "mode": "async",
        "rule": "long",
        "reason": "400.0 s is over 300 s.",
        "region": "default",
        "region_reason": "The first that may.",
    }

    assert "400.0 s is over 300 s." in shown(staff_client, make_job(receipt=receipt))


def test_what_was_said_and_sent_is_escaped(staff_client):
    job = completed(metadata={"<script>": "<b>x</b>"})
    Transcript.objects.update(text="<script>alert(1)</script>")

    text = shown(staff_client, job)

    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<b>x</b>" not in text


def test_an_earlier_version_can_be_read(staff_client):
    job = completed()
    Transcript.objects.create(job=job, run=2, version=2, text="Good bye.")

    assert "Good bye." in shown(staff_client, job)
    assert "Good bye." not in shown(staff_client, job, version=1)
    assert staff_client.get(page("change", job), {"version": 3}).status_code == 404


def test_a_job_that_is_gone_leads_back_to_the_list(staff_client):
    job = make_job()
    url = page("change", job)
    job.delete()

    response = staff_client.get(url, follow=True)

    assert "There is no transcription job" in said(response)


def test_the_page_asks_for_news_only_while_the_job_is_open(staff_client):
    assert page("state", job := make_job()) in shown(staff_client, job)
    assert page("state", job := make_job(Status.FAILED)) not in shown(staff_client, job)


@pytest.mark.parametrize(("status", "ended"), [(Status.RUNNING, "false"), (Status.CANCELLED, "true")])
def test_the_news_tell_when_there_will_be_no_more(staff_client, status, ended):
    response = staff_client.get(page("state", make_job(status)))

    assert response.headers["X-Ended"] == ended
    assert str(status) in response.content.decode()


def test_cancelling_takes_a_post(staff_client):
    job = make_job()

    assert staff_client.get(page("cancel", job)).status_code == 405
    assert fresh(job).status == Status.QUEUED

    response = staff_client.post(page("cancel", job), follow=True)

    assert fresh(job).status == Status.CANCELLED
    assert "Cancelled." in said(response)


@pytest.mark.parametrize("name", ["cancel", "requeue"])
def test_a_forged_post_moves_nothing(staff, name):
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    job = make_job(Status.FAILED if name == "requeue" else Status.QUEUED)

    response = client.post(page(name, job), {"model": "nova-3"})

    assert response.status_code == 403
    assert fresh(job).status == job.status


def test_cancelling_what_has_ended_says_so(staff_client):
    job = make_job(Status.FAILED)

    response = staff_client.post(page("cancel", job), follow=True)

    assert "already ended" in said(response)


def test_requeueing_starts_from_the_options_that_it_had(staff_client):
    options = {"model": "nova-3", "keyterm": ["Zürich"], "diarize": True, "numerals": True, "language": "xx"}
    job = make_job(Status.FAILED, options=options)
    form = staff_client.get(page("requeue", job)).context["form"]
    posted = {name: form[name].value() or "" for name in form.fields}
    posted |= {"keyterm": "Zürich", "other_options": '{"numerals": true, "language": "xx"}', "redact": []}
    switches = {"smart_format", "diarize", "utterances", "multichannel"}
    posted = {name: value for name, value in posted.items() if name not in switches or value}

    staff_client.post(page("requeue", job), posted)

    assert fresh(job).status == Status.QUEUED
    assert fresh(job).options == options


def test_requeueing_takes_other_options(staff_client):
    job = make_job(Status.FAILED, options={"model": "nova-3"})

    staff_client.post(page("requeue", job), {"model": "nova-2", "language": "detect", "diarize": "on"})

    assert fresh(job).options == {"model": "nova-2", "detect_language": True, "diarize": True}
    assert fresh(job).run == 2


def test_options_that_contradict_each_other_are_refused_at_their_field(staff_client):
    job = make_job(Status.FAILED)

    response = staff_client.post(page("requeue", job), {"model": "nova-2", "keyterm": "Zürich"})

    assert response.status_code == 200
    assert "Needs a nova-3 model" in response.context["form"].errors["keyterm"][0]
    assert fresh(job).status == Status.FAILED


def test_requeueing_what_runs_says_why_not(staff_client):
    job = make_job(Status.RUNNING)

    response = staff_client.post(page("requeue", job), {"model": "nova-3"}, follow=True)

    assert "only one that has ended can be requeued" in said(response)


@pytest.mark.parametrize(
    ("filename", "stem"),
    [("", "recording"), ("???.wav", "recording"), ("call 1.wav", "call_1"), ("日本.wav", "日本")],
)
def test_a_transcript_s_file_is_named_after_the_recording(staff_client, filename, stem):
    job = job_with_audio(filename)
    Transcript.objects.create(job=job, run=1, version=1, text="Good bye.")

    disposition = staff_client.get(page("transcript", job, "txt")).headers["Content-Disposition"]

    assert f"{quote(stem)}-{job.pk.hex[-8:]}.txt" in disposition


def test_a_job_whose_recording_has_no_name_is_told_by_the_end_of_its_id(staff_client):
    job = job_with_audio("")

    assert f">recording {job.pk.hex[-8:]}</h2>" in shown(staff_client, job)


@pytest.mark.parametrize("extension", ["txt", "srt", "vtt", "json"])
def test_transcripts_are_downloads_that_no_browser_runs(staff_client, extension):
    response = staff_client.get(page("transcript", completed(), extension))

    assert response.status_code == 200
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_there_is_no_transcript_in_another_format_or_of_a_job_without_one(staff_client):
    assert staff_client.get(page("transcript", completed(), "exe")).status_code == 404
    assert staff_client.get(page("transcript", make_job(), "txt")).status_code == 404


def job_with_audio(filename='call "1".html'):
    project = make_project()
    recording = make_recording(project, b"sound")
    Recording.objects.filter(pk=recording.pk).update(filename=filename)
    return make_job(project=project, recording=recording, url="")


def test_audio_is_a_download_that_no_browser_runs(staff_client):
    response = staff_client.get(page("audio", job_with_audio()))

    assert b"".join(response.streaming_content) == b"sound"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_audio_is_served_in_ranges_for_a_player_to_jump(staff_client):
    job = job_with_audio()

    response = staff_client.get(page("audio", job), headers={"Range": "bytes=1-3"})
    beyond = staff_client.get(page("audio", job), headers={"Range": "bytes=5-"})

    assert (response.status_code, b"".join(response.streaming_content)) == (206, b"oun")
    assert response.headers["Content-Range"] == "bytes 1-3/5"
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */5")


def listen(client, job, first=0):
    response = client.get(page("audio", job), headers={"Range": f"bytes={first}-"})
    assert b"".join(response.streaming_content)


def test_listening_is_logged_once_however_often_one_jumps(staff_client, staff):
    job = job_with_audio()

    for first in (0, 3, 1):
        listen(staff_client, job, first)

    told = LogEntry.objects.filter(object_id=str(job.pk)).values_list("user", "change_message")
    assert list(told) == [(staff.pk, "Audio played or downloaded.")]


def test_listening_anew_is_logged_anew(staff_client, monkeypatch):
    job = job_with_audio()
    listen(staff_client, job)
    monkeypatch.setattr(audit, "READS_FOR", timedelta(0))

    listen(staff_client, job)

    assert LogEntry.objects.count() == 2


def test_there_is_a_player_only_where_there_is_audio(staff_client):
    assert "<audio" in shown(staff_client, job_with_audio())
    assert "<audio" not in shown(staff_client, make_job())


def test_audio_that_is_not_stored_any_more_is_not_found(staff_client):
    job = job_with_audio()
    storages["default"].delete(job.recording.file.name)

    assert staff_client.get(page("audio", job)).status_code == 404


@pytest.mark.parametrize("name", ["state", "requeue", "cancel", "audio"])
def test_nobody_else_reaches_a_job(db, client, name):
    job = make_job()

    assert client.get(page(name, job)).status_code == 302
    assert client.post(page(name, job)).status_code == 302
    assert fresh(job).status == Status.QUEUED


def test_a_job_that_waits_for_its_region_says_so(staff_client, regions):
    regions({"name": "eu", "enabled": False})
    job = make_job(region="eu", queue="transcription.eu", pinned=True)

    assert "It waits for region eu, to which it is pinned: it is switched off." in shown(staff_client, job)


def test_a_waiting_job_tells_when_it_goes_on(staff_client):
    job = make_job(Status.RUNNING)
    report = CallReport(error_code="provider_unreachable", error_message="Connection refused")
    lifecycle.wait(job, LEASE_SECONDS, report, counted=True)

    text = shown(staff_client, job)

    assert "The provider could not be reached" in text
    assert "again in" in text
