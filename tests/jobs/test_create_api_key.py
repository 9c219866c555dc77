from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.utils import timezone

from jobs.management.commands.create_api_key import ACTOR
from jobs.models import ApiKey, AuditEntry, Project

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


def test_a_project_that_is_deleted_gets_no_key_but_a_new_one_of_its_name_does(capsys):
    call_command("create_api_key", "ann", project="Calls")
    deleted = Project.objects.get(name="Calls")
    deleted.hide()
    capsys.readouterr()

    call_command("create_api_key", "ann", project="Calls")

    key = ApiKey.objects.authenticate(capsys.readouterr().out.strip())
    assert (key.project.name, key.project == deleted) == ("Calls", False)


def test_it_leaves_its_trace_in_the_audit_log(capsys):
    call_command("create_api_key", "ann", project="Calls")

    key = ApiKey.objects.get()
    told = AuditEntry.objects.order_by("id").values_list("action", "actor", "object_name", "project_id")
    assert set(told) == {
        ("user.created", ACTOR, "ann", None),
        ("project.created", ACTOR, "Calls", key.project_id),
        ("key.issued", ACTOR, str(key), key.project_id),
    }


def test_a_key_may_be_bounded_in_scope_and_time(capsys):
    call_command("create_api_key", "ann", "--scopes", "read,write", "--expires-in", "30")

    key = ApiKey.objects.get()
    assert key.scopes == ["read", "write"]
    assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)


@pytest.mark.parametrize(
    "wrong", [("--scopes", "read,all"), ("--expires-in", "0"), ("--expires-in", "99999")]
)
def test_what_no_key_can_have_is_told_and_nothing_is_made(wrong):
    with pytest.raises(CommandError):
        call_command("create_api_key", "ann", *wrong)

    assert not ApiKey.objects.exists()
    assert not AuditEntry.objects.exists()
