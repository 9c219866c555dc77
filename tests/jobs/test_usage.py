"""What was used: counted once, kept whatever is deleted, and asked for by those whose it is."""

import csv
import io
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from jobs import lifecycle, usage
from jobs.admin import usage as admin_usage
from jobs.forgetting import erasure
from jobs.forgetting.deletion import delete_job
from jobs.forgetting.retention import purging
from jobs.models import ApiKey, Membership, Role, Status, UsageLine
from jobs.models.usage import today
from tests.jobs.api.conftest import client_for, error_of
from tests.jobs.rows import RESULT, fresh, make_job, make_project

pytestmark = pytest.mark.django_db
USAGE = "/api/v1/usage/"
SECONDS = RESULT.duration


@pytest.fixture(autouse=True)
def prices(settings):
    settings.PRICES = {"nova-3": Decimal("0.6")}


@pytest.fixture
def project():
    return make_project("Support")


def complete(project, result=RESULT, **fields):
    job = make_job(
        Status.RUNNING, **({"project": project, "options": {"model": "nova-3"}, "mode": "async"} | fields)
    )
    lifecycle.complete(job, result)
    return fresh(job)


def fail(project, **fields):
    job = make_job(Status.RUNNING, project=project, options={"model": "nova-2"}, duration=60.0, **fields)
    lifecycle.fail(job, lifecycle.CallReport(error_code="provider_rejected"))


def sums(lines=None):
    found = (UsageLine.objects.all() if lines is None else lines).filter(tag="").sums()
    return found["requests"], found["failed"], found["seconds"], found["cost"]


def asked(client, **query):
    answer = client.get(USAGE, query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_each_run_that_ends_is_counted_and_only_what_was_transcribed_is_audio(project):
    complete(project)
    fail(project)
    lifecycle.cancel(make_job(Status.QUEUED, project=project))

    assert sums() == (3, 1, SECONDS, Decimal("0.0150"))


def test_what_is_rolled_back_is_not_counted(project):
    with pytest.raises(RuntimeError), transaction.atomic():
        complete(project)
        raise RuntimeError

    assert not UsageLine.objects.exists()


def test_it_is_kept_when_the_job_the_key_and_the_project_are_deleted(project, admin_client):
    key, _ = ApiKey.objects.issue(project, "backend")
    delete_job(complete(project, key=key))
    erasure.begin(project)
    list(purging())

    [row] = asked(admin_client, group_by=["project", "key"])["results"]

    assert (row["project"], row["project_name"]) == (str(project.pk), None)
    assert (row["key"], row["key_name"], row["seconds"]) == (None, None, SECONDS)


@pytest.mark.parametrize("days_ago", [0, 1])
def test_merging_changes_no_sum(project, days_ago):
    for _ in range(3):
        complete(project, tags=["billing", "vip"])
        complete(project, tags=["vip"])
    day = today() - timedelta(days=days_ago)
    UsageLine.objects.update(day=day)
    before = list(UsageLine.objects.sums_by("day", *UsageLine.COLUMNS))

    usage.merge()
    complete(project, tags=["vip"])
    UsageLine.objects.filter(merged=False).update(day=day)
    usage.merge()

    after = list(UsageLine.objects.sums_by("day", *UsageLine.COLUMNS))
    assert [row["requests"] for row in before] == [6, 3, 6]
    assert [row["requests"] for row in after] == [7, 3, 7]
    # Of a day that is over, each has one; today's are merged with each other alone.
    assert UsageLine.objects.count() == (3 if days_ago else 5)
    assert not UsageLine.objects.filter(merged=False).exists()


def test_it_is_grouped_by_what_is_asked_for_in_that_order(project):
    ada = User.objects.create(username="ada")
    Membership.objects.create(project=project, user=ada, role=Role.READER)
    complete(project, created_by=ada, mode="sync")
    complete(project)
    fail(project)
    client = Client()
    client.force_login(ada)

    found = asked(client, group_by=["model", "mode", "user"])

    day = today().isoformat()
    assert (found["until"], found["since"]) == (day, (today() - timedelta(days=29)).isoformat())
    assert [
        (row["model"], row["mode"], row["user"], row["requests"], row["cost"]) for row in found["results"]
    ] == [
        ("nova-2", "async", None, 1, None),
        ("nova-3", "async", None, 1, {"amount": "0.0150", "currency": "USD"}),
        ("nova-3", "sync", "ada", 1, {"amount": "0.0150", "currency": "USD"}),
    ]
    assert found["totals"]["requests"] == 3
    assert [row["day"] for row in asked(client)["results"]] == [day]
    assert [row["month"] for row in asked(client, group_by="month")["results"]] == [f"{day[:8]}01"]
    assert asked(client, user="ada", mode="sync")["totals"]["requests"] == 1
    assert asked(client, user="nobody")["totals"]["requests"] == 0


def test_what_has_several_tags_is_in_several_groups_and_once_in_the_totals(project, admin_client):
    complete(project, tags=["billing", "vip", "vip"])
    complete(project, tags=["vip"])
    complete(project)

    by_tag = asked(admin_client, group_by="tag")
    of_one = asked(admin_client, group_by="model", tag="vip")

    assert [(row["tag"], row["requests"]) for row in by_tag["results"]] == [("billing", 1), ("vip", 2)]
    assert by_tag["totals"]["requests"] == 3
    assert of_one["totals"]["requests"] == of_one["results"][0]["requests"] == 2


def test_a_key_sees_its_project_a_member_theirs_and_staff_all(project, admin_client):
    complete(project)
    complete(make_project("Sales"))
    key = client_for(ApiKey.objects.issue(project, "backend")[1])
    stranger = Client()
    stranger.force_login(User.objects.create(username="stranger"))

    found = [asked(client)["totals"]["requests"] for client in (key, admin_client, stranger)]

    assert found == [1, 2, 0]
    assert asked(admin_client, project=project.pk)["totals"]["requests"] == 1


def test_as_csv_it_has_the_columns_that_it_is_grouped_by(project, admin_client):
    complete(project, replace(RESULT, duration=1.50004), tags=["=1+1"])

    answer = admin_client.get(f"{USAGE}export.csv", {"group_by": ["day", "project", "tag"]})

    text = answer.content.decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(text))) == [
        ["day", "project", "project_name", "tag", "requests", "failed", "seconds", "cost"],
        [today().isoformat(), str(project.pk), "Support", "'=1+1", "1", "0", "1.5", "0.0150"],
    ]
    assert f'filename="usage-{today() - timedelta(days=29)}-{today()}.csv"' in answer["Content-Disposition"]


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"group_by": "weekday"},
        {"since": "2026-02-02", "until": "2026-02-01"},
        {"by": "day"},
        {"mode": "fast"},
        {"project": "7"},
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(admin_client, query):
    for address in (USAGE, f"{USAGE}export.csv"):
        answer = admin_client.get(address, query)
        error = error_of(answer)
        assert (answer.status_code, error["code"]) == (400, "validation_error")
        assert set(error["details"]) <= set(query)


