"""What is done to all jobs that match: shown first, then step by step."""

import io
import re
import zipfile
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from jobs import lifecycle
from jobs.admin import bulk
from jobs.models import AuditEntry, Priority, Project, Recording, Status, TranscriptionJob
from jobs.models.audit import Action
from tests.jobs.rows import RESULT, fresh, make_job, make_project, make_recording

pytestmark = pytest.mark.django_db
LIST = reverse("admin:jobs_transcriptionjob_changelist")
BY_SCRIPT = {"X-Requested-With": "XMLHttpRequest"}


@pytest.fixture
def project():
    return make_project()


def ask(client, name, job, query=""):
    """The page that asks for all that match to be confirmed."""
    data = {"action": name, "_selected_action": [str(job.pk)], "select_across": "1"}
    return client.post(f"{LIST}?{query}", data).content.decode()


def step(name):
    return reverse("admin:jobs_transcriptionjob_bulk", args=(name,))


def fields_of(page):
    """Where the page's form leads, and what is hidden in it."""
    form = re.search(r'<form method="post" class="job-buttons" action="([^"]*)"(.*?)</form>', page, re.S)
    if form is None:
        return None
    return form[1].replace("&amp;", "&"), dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[2]))


def to_the_end(client, page):
    """Every step, until no page asks for another; the last."""
    while form := fields_of(page):
        page = client.post(form[0], form[1], headers=BY_SCRIPT).content.decode()
    return page


def test_nothing_is_done_before_it_is_confirmed_and_it_is_told_how_many_it_would_be(staff_client, project):
    failed = [make_job(Status.FAILED, project=project) for _ in range(3)]
    make_job(project=project)

    page = ask(staff_client, "requeue_selected", failed[0])

    assert "Requeue 3 jobs" in page
    assert "left as they are: only what has ended can be requeued" in page
    assert {fresh(job).status for job in failed} == {Status.FAILED}


def test_what_it_will_cost_is_told_before_and_what_has_no_audio_any_more_is_left(
    staff_client, project, settings
):
    settings.PRICES = {"default": Decimal("0.01")}
    *kept, gone = (
        make_job(Status.FAILED, project=project, recording=make_recording(project), duration=90)
        for _ in range(3)
    )
    Recording.objects.filter(pk=gone.recording_id).update(audio_deleted_at=timezone.now())

    page = ask(staff_client, "requeue_selected", gone)
    ended = to_the_end(staff_client, page)

    assert "Requeue 2 jobs" in page
    assert "3:00 of audio to be transcribed, about 0.03 USD" in page
    assert "their audio was deleted" in page
    assert "2 jobs were requeued" in ended and "could not be" not in ended
    assert [fresh(job).status for job in (*kept, gone)] == [Status.QUEUED, Status.QUEUED, Status.FAILED]


def test_of_many_the_newest_are_counted_and_measured_and_all_are_moved(
    staff_client, project, monkeypatch, django_assert_max_num_queries
):
    monkeypatch.setattr(bulk, "COUNTED_AT_MOST", 2)
    failed = [
        make_job(Status.FAILED, project=project, recording=make_recording(project), duration=60)
        for _ in range(3)
    ]
    Recording.objects.filter(pk=failed[1].recording_id).update(audio_deleted_at=timezone.now())

    with django_assert_max_num_queries(22) as captured:
        page = ask(staff_client, "requeue_selected", failed[0])
    of_jobs = [each["sql"] for each in captured if "COUNT(" in each["sql"] or "billed" in each["sql"]]
    ended = to_the_end(staff_client, page)

    assert len(of_jobs) == len(Status) + 1 and all("LIMIT 2" in sql for sql in of_jobs)
    assert "Requeue 1 or more jobs" in page and "Of the newest 2: 1:00 of audio" in page
    assert "2 jobs were requeued" in ended


def test_what_is_chosen_from_is_told_in_words(staff_client, project):
    job = make_job(Status.FAILED, project=project, priority=Priority.HIGH)

    # The filter of the only project there is has no choices.
    query = f"status__exact=failed&project__id__exact={project.pk}&priority__exact={Priority.HIGH}"
    page = ask(staff_client, "requeue_selected", job, query)

    told = re.sub(r"<.*?>", "", page.partition('job-about">')[2].partition("</p>")[0])
    assert told == f"Of the jobs with status Failed and priority high and project {project.pk}:"


@pytest.mark.parametrize(("query", "is_told"), [("q=call", True), ("status__exact=failed", False)])
def test_of_a_search_it_is_told_that_it_finds_no_more_than_the_newest(staff_client, project, query, is_told):
    job = make_job(Status.FAILED, project=project, url="https://example.com/call.wav")

    page = ask(staff_client, "requeue_selected", job, query)

    assert ("at most the newest 1,000" in page) == is_told


def test_all_that_match_are_moved_step_by_step_and_audited(staff_client, project, monkeypatch):
    monkeypatch.setattr(bulk, "STEP", 2)
    failed = [make_job(Status.FAILED, project=project) for _ in range(5)]
    dead = make_job(Status.DEAD, project=project)

    page = ask(staff_client, "requeue_selected", failed[0], "status__exact=failed")
    page = to_the_end(staff_client, page)

    assert "5 jobs were requeued" in page
    assert {fresh(job).status for job in failed} == {Status.QUEUED}
    assert fresh(dead).status == Status.DEAD
    assert AuditEntry.objects.filter(action=Action.JOB_REQUEUED).count() == 5


