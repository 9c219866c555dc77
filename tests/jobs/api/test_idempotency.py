"""Submissions that are sent again under the name that their client gave them."""

import threading

import pytest
from django.core.files.storage import storages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection

from jobs.models import ApiKey, Batch, BatchArchive, IdempotencyKey, Recording, TranscriptionJob
from jobs.models.idempotency import KEPT_FOR
from jobs.running.sweeper import sweep
from tests.jobs.api.conftest import JOBS, client_for, error_of, run_queued, upload
from tests.jobs.batches.test_archives import zipped
from tests.jobs.rows import ago
from tests.sandbox.sounds import wav

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("provider")]

NAMED = {"Idempotency-Key": "0b9c4a3e"}
BATCHES = "/api/v1/batches/"
JSON = {"content_type": "application/json"}
ARCHIVE = zipped(("a.wav", wav(0.5))).getvalue()


def test_sent_again_it_is_answered_as_before_and_nothing_is_done_twice(api):
    first = api.post(JOBS, {"file": upload(), "mode": "async"}, headers=NAMED)
    run_queued()
    again = api.post(JOBS, {"file": upload(), "mode": "async"}, headers=NAMED)

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again["Location"] == first["Location"]
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert TranscriptionJob.objects.count() == Recording.objects.count() == 1


def test_a_sync_answer_is_replayed_with_its_transcript(api):
    first = api.post(JOBS, {"file": upload(), "mode": "sync"}, headers=NAMED)
    again = api.post(JOBS, {"file": upload(), "mode": "sync"}, headers=NAMED)

    assert first.status_code == again.status_code == 201
    assert again.json()["transcript"] == first.json()["transcript"]


def test_a_repeat_while_the_first_is_answered_gets_202_and_the_same_job(api):
    first = api.post(JOBS, {"file": upload(), "mode": "async"}, headers=NAMED)
    IdempotencyKey.objects.update(status_code=None, answer=None)
    again = api.post(JOBS, {"file": upload(), "mode": "async"}, headers=NAMED)

    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


def test_numbers_of_any_size_are_named(api, project):
    # As PostgreSQL gives back a number of a batch's options.
    batch = Batch.objects.create(project=project, options={"utt_split": 10**20})
    fields = {"file": upload(), "mode": "async", "batch": str(batch.pk)}

    assert api.post(JOBS, fields, headers=NAMED).status_code == 202


def test_an_answer_past_the_days_of_transcripts_is_kept_no_longer(api, project):
    project.transcript_days = 0
    project.save()
    first = api.post(JOBS, {"file": upload(), "mode": "sync"}, headers=NAMED)

    call_command("purge", verbosity=0)
    again = api.post(JOBS, {"file": upload(), "mode": "sync"}, headers=NAMED)

    assert first.json()["transcript"] is not None
    assert IdempotencyKey.objects.get().answer is None
    assert again.status_code == 201
    assert again.json() == first.json() | {"transcript": None}


@pytest.mark.parametrize(
    ("seconds", "fields"),
    [
        pytest.param(2.0, {}, id="another file"),
        pytest.param(1.0, {"options": '{"language": "de"}'}, id="other options"),
        pytest.param(1.0, {"tags": "a"}, id="other tags"),
    ],
)
def test_something_else_under_the_same_key_is_a_conflict(api, seconds, fields):
    api.post(JOBS, {"file": upload()}, headers=NAMED)
    response = api.post(JOBS, {"file": upload(seconds=seconds)} | fields, headers=NAMED)

    assert (response.status_code, error_of(response)["code"]) == (409, "idempotency_key_reused")
    assert TranscriptionJob.objects.count() == 1


def test_what_was_refused_may_be_sent_right_under_its_key(api):
    refused = api.post(JOBS, {"file": upload(), "options": '{"modell": "x"}'}, headers=NAMED)
    accepted = api.post(JOBS, {"file": upload(), "mode": "async"}, headers=NAMED)

    assert (refused.status_code, accepted.status_code) == (400, 202)


def test_keys_are_each_projects_own(api, other_project):
    first = api.post(JOBS, {"file": upload(), "mode": "async"}, headers=NAMED)
    _, key = ApiKey.objects.issue(other_project, "tests")
    second = client_for(key).post(JOBS, {"file": upload(), "mode": "async"}, headers=NAMED)

    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]