def test_the_first_day_of_all_has_no_days_before_it(admin_client):
    assert asked(admin_client, until="0001-01-02")["since"] == date.min.isoformat()


def test_more_groups_than_a_page_holds_are_refused(project, admin_client, monkeypatch):
    monkeypatch.setattr(usage, "MOST_ROWS", 1)
    complete(project)
    fail(project)

    answer = admin_client.get(USAGE, {"group_by": "model"})

    assert (answer.status_code, error_of(answer)["code"]) == (400, "too_many_groups")


def test_the_admin_gives_no_csv_that_is_cut_off(project, admin_client, monkeypatch):
    monkeypatch.setattr(usage, "MOST_ROWS", 1)
    monkeypatch.setattr(admin_usage, "SHOWN", 1)
    complete(project)
    fail(project)

    page = admin_client.get(reverse("admin:jobs_usageline_export"), {"first": "model"}, follow=True)

    [(address, _)] = page.redirect_chain
    assert address == reverse("admin:jobs_usageline_changelist") + "?first=model"
    assert [str(message) for message in page.context["messages"]] == [usage.TOO_MANY]
    assert page.context["left_out"] == usage.TOO_MANY


def test_the_admin_shows_it_with_a_chart_and_as_csv(project, admin_client):
    complete(project, tags=["vip"])
    page, export = reverse("admin:jobs_usageline_changelist"), reverse("admin:jobs_usageline_export")

    shown = admin_client.get(page, {"first": "project", "then": "model"}).content.decode()
    by_day = admin_client.get(page).content.decode()
    refused = admin_client.get(page, {"since": "2026-02-02", "until": "2026-02-01"}).content.decode()
    lines = admin_client.get(export, {"first": "tag"}).content.decode("utf-8-sig").splitlines()

    assert '<td data-label="Project">Support</td>' in shown and "0.02 USD" in shown
    assert f">{today()}</td>" in by_day and 'class="job-chart"' in by_day
    assert "This is after the last day." in refused
    assert lines == ["tag,requests,failed,seconds,cost", "vip,1,0,1.5,0.0150"]
