"""The members of a project on its page: changed by the rules that hold everywhere."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from jobs import members
from jobs.admin.projects import ProjectForm
from jobs.models import AuditEntry, Project, Role, Status
from tests.jobs.admin.conftest import said
from tests.jobs.rows import ago, make_job, make_recording


@pytest.fixture
def ann(db):
    return User.objects.create_user("ann")


@pytest.fixture
def bob(db):
    return User.objects.create_user("bob")


@pytest.fixture
def team(ann):
    """A project that ann operates."""
    return Project.objects.found(ann, name="Team")


def save(client, project, roles, name="Team", **policies):
    """Send the page's form: `roles` by user, None for whoever is to go."""
    before = {member.user: member for member in project.membership_set.order_by("pk")}
    rows = [*before, *(user for user in roles if user not in before)]
    form = {
        "name": name,
        **policies,
        "membership_set-TOTAL_FORMS": len(rows),
        "membership_set-INITIAL_FORMS": len(before),
    }
    for row, user in enumerate(rows):
        role = roles.get(user, before[user].role if user in before else None)
        fields = {"project": project.pk, "user": user.pk, "role": role or "operator"}
        fields |= {"id": before[user].pk} if user in before else {}
        fields |= {} if role else {"DELETE": "on"}
        form |= {f"membership_set-{row}-{field}": value for field, value in fields.items()}
    return client.post(reverse("admin:jobs_project_change", args=(project.pk,)), form, follow=True)


def roles_in(project):
    return dict(project.membership_set.values_list("user__username", "role"))


def test_shorter_retention_is_saved_once_what_it_deletes_was_told(root_client, team, ann):
    make_job(Status.COMPLETED, project=team, recording=make_recording(team))
    team.recordings.update(created_at=ago(10 * 86400))

    told = save(root_client, team, {ann: "operator"}, audio_days=7).content.decode()
    team.refresh_from_db()
    assert "The next purge would delete 1 recordings" in told
    assert team.audio_days is None

    save(root_client, team, {ann: "operator"}, audio_days=7, confirmed="on", redact=["pci"])
    team.refresh_from_db()
    assert (team.audio_days, team.redact) == (7, ["pci"])


def test_a_project_that_is_deleted_while_its_page_is_saved_stays_deleted(root_client, team, ann, monkeypatch):
    clean = ProjectForm.clean
    monkeypatch.setattr(ProjectForm, "clean", lambda form: team.hide() or clean(form))

    save(root_client, team, {ann: "operator"}, name="Renamed")

    team.refresh_from_db()
    assert (team.name, team.deleted_at is not None) == ("Renamed", True)


def test_members_are_added_changed_and_removed_and_each_is_in_the_audit_log(root_client, team, ann, bob):
    save(root_client, team, {bob: "reader"})
    save(root_client, team, {bob: "reviewer"})
    assert roles_in(team) == {"ann": "operator", "bob": "reviewer"}

    save(root_client, team, {bob: None})

    assert roles_in(team) == {"ann": "operator"}
    told = AuditEntry.objects.filter(action__startswith="member.").order_by("id")
    assert [(each.action, each.details) for each in told] == [
        ("member.added", {"role": "reader"}),
        ("member.changed", {"role": "reviewer"}),
        ("member.removed", {}),
    ]
    assert len({each.object_id for each in told}) == 1


@pytest.mark.parametrize("role", [None, "reader"])
def test_the_last_operator_stays_and_nothing_of_the_form_is_saved(root_client, team, ann, bob, role):
    response = save(root_client, team, {ann: role, bob: "reader"}, name="Renamed")

    assert "ann is the last operator: make another one first." in said(response)
    assert roles_in(team) == {"ann": "operator"}
    team.refresh_from_db()
    assert team.name == "Team"


def test_whoever_cannot_sign_in_is_no_operator_to_be_left_with(root_client, team, ann, bob):
    members.add(team, bob, Role.OPERATOR)
    User.objects.filter(pk=bob.pk).update(is_active=False)

    assert "last operator" in said(save(root_client, team, {ann: None}))


def test_the_owner_of_a_personal_project_stays(root_client, ann, bob):
    project = Project.objects.personal(ann)
    members.add(project, bob, Role.OPERATOR)

    assert "its owner operates it" in said(save(root_client, project, {ann: None}))


def test_an_operator_hands_over_in_one_form(root_client, team, ann, bob):
    members.add(team, bob, Role.READER)

    save(root_client, team, {ann: "reader", bob: "operator"})

    assert roles_in(team) == {"ann": "reader", "bob": "operator"}


def test_a_member_stays_who_it_is(root_client, team, ann, bob):
    member = team.membership_set.get()
    form = {
        "name": "Team",
        "membership_set-TOTAL_FORMS": 1,
        "membership_set-INITIAL_FORMS": 1,
        "membership_set-0-id": member.pk,
        "membership_set-0-project": team.pk,
        "membership_set-0-user": bob.pk,
        "membership_set-0-role": "operator",
    }

    root_client.post(reverse("admin:jobs_project_change", args=(team.pk,)), form)

    assert roles_in(team) == {"ann": "operator"}
