"""Secrets at rest: what a copy of the database tells, and what a lost key takes along."""

import io

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from jobs.models import ApiKey, Project
from routing import encryption
from routing.encryption import SecretUnreadable
from tests.jobs.rows import lose_key_of, make_project

pytestmark = pytest.mark.django_db


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
    with pytest.raises(SecretUnreadable):
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


OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture
def use_keys(settings):
    def use(*keys):
        settings.ENCRYPTION_KEYS = list(keys)
        encryption._keys.cache_clear()

    yield use
    encryption._keys.cache_clear()


def rotate(*arguments):
    out = io.StringIO()
    call_command("rotate_encryption_keys", *arguments, stdout=out)
    return out.getvalue()


def test_after_a_rotation_the_old_key_can_be_taken_away(use_keys):
    use_keys(OLD)
    secrets = [make_project(str(number)).webhook_secret for number in range(3)]

    use_keys(NEW, OLD)
    told = rotate()
    use_keys(NEW)

    assert told.startswith("3 secrets were encrypted anew, 0")
    assert [project.webhook_secret for project in Project.objects.order_by("name")] == secrets


def test_keys_can_be_set_when_there_are_secrets_already(use_keys):
    use_keys()
    secret = make_project().webhook_secret

    use_keys(NEW)
    told = rotate()

    assert told.startswith("1 secrets were encrypted anew")
    assert Project.objects.get().webhook_secret == secret


def test_a_rotation_that_was_stopped_goes_on_where_it_was(use_keys, monkeypatch):
    monkeypatch.setattr(encryption, "ROTATED_AT_A_TIME", 2)
    use_keys(OLD)
    for number in range(5):
        make_project(str(number))
    use_keys(NEW, OLD)
    stopping = iter([False, False, False, True])
    rotate_one = encryption.MultiFernet.rotate

    def rotate_until_stopped(fernet, token):
        if next(stopping):
            raise KeyboardInterrupt
        return rotate_one(fernet, token)

    monkeypatch.setattr(encryption.MultiFernet, "rotate", rotate_until_stopped)
    with pytest.raises(KeyboardInterrupt):
        rotate()
    monkeypatch.setattr(encryption.MultiFernet, "rotate", rotate_one)

    assert rotate().startswith("2 secrets were encrypted anew, 3 had")
    assert rotate().startswith("0 secrets were encrypted anew, 5 had")


def test_a_dry_run_changes_nothing(use_keys):
    use_keys(OLD)
    make_project()
    use_keys(NEW, OLD)

    assert rotate("--dry-run").startswith("1 secrets would be encrypted anew")
    assert rotate("--dry-run").startswith("1 secrets would be encrypted anew")


def test_a_secret_that_is_replaced_during_a_rotation_stays_as_it_was_replaced(use_keys, monkeypatch):
    use_keys(OLD)
    project = make_project()
    use_keys(NEW, OLD)
    rotate_one = encryption.MultiFernet.rotate

    def rotate_late(fernet, token):
        moved = rotate_one(fernet, token)
        project.rotate_webhook_secret()
        return moved

    monkeypatch.setattr(encryption.MultiFernet, "rotate", rotate_late)
    rotate()

    assert Project.objects.get().webhook_secret == project.webhook_secret


def test_secrets_that_no_key_opens_are_named_and_the_others_moved(use_keys):
    use_keys(OLD)
    lost = make_project("A")
    lose_key_of(lost)
    make_project("B")
    use_keys(NEW, OLD)

    with pytest.raises(CommandError, match=rf"opens 1 secrets(?s:.*)jobs.Project {lost.pk}: webhook_secret"):
        rotate()

    assert encryption.rotate(dry_run=True).current == 1
