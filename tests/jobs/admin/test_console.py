"""The console in a real browser: what moves by itself, and whether everybody can use it."""

from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone

from jobs import lifecycle
from jobs.models import Batch, Delivery, Project, Status, TranscriptionJob, WebhookEndpoint
from streaming.models import LiveSession, State
from tests.browser import CHROMIUM
from tests.jobs.rows import RESULT, fresh, make_job, make_project
from transcribe_project.demo import seed

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
SHOTS = Path(__file__).parents[3] / "var" / "screenshots"
LIST = reverse("admin:jobs_transcriptionjob_changelist")


# Each page is opened, looked at whole and kept as a picture: seconds for all of them.
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_nothing_keeps_anybody_from_using_its_pages(new_page, superuser, barriers, width, dark):
    seed(120, timezone.now())
    failed = TranscriptionJob.objects.filter(status=Status.FAILED).first()
    done = TranscriptionJob.objects.filter(status=Status.COMPLETED).first()
    page = new_page(width=width, height=900, dark=dark)
    SHOTS.mkdir(parents=True, exist_ok=True)

    pages = [
        ("index",),
        ("jobs_transcriptionjob_changelist",),
        ("jobs_transcriptionjob_upload",),
        ("jobs_transcriptionjob_change", failed),
        ("jobs_transcriptionjob_change", done),
        ("jobs_transcriptionjob_desk", done),
        ("jobs_transcriptionjob_desk_changes", done),
        ("jobs_batch_change", Batch.objects.first()),
        ("jobs_webhookendpoint_change", WebhookEndpoint.objects.first()),
        ("jobs_webhookendpoint_replay", WebhookEndpoint.objects.first()),
        ("jobs_delivery_change", Delivery.objects.first()),
        ("jobs_project_change", Project.objects.first()),
        ("jobs_apikey_add",),
        ("auth_user_change", superuser),
        ("routing_regionrow_changelist",),
        ("jobs_auditentry_changelist",),
        # One that goes on is followed, for which this server is not made: tests/streaming/browser.
        ("streaming_livesession_change", LiveSession.objects.filter(state=State.ENDED).first()),
    ]
    for number, (name, *rows) in enumerate(pages):
        page.open(reverse(f"admin:{name}", args=[row.pk for row in rows]))
        page.wait_for("!document.documentElement.hasAttribute('x-cloak')")

        assert barriers(page) == [], name
        page.screenshot(SHOTS / f"console-{number}-{name}-{width}.png", whole=False)
    assert page.complaints == []


def test_nothing_keeps_anybody_from_using_the_other_pages(new_page, barriers):
    seed(20, timezone.now())
    page = new_page(dark=True)

    # That an address has nothing is told like all that goes wrong; the login is for those who are signed out.
    for path in (
        reverse("admin:jobs_usageline_changelist"),
        reverse("admin:jobs_erasure_add"),
        reverse("admin:jobs_apikey_changelist"),
        reverse("admin:jobs_delivery_changelist"),
        reverse("admin:jobs_webhookendpoint_webhook_secret", args=[WebhookEndpoint.objects.first().pk]),
        reverse("admin:jobs_evaluationrun_changelist"),
        f"{LIST}?status__exact=dead",
        "/nowhere/",
    ):
        page.open(path)
        page.wait_for("!document.documentElement.hasAttribute('x-cloak')")
        assert barriers(page) == [], path
    page.call("Network.clearBrowserCookies")
    page.open(reverse("admin:login"))
    page.wait_for("!document.documentElement.hasAttribute('x-cloak')")
    assert barriers(page) == []


def test_the_rows_of_the_list_change_by_themselves(new_page):
    job = make_job(Status.RUNNING)
    page = new_page()
    page.open(LIST)
    label = "document.querySelector('.field-labelled_status').textContent.trim()"
    shown = page.evaluate(label)

    lifecycle.complete(job, RESULT)

    page.wait_for(f"{label} === 'completed'")
    assert shown == "running"
    assert page.complaints == []


def test_filters_open_by_keyboard_and_what_is_filtered_is_seen_when_they_are_shut(new_page):
    make_job(Status.FAILED)
    page = new_page()
    page.open(f"{LIST}?status__exact=failed")
    page.wait_for("!document.documentElement.hasAttribute('x-cloak')")

    page.evaluate("document.querySelector('.job-filters').focus()")
    for kind in ("rawKeyDown", "char", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", text="\r", windowsVirtualKeyCode=13)
    page.wait_for("document.activeElement.closest('#changelist-filter')")
    for kind in ("rawKeyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Escape", windowsVirtualKeyCode=27)
    page.wait_for("document.activeElement.matches('.job-filters[aria-expanded=false]')")

    assert page.evaluate("document.querySelector('.job-tab[aria-current]').textContent") == "Failed"
    page.evaluate("document.querySelector('.job-applied a').click()")
    page.wait_for("document.querySelector('.job-tab[aria-current]')?.textContent === 'All'")
    assert page.complaints == []


def test_everything_that_matches_can_be_stopped_and_gone_on_with(new_page, monkeypatch):
    monkeypatch.setattr("jobs.admin.bulk.STEP", 1)
    project = make_project()
    jobs = [make_job(project=project) for _ in range(3)]
    page = new_page()
    page.open(LIST)
    page.evaluate(
        "document.querySelector('select[name=action]').value = 'cancel_selected';"
        "document.querySelector('.action-select').click();"
        "document.querySelector('input[name=select_across]').value = '1';"
        "document.querySelector('#changelist-form').submit()"
    )
    page.wait_for("document.querySelector('#bulk button') && document.readyState === 'complete'")

    # Stopped while the first step is on its way, whose answer has the link that stops.
    page.evaluate("stopped = true; go(document.querySelector('#bulk form'))")
    page.wait_for("document.querySelector('[data-stop]')?.textContent === 'Back to the list'")
    moved = [fresh(job).status for job in jobs].count(Status.CANCELLED)
    page.evaluate("document.querySelector('#bulk button').click()")
    page.wait_for("document.querySelector('#bulk').textContent.includes('3 jobs were cancelled')")

    assert moved == 1
    assert page.complaints == []


def test_everything_that_matches_is_moved_in_one_go(new_page, monkeypatch, barriers):
    monkeypatch.setattr("jobs.admin.bulk.STEP", 2)
    project = make_project()
    jobs = [make_job(Status.FAILED, project=project) for _ in range(5)]
    page = new_page()
    page.open(f"{LIST}?status__exact=failed")
    page.evaluate(
        "document.querySelector('.action-select').click();"
        "document.querySelector('select[name=action]').value = 'requeue_selected';"
        "document.querySelector('input[name=select_across]').value = '1';"
        "document.querySelector('#changelist-form').submit()"
    )

    page.wait_for("document.querySelector('#bulk button')?.textContent.includes('Requeue 5 jobs')")
    page.wait_for("document.readyState === 'complete'")  # with its script
    kept_out = barriers(page)
    page.evaluate("document.querySelector('#bulk button').click()")
    page.wait_for("document.querySelector('#bulk').textContent.includes('5 jobs were requeued')")

    assert {fresh(job).status for job in jobs} == {Status.QUEUED}
    assert kept_out == barriers(page) == []
    assert page.complaints == []
