"""Files that come a part at a time: what is asked of whom, and what becomes of them."""

import hashlib
from datetime import timedelta

import httpx
import pytest
from django.core.files.storage import storages
from django.utils import timezone

from jobs.audio import uploads
from jobs.forgetting import erasure
from jobs.forgetting.deletion import delete_job
from jobs.forgetting.retention import purging
from jobs.models import ApiKey, Recording, Role, Scope, TranscriptionJob, Upload
from tests.jobs.api.conftest import JOBS, client_for, error_of, wav

pytestmark = pytest.mark.django_db(transaction=True)

UPLOADS = "/api/v1/uploads/"
AUDIO = wav(3.0)
HALF = len(AUDIO) // 2
OCTETS = "application/offset+octet-stream"


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    options = {"location": tmp_path, "allow_overwrite": True}
    settings.STORAGES = settings.STORAGES | {"default": settings.STORAGES["default"] | {"OPTIONS": options}}
    return tmp_path


def begin(client, **fields):
    body = {"filename": "call.wav", "size": len(AUDIO)} | fields
    return client.post(UPLOADS, body, content_type="application/json")


def begun(client, **fields):
    """The address of an upload."""
    response = begin(client, **fields)
    assert response.status_code == 201, response.content
    return f"{UPLOADS}{response.json()['id']}/"


def send(client, address, part, offset, **headers):
    headers = {"Upload-Offset": str(offset), "Tus-Resumable": "1.0.0"} | headers
    return client.patch(address, part, content_type=OCTETS, headers=headers)


def submit(client, address, **fields):
    body = {"upload": address.split("/")[-2], "mode": "async"} | fields
    return client.post(JOBS, body, content_type="application/json")


def kept(media):
    return [path for path in media.rglob("*") if path.is_file()]


def test_a_file_comes_in_two_parts_and_is_submitted_twice(api, media):
    address = begun(api, sha256=hashlib.sha256(AUDIO).hexdigest())

    first = send(api, address, AUDIO[:HALF], 0)
    asked = api.head(address)
    second = send(api, address, AUDIO[HALF:], HALF)
    jobs = [submit(api, address).json() for _ in range(2)]

    assert (first.status_code, first["Upload-Offset"]) == (204, str(HALF))
    assert (asked["Upload-Offset"], asked["Upload-Length"]) == (str(HALF), str(len(AUDIO)))
    assert (asked["Cache-Control"], asked["Tus-Resumable"], asked.content) == ("no-store", "1.0.0", b"")
    assert (second.status_code, second["Upload-Offset"]) == (204, str(len(AUDIO)))
    recording = Recording.objects.get()
    assert {job["recording"]["id"] for job in jobs} == {str(recording.pk)}
    assert jobs[0]["recording"] == {
        "id": str(recording.pk),
        "filename": "call.wav",
        "size": len(AUDIO),
        "sha256": hashlib.sha256(AUDIO).hexdigest(),
        "duration": 3.0,
        "channels": 1,
    }
    [file] = kept(media)
    assert file.read_bytes() == AUDIO
    same = api.post(f"{JOBS}?mode=async", AUDIO, content_type="audio/wav").json()
    assert same["receipt"]["duplicate_of"] in {job["id"] for job in jobs}


def test_it_is_shown_how_far_it_has_come(api):
    address = begun(api)
    send(api, address, AUDIO[:HALF], 0)

    shown = api.get(address).json()
    [listed] = api.get(UPLOADS).json()["results"]

    assert (shown["offset"], shown["size"], shown["parts"]) == (HALF, len(AUDIO), None)
    assert list(shown) == list(listed)
    assert (listed["offset"], listed["recording"]) == (None, None)


@pytest.mark.parametrize("offset", [0, HALF - 1, HALF + 1])
def test_a_part_that_begins_elsewhere_is_refused_and_changes_nothing(api, media, offset):
    address = begun(api)
    send(api, address, AUDIO[:HALF], 0)

    response = send(api, address, b"x", offset)

    assert (response.status_code, error_of(response)["code"]) == (409, "wrong_offset")
    assert kept(media)[0].read_bytes() == AUDIO[:HALF]


