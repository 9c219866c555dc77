"""Batches over the API: made, followed, sealed, moved, exported and deleted."""

import csv
import errno
import io
import json
import zipfile
from decimal import Decimal

import pytest
from django.db import OperationalError
from django.urls import reverse

from jobs.audio.keeping import keep
from jobs.batches import making
from jobs.batches.work import do_all
from jobs.models import (
    ApiKey,
    AuditEntry,
    Batch,
    BatchArchive,
    Priority,
    Recording,
    Role,
    Status,
    TranscriptionJob,
)
from tests.jobs.api.conftest import JOBS, add_job, client_for, error_of, run_queued, upload, wav

BATCHES = "/api/v1/batches/"
URL = "https://example.com/a.wav"


def post_json(client, body, address=BATCHES):
    return client.post(address, body, content_type="application/json")


def make(client, **body):
    response = post_json(client, body)
    assert response.status_code == 202, response.content
    return response.json()


def address(batch, rest=""):
    return f"{BATCHES}{batch['id']}/{rest}"


def refusals(client, batch):
    return client.get(address(batch, "refused/")).json()["results"]


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name.replace("_wav", ".wav"), content)
    file.seek(0)
    file.name = "calls.zip"
    return file


def test_a_list_of_urls_is_a_batch_of_queued_jobs_in_their_order(api):
    urls = [f"https://example.com/{n}.wav" for n in range(5)]

    batch = make(api, name="March", urls=urls, options={"language": "de"}, priority="low")

    jobs = api.get(JOBS, {"batch": batch["id"]}).json()["results"]
    assert [job["url"] for job in reversed(jobs)] == urls
    assert {(job["status"], job["mode"], job["batch"], job["priority"]) for job in jobs} == {
        ("queued", "async", batch["id"], "low")
    }
    assert {job["options"]["language"] for job in jobs} == {"de"}
    assert batch["counts"] == dict.fromkeys(Status.values, 0) | {"queued": 5}
    assert (batch["name"], batch["progress"]["jobs"], batch["finished_at"]) == ("March", 0.0, None)
    assert batch["sealed_at"]


def test_each_url_may_have_metadata_and_tags_of_its_own(api):
    batch = make(api, urls=[{"url": URL, "metadata": {"customer": 7}, "tags": ["a"]}, URL])

    second, first = api.get(JOBS, {"batch": batch["id"]}).json()["results"]
    assert (first["metadata"], first["tags"]) == ({"customer": 7}, ["a"])
    assert (second["metadata"], second["tags"]) == ({}, [])


@pytest.mark.parametrize(
    "bad",
    [
        *("ftp://example.com/a.wav", "", 7, None, [], {"url": URL, "tgas": []}, {"url": URL, "tags": 7}, {}),
        {"url": URL, "tags": [5]},
        *("\0", {"url": "\0"}, {"url": URL, "\0": 1}, {"url": URL, "a" * 5000: 1}),
    ],
)
def test_a_url_that_may_not_be_called_is_refused_and_the_others_are_taken(api, bad):
    batch = make(api, urls=[bad, URL])

    assert (batch["counts"]["queued"], batch["refused"]) == (1, 1)
    [refusal] = refusals(api, batch)
    assert refusal["error"]["code"] == "invalid_url"
    assert refusal["error"]["message"]


def test_two_thousand_urls_are_one_request_and_a_few_statements(api, django_assert_max_num_queries):
    urls = [f"https://example.com/recordings/{n:032}.wav" for n in range(2000)]

    with django_assert_max_num_queries(120):
        batch = make(api, urls=urls)

    assert batch["counts"]["queued"] == 2000
    tags = TranscriptionJob.objects.order_by("id").values_list("start_tag", flat=True)
    # One place behind the other, so that another project's job comes between them.
    assert list(tags) == list(range(2000))


