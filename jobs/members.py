"""Who works in a project, and that a project which has an operator keeps one."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from jobs.models import Membership, Project, Role
from jobs.refusal import Refusal


class NotPossible(Refusal):
    """The members cannot be changed like that. `code` is stable, the message says what to do."""

    status = 409


def user_named(name: str) -> User | None:
    """The active user of this username, or the only one with this e-mail address; None otherwise."""
    active = User.objects.filter(is_active=True)
    by_name = active.filter(username=name).first()
    if by_name is not None or "@" not in name:
        return by_name
    by_address = active.filter(email__iexact=name)[:2]
    return by_address[0] if len(by_address) == 1 else None


def add(project: Project, user: User, role: str) -> Membership:
    """NotPossible (already_member)."""
    try:
        with transaction.atomic():
            return Membership.objects.create(project=project, user=user, role=role)
    except IntegrityError:
        raise NotPossible("already_member", f"{user} is a member already: change the role.") from None


def change(member: Membership, role: str) -> None:
    """NotPossible (last_operator, personal_project)."""
    with transaction.atomic():
        if role != Role.OPERATOR:
            _check_dispensable(member)
        Membership.objects.filter(pk=member.pk).update(role=role)
    member.role = role


def remove(member: Membership) -> None:
    """NotPossible (last_operator, personal_project)."""
    with transaction.atomic():
        _check_dispensable(member)
        Membership.objects.filter(pk=member.pk).delete()


def _check_dispensable(member: Membership) -> None:
    # Locked: of two operators who leave at once, one is the last.
    project = Project.objects.select_for_update(no_key=True).get(pk=member.project_id)
    if project.personal_to_id == member.user_id:
        raise NotPossible("personal_project", f"It is {member.user}'s own project: its owner operates it.")
    others = project.membership_set.filter(role=Role.OPERATOR, user__is_active=True).exclude(pk=member.pk)
    still = Membership.objects.filter(pk=member.pk, role=Role.OPERATOR)
    if still.exists() and not others.exists():
        raise NotPossible("last_operator", f"{member.user} is the last operator: make another one first.")
