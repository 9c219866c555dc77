"""The list of jobs: who sees it, what is found, and what its bulk actions do."""

import io
import tracemalloc
import zipfile
from datetime import UTC, datetime

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs import lifecycle
from jobs.admin import history
from jobs.admin.downloads import archive
from jobs.admin.history import HistoryAdmin
from jobs.models import Priority, Recording, Status, Transcript, TranscriptionJob
from tests.jobs.admin.conftest import said
from tests.jobs.rows import RESULT, fresh, make_job, make_project, make_recording

LIST = reverse("admin:jobs_transcriptionjob_changelist")


def act(client, name, *jobs, across=False, **fields):
    data = {"action": name, "_selected_action": [str(job.pk) for job in jobs], "select_across": int(across)}
    data |= fields
    return client.post(LIST, data, follow=True)


def completed(project=None, **fields):
    job = make_job(Status.RUNNING, project=project or make_project(), **fields)
    lifecycle.complete(job, RESULT)
    return job


@pytest.mark.parametrize(
    "path", [LIST, reverse("admin:jobs_transcriptionjob_upload"), reverse("admin:index")]
)
def test_nobody_sees_it_who_is_not_staff(db, django_user_model, path):
    client = Client()
    client.force_login(django_user_model.objects.create_user("member"))

    response = client.get(path)

    assert response.status_code == 302
    assert response.url.startswith(reverse("admin:login"))


def test_staff_without_any_permission_see_all_jobs(staff_client):
    job = make_job()

    response = staff_client.get(LIST)

    assert [row.pk for row in response.context["cl"].result_list] == [job.pk]


def test_jobs_can_only_be_made_by_uploading(root_client):
    assert root_client.get(reverse("admin:jobs_transcriptionjob_add")).status_code == 403


def test_the_list_takes_as_many_queries_for_many_jobs_as_for_two(staff_client, regions):
    regions({"name": "default"})

    def queries():
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert staff_client.get(LIST).status_code == 200
        return len(captured)

    def add(count):
        for number in range(count):
            project = make_project(f"project {number}")
            make_job(
                Status.WAITING,
                project=project,
                recording=make_recording(project),
                error_code="provider_error",
            )

    add(2)
    for_two = queries()
    add(20)

    assert queries() == for_two
    assert for_two <= 10


def test_its_pages_go_on_where_the_one_before_ended_and_end_at_two_thousand(staff_client, monkeypatch):
    monkeypatch.setattr(history, "COUNTED_AT_MOST", 4)
    monkeypatch.setattr(HistoryAdmin, "list_per_page", 2)
    jobs = sorted((make_job(Status.FAILED) for _ in range(6)), key=lambda job: job.pk, reverse=True)

    seen = [
        staff_client.get(LIST, {"p": number, "status__exact": "failed"}).context["cl"] for number in (1, 2)
    ]

    assert [job for cl in seen for job in cl.result_list] == jobs[:4]
    assert [cl.result_count for cl in seen] == [4, 4]


@pytest.mark.parametrize(
    ("field", "value", "searched"),
    [
        ("url", "https://example.com/special.wav", "special"),
        ("error_code", "provider_timeout", "provider_timeout"),
        ("status", Status.QUEUED, None),
    ],
)
def test_it_finds_by_url_error_code_and_id(staff_client, field, value, searched):
    wanted = make_job(**{field: value})
    make_job()

    response = staff_client.get(LIST, {"q": searched or str(wanted.pk)})

    assert [job.pk for job in response.context["cl"].result_list] == [wanted.pk]


def test_it_finds_by_file_name(staff_client):
    project = make_project()
    recording = make_recording(project)
    Recording.objects.filter(pk=recording.pk).update(filename="Interview.mp3")
    wanted = make_job(project=project, recording=recording)
    make_job(project=project)

    response = staff_client.get(LIST, {"q": "interview"})

    assert [job.pk for job in response.context["cl"].result_list] == [wanted.pk]