def test_a_part_of_another_type_is_told_the_right_one(api, media):
    response = api.patch(begun(api), b"x", content_type="audio/wav", headers={"Upload-Offset": "0"})

    assert error_of(response)["message"].endswith(f"Accepted here: {OCTETS}.")


@pytest.mark.parametrize(
    ("headers", "part", "content_type", "status", "code"),
    [
        ({}, b"x", OCTETS, 400, "bad_request"),
        ({"Upload-Offset": "-1"}, b"x", OCTETS, 400, "bad_request"),
        ({"Upload-Offset": "0"}, b"x", "audio/wav", 415, "unsupported_media_type"),
        ({"Upload-Offset": "0"}, b"{}", "application/json", 415, "unsupported_media_type"),
        ({"Upload-Offset": "0", "Tus-Resumable": "0.2.2"}, b"x", OCTETS, 412, "tus_version"),
        ({"Upload-Offset": "0"}, AUDIO + b"x", OCTETS, 413, "too_large"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(api, media, headers, part, content_type, status, code):
    address = begun(api)

    response = api.patch(address, part, content_type=content_type, headers=headers)

    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert kept(media)[0].stat().st_size == 0


def test_an_empty_part_changes_nothing(api):
    address = begun(api)

    assert send(api, address, b"", 0)["Upload-Offset"] == "0"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"size": 0}, 400, "validation_error"),
        ({"size": None}, 400, "validation_error"),
        ({"sha256": "abc"}, 400, "validation_error"),
        ({"size": 3 * 1024**3}, 413, "too_large"),
    ],
)
def test_what_cannot_be_taken_is_refused_before_it_is_sent(api, fields, status, code):
    response = begin(api, **fields)

    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert not Upload.objects.exists()


def test_what_does_not_fit_on_the_disk_is_refused(api, settings):
    settings.DISK_RESERVE_BYTES = 1 << 60

    assert begin(api).status_code == 507


def test_a_part_takes_no_room_of_the_reserve_and_what_came_before_it_is_kept(api, settings, media):
    address = begun(api)
    send(api, address, AUDIO[:HALF], 0)
    settings.DISK_RESERVE_BYTES = 1 << 60

    response = send(api, address, AUDIO[HALF:], HALF)

    assert (response.status_code, error_of(response)["code"]) == (507, "insufficient_storage")
    assert kept(media)[0].read_bytes() == AUDIO[:HALF]


def test_a_project_has_so_many_unfinished_uploads_and_no_more(api, settings, other_project):
    settings.MAX_OPEN_UPLOADS = 2
    first, _ = begun(api), begun(api)

    assert error_of(begin(api))["code"] == "too_many_uploads"
    assert begin(client_for(ApiKey.objects.issue(other_project, "k")[1])).status_code == 201
    api.delete(first)
    assert begin(api).status_code == 201


@pytest.mark.parametrize("finish", [submit, lambda client, address: client.post(f"{address}complete/")])
def test_what_has_not_all_arrived_is_not_submitted(api, finish):
    address = begun(api)
    send(api, address, AUDIO[:HALF], 0)

    response = finish(api, address)

    assert (response.status_code, error_of(response)["code"]) == (409, "upload_incomplete")
    assert send(api, address, AUDIO[HALF:], HALF).status_code == 204
    assert finish(api, address).status_code in (200, 202)


@pytest.mark.parametrize(
    ("fields", "audio", "status", "code"),
    [
        ({"size": 10}, b"0123456789", 415, "unsupported_media"),
        ({"sha256": "0" * 64}, AUDIO, 409, "sha256_mismatch"),
    ],
)
def test_what_turns_out_to_be_no_use_is_gone(api, media, fields, audio, status, code):
    address = begun(api, **fields)
    send(api, address, audio, 0)

    response = api.post(f"{address}complete/")

    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert (kept(media), api.get(address).status_code) == ([], 404)


