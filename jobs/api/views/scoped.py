"""What all views share: whose rows they see, and for which project they act."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.serializers import UUIDField
from rest_framework.viewsets import GenericViewSet

from jobs.api.parsers import check_length
from jobs.api.permissions import Needs, may
from jobs.models import ApiKey, Project

Row = TypeVar("Row", bound=Model)


class ScopedViewSet(GenericViewSet[Any]):
    """Whatever is not the caller's does not exist for them. `needs` names what each action asks for."""

    needs: ClassVar[dict[str, Needs]] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        check_length(request)

    def projects(self) -> QuerySet[Project]:
        """The key's; a person's, or the one of them that `?project=` names."""
        if isinstance(self.request.auth, ApiKey):
            mine = Project.objects.filter(pk=self.request.auth.project_id)
        else:
            mine = Project.objects.visible_to(self.request.user)  # type: ignore[arg-type]
        named = self.request.query_params.get("project")
        return mine.filter(pk=_uuid(named)) if named else mine

    def in_projects(self, rows: QuerySet[Row]) -> QuerySet[Row]:
        """Those of `rows`, which have a project, that the caller sees."""
        key, query = self.request.auth, self.request.query_params
        if isinstance(key, ApiKey) and not query.get("project"):
            return rows.filter(project=key.project_id)
        return rows.filter(project__in=self.projects())

    def project_to_act_in(self, named: object = None) -> Project:
        """The project that is named, here or in the query; the key's own; or the person's own.

        NotFound for one that the caller does not see, PermissionDenied where they may not do this.
        """
        named = named or self.request.query_params.get("project")
        if isinstance(self.request.auth, ApiKey):
            project = self.request.auth.project
            if named and _uuid(named) != project.pk:
                raise NotFound("There is no such project.")
            return project
        if not named:
            return Project.objects.personal(self.request.user)  # type: ignore[arg-type]
        found = Project.objects.visible_to(self.request.user).filter(pk=_uuid(named)).first()  # type: ignore[arg-type]
        if found is None:
            raise NotFound("There is no such project.")
        if not may(self.request, found, self.needs[self.action]):
            raise PermissionDenied
        return found


def _uuid(text: object) -> Any:
    try:
        return UUIDField().to_internal_value(text)
    except ValidationError as error:
        raise ValidationError({"project": error.detail}) from None