@pytest.mark.parametrize(
    ("field", "value", "parameter"),
    [
        ("status", Status.FAILED, "status__exact"),
        ("mode", "sync", "mode__exact"),
        ("region", "elsewhere", "region"),
        ("priority", Priority.HIGH, "priority__exact"),
    ],
)
def test_it_filters(staff_client, field, value, parameter):
    wanted = make_job(**({"status": value} if field == "status" else {field: value}))
    make_job()

    response = staff_client.get(LIST, {parameter: value})

    assert response.status_code == 200
    assert [job.pk for job in response.context["cl"].result_list] == [wanted.pk]


def test_it_warns_when_nobody_works_on_a_queue_with_a_backlog(staff_client):
    make_job(queue="transcription.far")

    assert "No worker is alive for transcription.far" in staff_client.get(LIST).content.decode()


def test_it_does_not_warn_without_a_backlog(staff_client):
    make_job(Status.FAILED)

    assert "No worker is alive" not in staff_client.get(LIST).content.decode()


def test_requeueing_moves_what_has_ended_and_says_what_it_left_and_why(staff_client):
    failed = make_job(Status.FAILED)
    running = make_job(Status.RUNNING, url="https://example.com/running.wav")

    response = act(staff_client, "requeue_selected", failed, running)

    assert (fresh(failed).status, fresh(failed).run) == (Status.QUEUED, 2)
    assert fresh(running).status == Status.RUNNING
    assert "1 job was requeued." in said(response)
    assert "1 job was not requeued: https://example.com/running.wav (running: only what has ended" in said(
        response
    )


def test_a_job_whose_region_is_gone_is_not_requeued(staff_client):
    job = make_job(Status.FAILED, region="gone", pinned=True)

    response = act(staff_client, "requeue_selected", job)

    assert fresh(job).status == Status.FAILED
    assert "its region gone is gone" in said(response)


def test_cancelling_moves_what_has_not_ended(staff_client):
    queued, dead = make_job(), make_job(Status.DEAD)

    response = act(staff_client, "cancel_selected", queued, dead)

    assert fresh(queued).status == Status.CANCELLED
    assert fresh(dead).status == Status.DEAD
    assert "1 job was cancelled." in said(response)
    assert "(dead: only what has not ended can be cancelled)" in said(response)


def test_moves_are_in_the_job_s_log(staff_client, staff):
    job = make_job()

    act(staff_client, "cancel_selected", job)

    response = staff_client.get(reverse("admin:jobs_transcriptionjob_history", args=(job.pk,)))
    assert [(entry.user, entry.get_change_message()) for entry in response.context["action_list"]] == [
        (staff, "Cancelled")
    ]


def test_an_export_holds_every_format_of_each_transcript(staff_client):
    first, second = completed(), completed()

    response = act(staff_client, "export_selected", first, second)

    archive = zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))
    endings = sorted(name.rpartition(".")[2] for name in archive.namelist())
    assert endings == sorted(["txt", "srt", "vtt", "json"] * 2)
    texts = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".txt")]
    assert texts == ["Hello.\n", "Hello.\n"]


def test_an_export_names_the_jobs_without_a_transcript(staff_client):
    done, failed = completed(), make_job(Status.FAILED, url="https://example.com/failed.wav")

    response = act(staff_client, "export_selected", done, failed)
    assert b"".join(response.streaming_content)

    told = said(staff_client.get(LIST))
    assert "1 job was not exported, having no transcript: https://example.com/failed.wav (failed)." in told
    assert "1 job was exported." in told


def test_an_export_of_nothing_is_a_page_that_says_so(staff_client):
    response = act(staff_client, "export_selected", make_job(Status.FAILED))

    assert response.headers["Content-Type"].startswith("text/html")
    assert "not exported" in said(response)