def test_no_more_urls_than_the_limit(api, settings):
    settings.BATCH_MAX_ITEMS = 3

    response = post_json(api, {"urls": [URL] * 4})

    assert response.status_code == 400
    assert "3" in error_of(response)["details"]["urls"][0]
    assert not Batch.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"urls": []}, "urls"),
        ({"urls": "https://example.com/a.wav"}, "urls"),
        ({"urls": [URL], "region": "atlantis"}, "region"),
        ({"urls": [URL], "options": {"langauge": "de"}}, "langauge"),
        ({"urls": [URL], "files": []}, "files"),
        ({"nmae": "March"}, "nmae"),
        ({"name": "x" * 201}, "name"),
        ({"callback_url": "nowhere"}, "callback_url"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name_and_nothing_is_made(api, body, field):
    response = post_json(api, body)

    assert response.status_code == 400
    assert field in error_of(response)["details"]
    assert not Batch.objects.exists()


def test_urls_that_no_region_may_take_make_no_batch(api, project):
    project.residency = ["elsewhere"]
    project.save()

    response = post_json(api, {"urls": [URL]})

    assert error_of(response)["code"] == "region_outside_residency"
    assert not Batch.objects.exists()


def test_urls_beyond_the_open_jobs_of_a_key_make_no_batch(project):
    key = ApiKey.objects.issue(project, "small", max_open_jobs=3)[1]

    response = post_json(client_for(key), {"urls": [URL] * 4})

    assert (response.status_code, error_of(response)["code"]) == (400, "too_many_for_key")
    assert not Batch.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_files_are_taken_or_refused_one_by_one(api):
    letter = io.BytesIO(b"Dear Sir")
    letter.name = "letter.txt"

    response = api.post(BATCHES, {"files": [upload("a.wav"), letter, upload("b.wav", 2.0)], "name": "Two"})

    batch = response.json()
    assert response.status_code == 202, batch
    assert (batch["counts"]["queued"], batch["refused"], batch["audio"]["seconds"]) == (2, 1, 3.0)
    assert [refusal["name"] for refusal in refusals(api, batch)] == ["letter.txt"]
    assert refusals(api, batch)[0]["error"]["code"] == "unsupported_media"
    names = [job["recording"]["filename"] for job in api.get(JOBS, {"batch": batch["id"]}).json()["results"]]
    assert names == ["b.wav", "a.wav"]


@pytest.fixture
def fails_at_b(monkeypatch):
    """Makes storing a file of the name b.wav fail."""

    def fail(error):
        def keep_others(project, file):
            if file.name == "b.wav":
                raise error
            return keep(project, file)

        monkeypatch.setattr(making, "keep", keep_others)

    return fail


@pytest.mark.django_db(transaction=True)
def test_a_file_that_cannot_be_stored_refuses_itself_alone(api, fails_at_b):
    fails_at_b(OSError(errno.EIO, "Input/output error"))

    batch = api.post(BATCHES, {"files": [upload("a.wav"), upload("b.wav"), upload("c.wav")]}).json()

    assert (batch["counts"]["queued"], batch["refused"]) == (2, 1)
    assert [refusal["error"]["code"] for refusal in refusals(api, batch)] == ["not_stored"]


@pytest.mark.django_db(transaction=True)
def test_a_batch_whose_making_is_cut_off_is_none_and_is_made_when_it_is_sent_again(
    api, fails_at_b, monkeypatch
):
    def send():
        files = {"files": [upload("a.wav"), upload("b.wav")]}
        return api.post(BATCHES, files, headers={"Idempotency-Key": "march"})

    fails_at_b(OperationalError("The database went away."))
    assert send().status_code == 503
    assert not Batch.objects.exists()
    monkeypatch.undo()

    batch = send().json()

    assert (batch["counts"]["queued"], batch["refused"]) == (2, 0)
    assert batch["sealed_at"]


@pytest.mark.django_db(transaction=True)
def test_of_a_batch_of_files_that_is_sent_twice_at_once_one_is_made_and_kept(api, monkeypatch):
    sent_again = []

    def send():
        files = {"files": [upload("a.wav")]}
        return api.post(BATCHES, files, headers={"Idempotency-Key": "march"}).json()

    def keep_late(project, file):
        if not sent_again:
            sent_again.append(None)
            sent_again.append(send())
        return keep(project, file)

    monkeypatch.setattr(making, "keep", keep_late)

    assert send()["id"] == sent_again[1]["id"]
    assert (Batch.objects.count(), TranscriptionJob.objects.count(), Recording.objects.count()) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_an_archive_is_taken_at_once_and_opened_later(api):
    response = api.post(BATCHES, {"archive": zipped(a_wav=wav(), b_wav=wav(2.0), letter=b"Dear Sir")})

    batch = response.json()
    assert response.status_code == 202, batch
    assert (batch["unopened"], batch["counts"]["queued"], batch["finished_at"]) == (1, 0, None)

    do_all(lambda: False)

    opened = api.get(address(batch)).json()
    assert (opened["unopened"], opened["counts"]["queued"], opened["refused"]) == (0, 2, 1)
    assert refusals(api, batch)[0]["name"] == "letter"


@pytest.mark.django_db
def test_what_is_no_archive_makes_no_batch(api):
    response = api.post(BATCHES, {"archive": upload("calls.zip")})

    assert (response.status_code, error_of(response)["code"]) == (415, "unsupported_archive")
    assert not Batch.objects.exists()
    assert not BatchArchive.objects.exists()


@pytest.mark.django_db
def test_one_thing_at_a_time(api):
    response = api.post(BATCHES, {"archive": zipped(a_wav=wav()), "files": [upload()]})

    assert response.status_code == 400
    assert "files and archive" in error_of(response)["details"]["request"][0]


def test_an_empty_batch_takes_jobs_until_it_is_sealed(api):
    batch = make(api, options={"language": "de"}, priority="high", mode="async")
    assert batch["sealed_at"] is None

    job = post_json(api, {"url": URL, "batch": batch["id"]}, JOBS).json()
    own = {"url": URL, "batch": batch["id"], "options": {"model": "nova-2"}, "priority": "low"}
    other = post_json(api, own, JOBS).json()
    assert (job["batch"], job["options"]["language"], job["priority"]) == (batch["id"], "de", "high")
    assert job["receipt"]["requested_mode"] == "async"
    assert (other["options"]["model"], "language" in other["options"], other["priority"]) == (
        "nova-2",
        False,
        "low",
    )

    assert api.post(address(batch, "seal/")).json()["sealed_at"]
    refused = post_json(api, {"url": URL, "batch": batch["id"]}, JOBS)
    assert (refused.status_code, error_of(refused)["code"]) == (409, "batch_sealed")


@pytest.mark.django_db
def test_a_file_for_a_sealed_batch_is_not_kept(api, project):
    batch = make(api, urls=[URL])

    response = api.post(JOBS, {"file": upload(), "batch": batch["id"]})

    assert response.status_code == 409
    assert not project.recordings.exists()


def test_sealing_an_empty_batch_finishes_it(api):
    batch = make(api)

    assert api.post(address(batch, "seal/")).json()["finished_at"]


def test_anothers_batch_is_none(api, other_project):
    theirs = Batch.objects.create(project=other_project)

    response = post_json(api, {"url": URL, "batch": str(theirs.pk)}, JOBS)

    assert (response.status_code, list(error_of(response)["details"])) == (400, ["batch"])
    assert api.get(f"{BATCHES}{theirs.pk}/").status_code == 404
    assert api.get(JOBS, {"batch": theirs.pk}).json()["results"] == []


def test_the_list_shows_the_newest_first_each_with_its_counts(api, other_project):
    Batch.objects.create(project=other_project)
    made = [make(api, urls=[URL] * count) for count in (1, 2)]

    results = api.get(BATCHES).json()["results"]

    assert [(batch["id"], batch["counts"]["queued"]) for batch in results] == [
        (made[1]["id"], 2),
        (made[0]["id"], 1),
    ]


def test_the_list_costs_the_same_however_many_there_are(api, django_assert_num_queries):
    for _ in range(3):
        make(api, urls=[URL])

    # The key, the page, and what has become of its batches: jobs, refusals, archives.
    with django_assert_num_queries(5):
        api.get(BATCHES)


@pytest.mark.django_db(transaction=True)
def test_a_batch_is_followed_to_its_end_and_exported(api, provider):
    provider.set_transcript("hello there")
    batch = api.post(BATCHES, {"files": [upload("a.wav"), upload("../../b c.wav")]}).json()
    run_queued()

    done = api.get(address(batch)).json()
    assert (done["counts"]["completed"], done["progress"]) == (2, {"jobs": 1.0, "audio": 1.0})
    assert done["finished_at"]
    response = api.get(address(batch, "export.zip"), {"format": "txt,srt"})

    assert response["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.getvalue())) as bundle:
        assert bundle.testzip() is None
        assert sorted(bundle.namelist()) == [
            "00001-a.srt",
            "00001-a.txt",
            "00002-b_c.srt",
            "00002-b_c.txt",
            "manifest.csv",
        ]
        assert "hello there" in bundle.read("00001-a.txt").decode().lower()
        rows = list(csv.DictReader(io.StringIO(bundle.read("manifest.csv").decode("utf-8-sig"))))
    assert [(row["number"], row["name"], row["status"], row["file"]) for row in rows] == [
        ("1", "a.wav", "completed", "00001-a"),
        ("2", "b c.wav", "completed", "00002-b_c"),
    ]


@pytest.mark.django_db(transaction=True)
def test_the_manifest_tells_of_jobs_without_a_transcript_too_and_no_cell_is_a_formula(api, project):
    batch = Batch.objects.create(project=project)
    add_job(project, batch=batch, tags=["=1+1"], metadata={"a": 1})

    bundle = zipfile.ZipFile(io.BytesIO(api.get(f"{BATCHES}{batch.pk}/export.zip").getvalue()))

    assert bundle.namelist() == ["manifest.csv"]
    [row] = csv.DictReader(io.StringIO(bundle.read("manifest.csv").decode("utf-8-sig")))
    assert (row["name"], row["status"], row["tags"]) == (URL, "queued", "'=1+1")
    assert json.loads(row["metadata"]) == {"a": 1}


@pytest.mark.parametrize("move", ["cancel", "requeue", "delete"])
def test_a_move_that_cannot_be_begun_is_not_in_the_audit_log(api, monkeypatch, move):
    def fail(batch, move):
        raise OperationalError("The database went away.")

    batch = make(api, urls=[URL])
    monkeypatch.setattr(Batch, "begin", fail)

    response = api.delete(address(batch)) if move == "delete" else api.post(address(batch, f"{move}/"))

    assert response.status_code == 503
    assert not AuditEntry.objects.filter(action__startswith="batch.").exists()


def test_a_format_that_there_is_none_of_is_refused(api):
    batch = make(api)

    response = api.get(address(batch, "export.zip"), {"format": "docx"})

    assert (response.status_code, list(error_of(response)["details"])) == (400, ["format"])


def test_cancelling_requeuing_and_deleting(api, project):
    batch = make(api, urls=[URL, URL])

    cancelled = api.post(address(batch, "cancel/"))
    assert (cancelled.status_code, cancelled.json()["counts"]["cancelled"]) == (202, 2)
    assert cancelled.json()["finished_at"]
    TranscriptionJob.objects.update(status=Status.FAILED)
    requeued = api.post(address(batch, "requeue/")).json()
    assert (requeued["counts"]["queued"], requeued["run"], requeued["finished_at"]) == (2, 2, None)
    assert api.delete(address(batch)).status_code == 204
    assert api.get(address(batch)).status_code == 404
    assert not TranscriptionJob.objects.exists()


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.READER, {"list", "show", "refused", "export"}),
        (Role.UPLOADER, {"list", "show", "refused", "export", "make", "seal", "cancel"}),
        (
            Role.OPERATOR,
            {"list", "show", "refused", "export", "make", "seal", "cancel", "requeue", "delete"},
        ),
    ],
)
def test_roles_may_do_what_they_may_with_jobs(member, project, role, may):
    client = member(role)
    batch = {"id": Batch.objects.create(project=project).pk}
    asked = {
        "list": client.get(BATCHES),
        "show": client.get(address(batch)),
        "refused": client.get(address(batch, "refused/")),
        "make": post_json(client, {"project": str(project.pk)}),
        "seal": client.post(address(batch, "seal/")),
        "cancel": client.post(address(batch, "cancel/")),
        "requeue": client.post(address(batch, "requeue/")),
        "delete": client.delete(address(batch)),
    }

    allowed = {name for name, response in asked.items() if response.status_code < 300}
    assert allowed == may - {"export"}
    assert {asked[name].status_code for name in asked if name not in allowed} <= {403}