def test_completing_tells_what_was_found_and_may_be_repeated(api):
    address = begun(api)
    send(api, address, AUDIO, 0)

    first, again = (api.post(f"{address}complete/").json() for _ in range(2))

    assert first == again == api.get(address).json()["recording"]
    assert error_of(send(api, address, b"", len(AUDIO)))["code"] == "upload_finished"


def test_a_recording_without_a_name_has_none_wherever_it_is_shown(api):
    address = begun(api, filename="")
    send(api, address, AUDIO, 0)

    shown = [
        api.post(f"{address}complete/").json(),
        api.get(address).json()["recording"],
        submit(api, address).json()["recording"],
    ]

    assert [recording["filename"] for recording in shown] == [None] * 3


def test_a_file_that_was_left_by_a_process_killed_while_it_finished_is_finished(api):
    address = begun(api)
    send(api, address, AUDIO, 0)
    recording = uploads.finish(Upload.objects.get())
    # As if the transaction had not been.
    Upload.objects.update(recording=None)
    Recording.objects.filter(pk=recording.pk).delete()

    assert submit(api, address).status_code == 202


def test_others_uploads_do_not_exist(api, other_project, media):
    address = begun(api)
    other = client_for(ApiKey.objects.issue(other_project, "k")[1])

    answers = [
        other.get(address),
        send(other, address, b"x", 0),
        other.post(f"{address}complete/"),
        other.delete(address),
        submit(other, address),
    ]

    assert {response.status_code for response in answers} == {404}
    assert (other.get(UPLOADS).json()["results"], Upload.objects.count()) == ([], 1)


def test_a_key_that_may_only_look_and_a_reader_send_nothing(api, project, member):
    address = begun(api)
    looking = client_for(ApiKey.objects.issue(project, "k", scopes=[Scope.READ])[1])

    for client in (looking, member(Role.READER)):
        assert client.get(address).status_code == 200
        assert begin(client).status_code in (403, 201)
        assert send(client, address, b"x", 0).status_code == 403
        assert client.delete(address).status_code == 403
    assert begin(looking).status_code == 403
    assert api.get(address).json()["offset"] == 0


def ago(hours):
    return timezone.now() - timedelta(hours=hours)


@pytest.mark.parametrize("received", [0, HALF, len(AUDIO)])
def test_what_nobody_uses_for_a_day_is_removed(api, media, received):
    address = begun(api)
    send(api, address, AUDIO[:received], 0)
    if received == len(AUDIO):
        api.post(f"{address}complete/")
    Upload.objects.update(expires_at=ago(1))
    assert api.get(address).status_code == 404

    list(purging())

    assert (kept(media), Upload.objects.count(), Recording.objects.count()) == ([], 0, 0)


def test_an_upload_that_is_used_lives_on_and_a_recording_that_a_job_has_stays(api, media):
    address = begun(api)
    Upload.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    send(api, address, AUDIO, 0)
    assert Upload.objects.get().expires_at > timezone.now() + timedelta(hours=23)
    submit(api, address)
    Upload.objects.update(expires_at=ago(1))

    list(purging())

    assert (len(kept(media)), Upload.objects.count(), Recording.objects.count()) == (1, 0, 1)
    assert submit(api, address).status_code == 404


def test_deleting_the_job_deletes_the_recording_and_with_it_the_upload(api, media):
    address = begun(api)
    send(api, address, AUDIO, 0)
    job = submit(api, address).json()

    delete_job(TranscriptionJob.objects.get(pk=job["id"]))

    assert (kept(media), Upload.objects.count()) == ([], 0)


@pytest.mark.parametrize("received", [HALF, len(AUDIO)])
def test_a_project_is_erased_with_its_uploads(api, project, media, received):
    address = begun(api)
    send(api, address, AUDIO[:received], 0)
    api.post(f"{address}complete/")

    erasure.begin(project)
    list(erasure.erase(project))

    assert (kept(media), Upload.objects.count(), Recording.objects.count()) == ([], 0, 0)


