"""The audit log as a file."""

import csv
import io

import pytest
from django.urls import reverse

from jobs.admin import audit
from jobs.audit import record
from jobs.models.audit import Action
from tests.jobs.rows import make_project

pytestmark = pytest.mark.django_db
EXPORT = reverse("admin:jobs_auditentry_export")


def rows(client, query=""):
    text = client.get(f"{EXPORT}?{query}").getvalue().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_all_that_matches_is_in_it_over_any_number_of_pages(staff_client, monkeypatch):
    monkeypatch.setattr(audit, "READ_AT_A_TIME", 2)
    project = make_project("Calls")
    for number in range(5):
        record(Action.PROJECT_CHANGED, about=project, number=number)
    record(Action.DATA_PURGED)

    found = rows(staff_client, "action__exact=project.changed")

    # Ids of one millisecond come in any order.
    assert sorted(row["details"] for row in found) == [f'{{"number": {number}}}' for number in range(5)]
    assert {row["project"] for row in found} == {"Calls"}


def test_names_are_no_formulas(staff_client):
    record(Action.SIGN_IN_FAILED, actor="=HYPERLINK(1)")

    assert rows(staff_client)[0]["actor"] == "'=HYPERLINK(1)"


def test_the_list_leads_to_it_with_its_filters(staff_client):
    page = staff_client.get(reverse("admin:jobs_auditentry_changelist") + "?result__exact=done")

    assert f"{EXPORT}?result__exact=done" in page.content.decode()


def test_it_is_for_staff_alone(client):
    assert client.get(EXPORT).status_code == 302
