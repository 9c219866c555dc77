"""What all views share: whose rows they see, and for which project they act."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.serializers import UUIDField
from rest_framework.viewsets import GenericViewSet

from jobs.api.filters import check_parameters
from jobs.api.limits import rate_limit
from jobs.api.pagination import NewestFirst
from jobs.api.parsers import check_length
from jobs.api.permissions import Needs, may
from jobs.api.schema import Schema
from jobs.models import ApiKey, Project, Role

PROJECT = OpenApiParameter("project", OpenApiTypes.UUID, description="For sessions, which may have several.")
Row = TypeVar("Row", bound=Model)


class ScopedViewSet(GenericViewSet[Any]):
    """Whatever is not the caller's does not exist for them."""

    # What each action asks for.
    needs: ClassVar[dict[str, Needs]] = {}
    # The statuses that only some actions answer with.
    refuses: ClassVar[dict[str, tuple[int, ...]]] = {}
    # The actions that answer with a page.
    lists: ClassVar[tuple[str, ...]] = ("list",)
    schema = Schema()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        check_length(request)
        if self.action in self.lists:
            check_parameters(request.query_params, self._list_parameters())
            # Here, for those that are all on one page as well.
            NewestFirst().get_page_size(request)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        # Not `auth`, which would ask once more if asking who it is has failed.
        key = getattr(request, "_auth", None)
        if isinstance(key, ApiKey) and key.allowance is not None:
            for name, value in rate_limit(key.allowance).items():
                answer.headers.setdefault(name, value)
        return answer

    def _list_parameters(self) -> set[str]:
        filters: Any = getattr(self, "filterset_class", None) if self.action == "list" else None
        return {"project", "cursor", "page_size", *(filters.base_filters if filters else ())}

    def get_object(self) -> Any:
        """Without the list's filters, which would be built for nothing."""
        found = get_object_or_404(self.get_queryset(), pk=self.kwargs["pk"])
        self.check_object_permissions(self.request, found)
        return found

    def projects(self) -> QuerySet[Project]:
        """The key's; a person's, for a list those that it may have rows of; or that one which is named."""
        if isinstance(self.request.auth, ApiKey):
            mine = Project.objects.filter(pk=self.request.auth.project_id)
        else:
            user: Any = self.request.user
            # Whether they may look at one is asked once it is found; a page has none that they may not.
            role = self.needs[self.action].role if self.action in self.lists else Role.READER
            mine = Project.objects.allowing(user, role)
        named = self.project_named()
        return mine.filter(pk=named) if named else mine

    def project_named(self) -> UUID | None:
        """By `?project=`, if it is."""
        named = self.request.query_params.get("project")
        return _uuid(named) if named else None

    def in_projects(self, rows: QuerySet[Row]) -> QuerySet[Row]:
        """Those of `rows`, which have a project, that the caller sees."""
        key, query = self.request.auth, self.request.query_params
        if isinstance(key, ApiKey) and not query.get("project"):
            return rows.filter(project=key.project_id)
        return rows.filter(project__in=self.projects())

    def project_to_act_in(self, named: UUID | None = None) -> Project:
        """The project that is named, here or in the query; the key's own; or the person's own.

        NotFound for one that the caller does not see, PermissionDenied where they may not do this.
        """
        named = named or self.project_named()
        if isinstance(self.request.auth, ApiKey):
            if named not in (None, self.request.auth.project_id):
                raise NotFound("There is no such project.")
            return self.request.auth.project
        user: Any = self.request.user
        if named is None:
            return Project.objects.personal(user)
        found = Project.objects.visible_to(user).filter(pk=named).first()
        if found is None:
            raise NotFound("There is no such project.")
        if not may(self.request, found, self.needs[self.action]):
            raise PermissionDenied
        return found


def _uuid(named: Any) -> UUID:
    try:
        return UUIDField().to_internal_value(named)
    except ValidationError as error:
        raise ValidationError({"project": error.detail}) from None
