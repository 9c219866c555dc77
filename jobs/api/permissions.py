"""What who asks may do: a key by its scopes, a person by their role in the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from jobs.models import ApiKey, Project, Role, Scope

if TYPE_CHECKING:  # it imports this module
    from rest_framework.views import APIView


@dataclass(frozen=True, slots=True)
class Needs:
    """The scope that a key needs, and the role that a member does."""

    scope: Scope
    role: Role


READING = Needs(Scope.READ, Role.READER)
SUBMITTING = Needs(Scope.WRITE, Role.UPLOADER)
REVIEWING = Needs(Scope.WRITE, Role.REVIEWER)
OPERATING = Needs(Scope.WRITE, Role.OPERATOR)
MANAGING = Needs(Scope.MANAGE, Role.OPERATOR)


class HasProject(BasePermission):
    """Views say in `needs`, by action, what each asks for; an action that is not named there is refused."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        action = getattr(view, "action", None)
        if action is None:
            # No such method here, which is told once it is known who asks.
            return is_known(request)
        needs = view.needs.get(action)  # type: ignore[attr-defined]
        if needs is None or not is_known(request):
            return False
        if isinstance(request.auth, ApiKey) and not request.auth.covers(needs.scope):
            has = ", ".join(request.auth.scopes)
            raise PermissionDenied(f"This needs a key with the scope {needs.scope}; yours has {has}.")
        return True

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        if isinstance(request.auth, ApiKey):
            # It sees its own project's rows alone, and its scopes have been asked.
            return True
        project = obj if isinstance(obj, Project) else obj.project
        return may(request, project, view.needs[view.action])  # type: ignore[attr-defined]


def is_known(request: Request) -> bool:
    return isinstance(request.auth, ApiKey) or bool(request.user and request.user.is_authenticated)


def may(request: Request, project: Project, needs: Needs) -> bool:
    """Whether who asks may do this in `project`, which is one that they see."""
    if isinstance(request.auth, ApiKey):
        return request.auth.project_id == project.pk and request.auth.covers(needs.scope)
    user: Any = request.user
    return project.allows(user, needs.role)
