import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from jobs.models import Membership, Project, Role
from transcribe_project.headers import STRICT

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def client(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_whoever_is_not_signed_in_is_led_to_the_login():
    response = Client().get(reverse("live"))

    assert response.status_code == 302
    assert response["Location"] == f"{reverse('admin:login')}?next={reverse('live')}"


def test_all_scripts_and_styles_are_files_of_ours(client):
    response = client.get(reverse("live"))
    text = response.content.decode()

    assert response["Content-Security-Policy"] == STRICT
    assert re.findall(r"<script[^>]*>", text) == ['<script type="module" src="/static/streaming/page.js">']
    assert "style=" not in text
    assert "<style" not in text


@pytest.mark.parametrize(
    ("role", "offered"), [(Role.READER, False), (Role.UPLOADER, True), (Role.OPERATOR, True)]
)
def test_projects_are_offered_to_those_who_may_upload_there(client, user, role, offered):
    project = Project.objects.create(name="Interviews")
    Membership.objects.create(project=project, user=user, role=role)
    Project.objects.create(name="Of others")

    text = client.get(reverse("live")).content.decode()

    assert ("Interviews" in text) is offered
    assert "Of others" not in text


def test_what_only_recordings_can_be_transcribed_with_is_not_offered(client):
    text = client.get(reverse("live")).content.decode()

    assert "nova-3" in text
    assert "whisper" not in text
    assert "detect" not in text
    # Live, Deepgram takes no session without a model.
    assert "The provider" not in text


def test_the_page_is_in_the_sidebar_of_the_admin(user, client):
    User.objects.filter(pk=user.pk).update(is_staff=True)

    assert f'href="{reverse("live")}"' in client.get(reverse("admin:index")).content.decode()