def test_what_comes_after_it_was_confirmed_is_left(staff_client, project):
    make_job(project=project)
    page = ask(staff_client, "cancel_selected", make_job(project=project))
    later = make_job(project=project)

    page = to_the_end(staff_client, page)

    assert "2 jobs were cancelled" in page
    assert fresh(later).status == Status.QUEUED


def test_a_step_that_is_asked_for_again_transcribes_nothing_twice_and_counts_what_was_done(
    staff_client, project
):
    job = make_job(Status.FAILED, project=project)
    address, fields = fields_of(ask(staff_client, "requeue_selected", job))
    staff_client.post(address, fields)
    fresh(job).cancel()

    again = staff_client.post(address, fields).content.decode()

    assert "1 job was requeued" in again and "That was all of them" in again
    assert fresh(job).run == 2


def test_a_job_whose_step_is_asked_for_again_is_counted_once(staff_client, project):
    address, fields = fields_of(ask(staff_client, "prioritise_high", make_job(project=project)))

    pages = [staff_client.post(address, fields).content.decode() for _ in range(2)]

    assert all("1 job was given high priority" in page for page in pages)


def test_without_a_script_each_step_has_a_page_with_a_button(staff_client, project, monkeypatch):
    monkeypatch.setattr(bulk, "STEP", 1)
    jobs = [make_job(project=project) for _ in range(2)]
    address, fields = fields_of(ask(staff_client, "cancel_selected", jobs[0]))

    page = staff_client.post(address, fields).content.decode()

    assert "Go on" in page and "<html" in page
    assert sorted(fresh(job).status for job in jobs) == [Status.CANCELLED, Status.QUEUED]


def test_all_that_wait_get_another_place_in_line(staff_client, project):
    jobs = [make_job(project=project), make_job(Status.WAITING, project=project)]

    page = to_the_end(staff_client, ask(staff_client, "prioritise_high", jobs[0]))

    assert "2 jobs were given high priority" in page
    assert {fresh(job).priority for job in jobs} == {Priority.HIGH}


def test_what_cannot_be_moved_is_told_with_why(staff_client, project):
    job = make_job(Status.FAILED, project=project, region="gone", pinned=True)

    page = to_the_end(staff_client, ask(staff_client, "requeue_selected", job))

    assert "1 could not be" in page
    assert "its region gone is gone" in page


def test_what_no_region_may_take_any_more_is_told_with_why(staff_client, project):
    job = make_job(Status.FAILED, project=project)
    Project.objects.update(residency=["moon"])

    page = to_the_end(staff_client, ask(staff_client, "requeue_selected", job))

    assert "No region that the project" in page
    assert fresh(job).status == Status.FAILED


@pytest.mark.django_db(transaction=True)
def test_the_transcripts_of_all_that_match_are_one_archive(staff_client, project):
    other = make_project("other")
    for owner in (project, other):
        job = make_job(Status.RUNNING, project=owner)
        lifecycle.complete(job, RESULT)
    make_job(Status.FAILED, project=project)
    word = RESULT.text.split()[0]
    address, fields = fields_of(ask(staff_client, "export_selected", job, f"q={word}&status=completed"))

    response = staff_client.post(address, fields)

    with zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content))) as archive:
        names = archive.namelist()
    assert len(names) == 2 * 4 + 1
    told = AuditEntry.objects.filter(action=Action.TRANSCRIPT_EXPORTED)
    without_words = {"jobs": 1, "filter": "status=completed", "searched": True}
    assert {entry.project_id: entry.details for entry in told} == dict.fromkeys(
        (project.pk, other.pk), without_words
    )


def test_more_than_can_be_exported_at_once_is_refused_with_what_to_do(staff_client, project, monkeypatch):
    monkeypatch.setattr(bulk, "EXPORTED_AT_MOST", 1)
    jobs = [make_job(Status.COMPLETED, project=project) for _ in range(2)]
    address, fields = fields_of(ask(staff_client, "export_selected", jobs[0]))

    assert "filter the list" in staff_client.post(address, fields).content.decode()


@pytest.mark.parametrize("fields", [{"after": "x"}, {"until": "1"}, {"until": "f" * 32}])
def test_nonsense_is_not_found(staff_client, fields):
    assert (
        staff_client.post(reverse("admin:jobs_transcriptionjob_bulk", args=("cancel",)), fields).status_code
        == 404
    )


def test_a_step_is_only_taken_by_post_and_for_moves_that_there_are(staff_client):
    assert staff_client.get(reverse("admin:jobs_transcriptionjob_bulk", args=("cancel",))).status_code == 405
    assert (
        staff_client.post(reverse("admin:jobs_transcriptionjob_bulk", args=("explode",))).status_code == 404
    )


def test_the_rows_of_the_list_are_told_how_they_stand_now(staff_client, project):
    waiting = make_job(Status.WAITING, project=project, error_code="provider_error")
    done = make_job(Status.COMPLETED, project=project)
    gone = TranscriptionJob(pk="01a1ff7b-4a50-7000-8000-000000000000")

    address = reverse("admin:jobs_transcriptionjob_states")
    states = staff_client.get(address, {"id": [waiting.pk, done.pk, gone.pk, "x"]}).json()

    assert set(states) == {str(waiting.pk), str(done.pk)}
    assert (states[str(waiting.pk)]["ended"], states[str(done.pk)]["ended"]) == (False, True)
    assert "waiting" in states[str(waiting.pk)]["labelled_status"]
    assert "The provider had an error of its own" in states[str(waiting.pk)]["waiting_for"]
