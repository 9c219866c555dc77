"""Secrets at rest: what a copy of the database tells, and what a lost key takes along."""

import pytest
from cryptography.fernet import Fernet, InvalidToken
from django.db import connection
from django.db.models import TextField, Value

from jobs.models import ApiKey, Project
from tests.jobs.rows import make_project

pytestmark = pytest.mark.django_db


def lose_key_of(project):
    """Have its secret encrypted with a key that is not among ours."""
    foreign = Fernet(Fernet.generate_key()).encrypt(b"secret").decode()
    Project.objects.filter(pk=project.pk).update(webhook_secret=Value(foreign, output_field=TextField()))


def test_the_database_holds_no_secret_and_gives_it_back():
    project = make_project()

    with connection.cursor() as cursor:
        cursor.execute("SELECT webhook_secret FROM jobs_project")
        (stored,) = cursor.fetchone()
    assert project.webhook_secret not in stored
    assert Project.objects.get().webhook_secret == project.webhook_secret


def test_a_secret_that_cannot_be_opened_is_found_when_it_is_asked_for():
    make_project("B")
    lose_key_of(make_project("A"))

    project, other = Project.objects.all()

    assert other.webhook_secret
    with pytest.raises(InvalidToken):
        _ = project.webhook_secret


def test_a_key_of_a_project_whose_secret_cannot_be_opened_is_as_good_as_any():
    project = make_project()
    key, text = ApiKey.objects.issue(project, "key")
    lose_key_of(project)

    found = ApiKey.objects.authenticate(text)

    assert (found, found.project) == (key, project)


def test_a_secret_replaces_one_that_cannot_be_opened():
    project = make_project()
    lose_key_of(project)

    Project.objects.get().rotate_webhook_secret()

    assert Project.objects.get().webhook_secret.startswith("whsec_")
