"""The audit log of the projects that the caller operates."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.filters import AuditFilter
from jobs.api.permissions import MANAGING
from jobs.api.serializers import AuditEntrySerializer
from jobs.api.views.scoped import PROJECT, ScopedViewSet
from jobs.models import ApiKey, AuditEntry


class AuditViewSet(ScopedViewSet):
    needs: ClassVar = {"list": MANAGING}
    queryset = AuditEntry.objects.none()
    serializer_class = AuditEntrySerializer
    filterset_class = AuditFilter

    def get_queryset(self) -> Any:
        user: Any = self.request.user
        if not isinstance(self.request.auth, ApiKey) and user.is_staff and not self.project_named():
            # Sign-ins, too, which are no project's.
            return AuditEntry.objects.all()
        return self.in_projects(AuditEntry.objects.all())

    @extend_schema(responses=AuditEntrySerializer(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        """Who did what, the newest first; kept for a year."""
        page: Any = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(AuditEntrySerializer(page, many=True).data)