def test_a_recording_whose_audio_was_forgotten_is_not_submitted_again(api, project):
    address = begun(api)
    send(api, address, AUDIO, 0)
    api.post(f"{address}complete/")
    Recording.objects.update(audio_deleted_at=timezone.now())

    assert error_of(submit(api, address))["code"] == "upload_gone"


def test_a_submission_that_is_refused_leaves_the_upload_for_the_next(project, media):
    api = client_for(ApiKey.objects.issue(project, "k", max_open_jobs=1)[1])
    address = begun(api)
    send(api, address, AUDIO, 0)
    assert submit(api, address).status_code == 202

    assert submit(api, address).status_code == 429
    assert (len(kept(media)), Upload.objects.count()) == (1, 1)


@pytest.mark.parametrize("sources", [{"url": "https://example.com/a.wav"}, {}])
def test_a_submission_has_one_source(api, sources):
    address = begun(api)
    body = {"upload": address.split("/")[-2], **sources} if sources else {"mode": "async"}

    response = api.post(JOBS, body, content_type="application/json")

    assert error_of(response)["code"] == "validation_error"


def parts_of(client, address):
    return client.get(address).json()["parts"]


def put(part, audio):
    sent = audio[part["offset"] : part["offset"] + part["size"]]
    httpx.put(part["url"], content=sent, trust_env=False).raise_for_status()


@pytest.fixture
def large():
    """More than S3's smallest part."""
    return wav(12 * 1024 * 1024 / 32000)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("jobs.audio.parts.PART_BYTES", 5 << 20)


def test_on_s3_the_parts_go_to_the_bucket_in_any_order(api, s3, large, small_parts):
    response = begin(api, size=len(large), sha256=hashlib.sha256(large).hexdigest())
    address = f"{UPLOADS}{response.json()['id']}/"
    parts = response.json()["parts"]
    assert [part["number"] for part in parts] == [1, 2, 3]

    put(parts[2], large)
    put(parts[0], large)
    assert [part["received"] for part in parts_of(api, address)] == [True, False, True]
    assert error_of(submit(api, address))["code"] == "upload_incomplete"
    put(parts_of(api, address)[1], large)

    assert api.get(address).json()["offset"] == len(large)
    assert error_of(send(api, address, b"x", 0))["code"] in ("too_large", "upload_by_parts")
    job = submit(api, address).json()
    assert job["recording"]["sha256"] == hashlib.sha256(large).hexdigest()
    assert submit(api, address).status_code == 202
    with storages["default"].open(Recording.objects.get().file.name) as file:
        assert file.read() == large
    assert s3.unfinished() == []


def test_on_s3_an_upload_that_is_given_up_or_expires_leaves_nothing(api, s3):
    given_up, expired = begun(api), begun(api)
    put(parts_of(api, expired)[0], AUDIO)
    assert len(s3.unfinished()) == 2

    api.delete(given_up)
    Upload.objects.update(expires_at=ago(1))
    list(purging())

    assert (s3.unfinished(), s3.objects(), Upload.objects.count()) == ([], set(), 0)


def test_on_s3_parts_that_were_joined_by_a_process_killed_then_are_finished(api, s3):
    address = begun(api)
    put(parts_of(api, address)[0], AUDIO)
    upload = Upload.objects.get()
    storages["default"].join_parts(upload.stored_name, upload.parts_id)

    assert api.get(address).json()["offset"] == len(AUDIO)
    assert submit(api, address).status_code == 202


def test_on_s3_what_turns_out_to_be_no_use_is_gone(api, s3):
    address = begun(api, size=10)
    put(parts_of(api, address)[0], b"0123456789")

    assert error_of(api.post(f"{address}complete/"))["code"] == "unsupported_media"
    assert (s3.objects(), Upload.objects.count()) == (set(), 0)
