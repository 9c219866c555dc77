"""Batches in the admin: the list, the page of one, and what is done there."""

import io
import zipfile

import pytest
from django.urls import reverse

from jobs import lifecycle
from jobs.admin.batches import STATES, state_of
from jobs.batches.progress import Tally
from jobs.models import AuditEntry, Batch, RefusedItem, Status
from tests.jobs.admin.conftest import said
from tests.jobs.rows import RESULT, ago, fresh, make_job, make_project
from tests.jobs.test_estimates import a_worker, transcribed_lately

LIST = reverse("admin:jobs_batch_changelist")
JOBS = reverse("admin:jobs_transcriptionjob_changelist")


def page(name, batch):
    return reverse(f"admin:jobs_batch_{name}", args=(batch.pk,))


@pytest.fixture
def batch(db):
    return Batch.objects.create(project=make_project(), name="March", sealed_at=ago(1))


def add(batch, status=Status.QUEUED, **fields):
    return make_job(status, project=batch.project, batch=batch, **fields)


def test_the_list_shows_how_far_each_is_at_the_cost_of_one(
    staff_client, batch, django_assert_max_num_queries
):
    add(batch, Status.COMPLETED)
    add(batch)
    for _ in range(10):
        add(Batch.objects.create(project=batch.project), Status.FAILED)

    with django_assert_max_num_queries(20):
        text = staff_client.get(LIST).content.decode()

    assert "March" in text
    assert '<progress class="job-progress" max="2" value="1">' in text


def test_the_page_tells_counts_refusals_and_audio(staff_client, batch):
    add(batch, Status.COMPLETED, duration=65.0)
    add(batch)
    RefusedItem.objects.create(
        batch=batch, name="https://example.com/a?signature=x", code="invalid_url", message="It is private."
    )

    text = staff_client.get(page("change", batch)).content.decode()

    assert "1 of 2 jobs ended" in text
    assert f"{JOBS}?batch={batch.pk}&amp;status__exact=queued" in text
    assert "1:05, and 1 of unknown length" in text
    assert "It is private." in text
    assert "signature" not in text


@pytest.mark.parametrize(
    ("ended", "refused", "state"),
    [
        ([Status.COMPLETED], 0, "finished"),
        ([Status.COMPLETED], 1, "partly done"),
        ([Status.COMPLETED, Status.DEAD], 0, "partly done"),
        ([Status.COMPLETED, Status.CANCELLED], 0, "partly done"),
        ([Status.FAILED, Status.CANCELLED], 0, "failed"),
        ([], 1, "failed"),
        ([Status.CANCELLED], 0, "cancelled"),
        ([], 0, "empty"),
    ],
)
def test_a_batch_that_is_finished_is_called_by_its_outcome(batch, ended, refused, state):
    batch.finished_at = ago(0)
    counts = {status: ended.count(status) for status in Status.values}

    assert state_of(batch, Tally(counts=counts, refused=refused)) == state
    assert state in STATES


def test_what_is_of_unknown_length_has_no_time_left(staff_client, batch):
    add(batch, Status.COMPLETED, duration=65.0)
    add(batch, duration=0.0)
    transcribed_lately(batch.project, speed=0.1)
    a_worker(slots=1)

    text = staff_client.get(page("state", batch)).content.decode()

    assert "1 of 2 jobs ended" in text
    assert " left<" not in text


def test_a_batch_without_jobs_has_no_bar(staff_client, batch):
    for shown in (LIST, page("change", batch)):
        assert "<progress" not in staff_client.get(shown).content.decode()


def test_the_list_of_jobs_is_narrowed_to_a_batch(staff_client, batch):
    mine, other = add(batch, url="https://example.com/mine"), make_job(url="https://example.com/other")

    text = staff_client.get(JOBS, {"batch": batch.pk}).content.decode()

    assert "example.com/mine" in text
    assert "example.com/other" not in text
    assert staff_client.get(JOBS, {"batch": "nonsense"}).status_code == 200
    assert fresh(mine).batch_id == batch.pk
    assert fresh(other).batch_id is None


@pytest.mark.parametrize(
    ("move", "before", "after"), [("cancel", "queued", "cancelled"), ("requeue", "failed", "queued")]
)
def test_all_jobs_are_moved_at_once_and_the_audit_log_says_who_did_it(
    staff_client, batch, move, before, after
):
    job = add(batch, Status(before))

    response = staff_client.post(page(move, batch), follow=True)

    assert said(response)
    assert fresh(job).status == after
    assert AuditEntry.objects.get(object_id=str(batch.pk)).action.startswith("batch.")
    assert staff_client.get(page(move, batch)).status_code == 405


def test_sealing(staff_client, db):
    batch = Batch.objects.create(project=make_project())

    staff_client.post(page("seal", batch))

    assert Batch.objects.get().finished_at


def test_only_superusers_delete(staff_client, root_client, batch):
    add(batch)

    assert staff_client.post(page("remove", batch)).status_code == 403
    assert b"Delete" not in staff_client.get(page("change", batch)).content
    root_client.post(page("remove", batch))

    assert not Batch.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_export_holds_what_is_completed(staff_client, batch):
    job = add(batch, Status.RUNNING)
    lifecycle.complete(job, RESULT)

    response = staff_client.get(page("export", batch))

    names = zipfile.ZipFile(io.BytesIO(response.getvalue())).namelist()
    assert names == [
        "00001-recording.txt",
        "00001-recording.srt",
        "00001-recording.vtt",
        "00001-recording.json",
        "manifest.csv",
    ]
    assert AuditEntry.objects.get(object_id=str(batch.pk)).action == "transcript.exported"


def test_the_state_tells_when_nothing_will_change_any_more(staff_client, batch):
    job = add(batch)
    assert staff_client.get(page("state", batch))["X-Ended"] == "false"

    lifecycle.cancel(job)

    assert staff_client.get(page("state", batch))["X-Ended"] == "true"


def test_a_batch_that_is_gone_leads_to_the_list(staff_client, batch):
    batch.delete()

    response = staff_client.get(reverse("admin:jobs_batch_change", args=("no-id",)), follow=True)

    assert "There is no batch" in said(response)
