"""What people are shown when there is no page to show."""

import errno

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.test import Client
from django.urls import reverse

from jobs.api import errors
from transcribe_project.headers import STRICT


@pytest.mark.django_db
def test_an_address_without_a_page_leads_back():
    response = Client().get("/nowhere")

    assert response.status_code == 404
    assert response["Content-Security-Policy"] == STRICT
    assert f'href="{reverse("admin:index")}"' in response.content.decode()


@pytest.mark.django_db
def test_whoever_may_not_see_a_page_is_told_what_to_do():
    client = Client()
    client.force_login(User.objects.create_user("staff", is_staff=True))

    response = client.get(reverse("admin:auth_user_changelist"))

    assert response.status_code == 403
    assert "Ask a superuser" in response.content.decode()


@pytest.mark.django_db
def test_a_form_that_is_too_old_is_refused_in_words():
    response = Client(enforce_csrf_checks=True).post(reverse("admin:login"))

    assert response.status_code == 403
    assert "load the page again" in response.content.decode()


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: errors.bad_request(request, SuspiciousOperation()),
        lambda request: errors.permission_denied(request, PermissionDenied()),
        lambda request: errors.server_error(request),
    ],
    ids=["400", "403", "500"],
)
def test_errors_need_no_database_and_write_no_style_of_their_own(rf, answer):
    text = answer(rf.get("/page")).content.decode()

    assert "<h1>" in text
    assert "style=" not in text
    assert "<style" not in text


def test_a_disk_that_is_full_in_the_middle_of_a_form_is_told_as_such(rf):
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        response = errors.server_error(rf.post("/page"))

    assert response.status_code == 507
    assert "no room left" in response.content.decode()


def test_browsers_that_ask_for_the_icon_find_it():
    response = Client().get("/favicon.ico", follow=True)

    assert response["Content-Type"] == "image/svg+xml"
    response.close()