def test_a_person_may_not_put_a_job_into_a_batch_of_another_project(member, project):
    client = member(Role.UPLOADER)
    batch = Batch.objects.create(project=project)

    into = post_json(client, {"url": URL, "batch": str(batch.pk)}, JOBS)
    assert into.json()["project"] == str(project.pk)
    personal = client.get("/api/v1/projects/").json()["results"]
    other = [found["id"] for found in personal if found["id"] != str(project.pk)]
    assert (
        other == []
        or post_json(client, {"url": URL, "batch": str(batch.pk), "project": other[0]}, JOBS).status_code
        == 400
    )


def test_the_estimate_of_what_remains_is_by_recent_speed_and_the_slots_there_are(api, project):
    from tests.jobs.test_estimates import a_worker, transcribed_lately

    batch = Batch.objects.create(project=project, options={"model": "nova-3"})
    add_job(project, batch=batch, duration=600.0)
    assert api.get(f"{BATCHES}{batch.pk}/").json()["remaining"] is None

    transcribed_lately(project, speed=0.1)
    a_worker(slots=2)

    left = api.get(f"{BATCHES}{batch.pk}/").json()["remaining"]
    # One recording cannot be shared out among two.
    assert left["least"] == 60.0
    assert reverse("batch", args=(batch.pk,)) == f"{BATCHES}{batch.pk}/"
    assert Priority(batch.priority) == Priority.NORMAL


def test_an_estimate_tells_modes_cost_and_region_and_stores_nothing(api, settings):
    settings.PRICES = {"default": Decimal("0.6")}

    response = post_json(api, {"durations": [30, 3600]}, "/api/v1/estimates/")

    assert response.status_code == 200
    assert response.json() == {
        "jobs": 2,
        "seconds": 3630.0,
        "modes": {"sync": 1, "async": 1},
        "region": "default",
        "remaining": None,
        "cost": {"amount": "36.3000", "currency": "USD"},
    }
    assert not TranscriptionJob.objects.exists()


@pytest.mark.parametrize(
    "body",
    [{}, {"durations": []}, {"durations": [-1]}, {"durations": ["long"]}, {"durations": [1], "region": "x"}],
)
def test_an_estimate_of_nothing_is_refused(api, body):
    response = post_json(api, body, "/api/v1/estimates/")

    assert response.status_code == 400
    assert error_of(response)["details"]