def test_a_key_may_name_something_new_after_a_day(api):
    api.post(JOBS, {"file": upload(), "mode": "async"}, headers=NAMED)
    IdempotencyKey.objects.update(created_at=ago(KEPT_FOR.total_seconds() + 1))
    other = api.post(JOBS, {"file": upload(seconds=2.0), "mode": "async"}, headers=NAMED)

    assert other.status_code == 202
    assert IdempotencyKey.objects.count() == 1


def test_keys_are_forgotten_after_a_day(api):
    api.post(JOBS, {"file": upload(), "mode": "async"}, headers=NAMED)
    IdempotencyKey.objects.update(created_at=ago(KEPT_FOR.total_seconds() + 1))
    sweep()

    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("name", ["", "x" * 256, "ü"])
def test_a_key_that_is_none_is_refused(api, name):
    response = api.post(JOBS, {"file": upload()}, headers={"Idempotency-Key": name})

    assert response.status_code == 400
    assert not TranscriptionJob.objects.exists()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_of_many_at_once_one_is_accepted_and_the_others_are_told_of_it(key, mode):
    clients = [client_for(key) for _ in range(8)]
    answers = []
    start = threading.Barrier(len(clients))

    def send(client):
        start.wait()
        answers.append(client.post(JOBS, {"file": upload(), "mode": mode}, headers=NAMED))
        connection.close()

    senders = [threading.Thread(target=send, args=(client,)) for client in clients]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    job = TranscriptionJob.objects.get()
    assert {answer.status_code for answer in answers} <= {201, 202}
    assert {answer.json()["id"] for answer in answers} == {str(job.pk)}
    assert list(Recording.objects.all()) == [job.recording]
    _, stored = storages["default"].listdir("recordings")
    assert str(job.recording_id) in stored


def batches():
    """What a batch may be made of, anew each time: its fields and how they are sent."""
    urls = ["https://example.com/a.wav", {"url": "https://example.com/b.wav", "tags": ["x"]}]
    return {
        "urls": ({"urls": urls}, JSON),
        "files": ({"files": [upload("a.wav"), upload("b.wav")]}, {}),
        "archive": ({"archive": SimpleUploadedFile("c.zip", ARCHIVE)}, {}),
        "nothing": ({"name": "empty"}, JSON),
    }


@pytest.mark.parametrize("made_of", list(batches()))
def test_a_batch_sent_again_is_the_same_batch(api, made_of):
    def send():
        fields, how = batches()[made_of]
        return api.post(BATCHES, fields, headers=NAMED, **how)

    first, again = send(), send()

    assert first.status_code == 202, first.content
    assert (again.status_code, again.json()) == (202, first.json())
    assert again["Location"] == first["Location"]
    assert again["Idempotency-Replayed"] == "true"
    assert Batch.objects.count() == 1
    assert BatchArchive.objects.count() == (made_of == "archive")


def test_a_batch_sent_again_while_the_first_is_answered_is_shown_as_it_is(api):
    first = api.post(BATCHES, {"name": "March"}, headers=NAMED, **JSON)
    IdempotencyKey.objects.update(status_code=None, answer=None)
    again = api.post(BATCHES, {"name": "March"}, headers=NAMED, **JSON)

    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again["Location"] == first["Location"]


def test_a_name_that_was_a_batchs_is_no_others(api):
    api.post(BATCHES, {"name": "March"}, headers=NAMED, **JSON)

    for path, fields in ((BATCHES, {"name": "April"}), (JOBS, {"url": "https://example.com/a.wav"})):
        refused = api.post(path, fields, headers=NAMED, **JSON)
        assert (refused.status_code, error_of(refused)["code"]) == (409, "idempotency_key_reused")
    assert Batch.objects.count() == 1


def test_of_two_that_make_a_batch_at_once_both_get_it(api, monkeypatch):
    """The second comes to its saving when the first is through with it."""
    monkeypatch.setattr(IdempotencyKey, "earlier", first_time_none(IdempotencyKey.earlier))
    first = api.post(BATCHES, {"name": "March"}, headers=NAMED, **JSON)
    monkeypatch.undo()
    monkeypatch.setattr(IdempotencyKey, "earlier", first_time_none(IdempotencyKey.earlier))

    again = api.post(BATCHES, {"name": "March"}, headers=NAMED, **JSON)

    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


def first_time_none(method):
    calls = []

    def call(self):
        calls.append(self)
        return None if len(calls) == 1 else method(self)

    return call
