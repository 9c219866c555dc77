import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from jobs.models import ApiKey, Project

pytestmark = pytest.mark.django_db


def test_the_key_stands_alone_on_stdout_and_what_was_made_on_stderr(capsys):
    call_command("create_api_key", "ann", project="Calls", name="laptop")

    out, err = capsys.readouterr()
    key = ApiKey.objects.authenticate(out.strip())
    assert out == out.strip() + "\n"
    assert (key.name, key.project.name) == ("laptop", "Calls")
    assert "ann" in err and "Calls" in err
    assert not get_user_model().objects.get(username="ann").has_usable_password()


def test_without_a_project_the_key_is_for_the_users_own(capsys):
    user = get_user_model().objects.create_user("ann")

    call_command("create_api_key", "ann")

    out, err = capsys.readouterr()
    assert ApiKey.objects.authenticate(out.strip()).project == Project.objects.personal(user)
    assert err == ""


def test_another_users_project_of_the_same_name_is_left_alone(capsys):
    call_command("create_api_key", "ann", project="Calls")
    call_command("create_api_key", "ben", project="Calls")
    call_command("create_api_key", "ben", project="Calls")

    assert Project.objects.filter(name="Calls").count() == 2