def test_an_export_holds_one_transcript_in_memory_at_a_time(staff_client):
    project, megabyte, count = make_project(), 1 << 20, 30
    for _ in range(count):
        Transcript.objects.create(
            job=make_job(Status.COMPLETED, project=project), run=1, version=1, text="a" * megabyte
        )

    tracemalloc.start()
    try:
        file, included, _ = archive(TranscriptionJob.objects.select_related("recording"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    file.close()

    assert len(included) == count
    assert peak < count * megabyte / 2


@pytest.mark.parametrize("filename", ["", "call.wav"])
def test_the_list_calls_a_job_by_its_recording(staff_client, filename):
    project = make_project()
    recording = make_recording(project)
    Recording.objects.filter(pk=recording.pk).update(filename=filename)
    job = make_job(project=project, recording=recording, url="")

    assert f">{filename or f'recording {job.pk.hex[-8:]}'}</a>" in staff_client.get(LIST).content.decode()


def test_deleting_is_the_last_of_the_actions(root_client):
    make_job()

    choices = root_client.get(LIST).context["action_form"].fields["action"].choices

    assert [name for name, _ in choices if name] == [
        "requeue_selected",
        "cancel_selected",
        "prioritise_high",
        "prioritise_normal",
        "prioritise_low",
        "export_selected",
        "delete_selected",
    ]


def test_deleting_asks_first_and_names_what_will_be_gone(root_client):
    job = make_job(url="https://example.com/gone.wav")
    TranscriptionJob.objects.update(created_at=datetime(2026, 11, 21, 10, 33, tzinfo=UTC))

    text = act(root_client, "delete_selected", job).content.decode()

    assert f"https://example.com/gone.wav, of 2026-11-21 10:33, queued, id {job.pk}" in text
    assert TranscriptionJob.objects.exists()


def test_asking_before_many_are_deleted_costs_what_one_does(root_client, django_assert_max_num_queries):
    project = make_project()
    chosen = [make_job(project=project, recording=make_recording(project)) for _ in range(12)]

    with django_assert_max_num_queries(12):
        act(root_client, "delete_selected", *chosen)


def test_no_more_are_asked_about_than_the_answer_can_hold(root_client, monkeypatch):
    monkeypatch.setattr("jobs.admin.jobs.DELETE_LIMIT", 2)
    project = make_project()
    chosen = [make_job(project=project) for _ in range(3)]

    response = act(root_client, "delete_selected", *chosen)

    assert response.content.decode().count('name="_selected_action"') == 2
    assert "Only the first 2 were taken" in response.content.decode()


def test_staff_may_not_delete_many_either(staff_client):
    job = make_job()

    act(staff_client, "delete_selected", job, post="yes")

    assert TranscriptionJob.objects.filter(pk=job.pk).exists()


def test_staff_may_not_delete(staff_client):
    job = make_job()

    response = staff_client.post(
        reverse("admin:jobs_transcriptionjob_delete", args=(job.pk,)), {"post": "yes"}
    )

    assert response.status_code == 403
    assert TranscriptionJob.objects.filter(pk=job.pk).exists()


@pytest.mark.parametrize("by", ["page", "action"])
def test_a_superuser_deletes_a_job_with_its_stored_files(root_client, django_capture_on_commit_callbacks, by):
    project = make_project()
    recording = make_recording(project)
    job = completed(project, recording=recording)
    storages["default"].save(job.answer_name, ContentFile(b"{}"))

    with django_capture_on_commit_callbacks(execute=True):
        if by == "page":
            root_client.post(reverse("admin:jobs_transcriptionjob_delete", args=(job.pk,)), {"post": "yes"})
        else:
            data = {"action": "delete_selected", "_selected_action": [str(job.pk)], "post": "yes"}
            root_client.post(LIST, data)

    assert not TranscriptionJob.objects.filter(pk=job.pk).exists()
    assert not storages["default"].exists(recording.file.name)
    assert not storages["default"].exists(job.answer_name)
