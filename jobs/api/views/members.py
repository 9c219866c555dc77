"""The members of a project and their roles."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import members
from jobs.api.permissions import MANAGING, READING
from jobs.api.serializers import MemberSerializer, NewMemberSerializer, RoleSerializer
from jobs.api.views.scoped import ScopedViewSet
from jobs.audit import audited, record
from jobs.models import Membership, Project
from jobs.models.audit import Action


class MemberViewSet(ScopedViewSet):
    """Below a project, members are named by their username."""

    needs: ClassVar = {
        "list": READING,
        "create": MANAGING,
        "partial_update": MANAGING,
        "destroy": MANAGING,
        "leave": READING,
    }
    refuses: ClassVar = dict.fromkeys(("create", "partial_update", "destroy", "leave"), (409,))
    queryset = Project.objects.none()
    serializer_class = MemberSerializer

    def get_queryset(self) -> Any:
        return self.projects()

    @extend_schema(responses=MemberSerializer(many=True), filters=False)
    def list(self, request: Request, pk: UUID) -> Response:
        page: Any = self.paginate_queryset(self._members())
        return self.get_paginated_response(MemberSerializer(page, many=True).data)

    @extend_schema(request=NewMemberSerializer, responses={201: MemberSerializer})
    def create(self, request: Request, pk: UUID) -> Response:
        """Add somebody who has an account, by username or e-mail address."""
        project = self.get_object()
        wanted = NewMemberSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        user: User = wanted.validated_data["user"]
        with transaction.atomic():
            member = members.add(project, user, wanted.validated_data["role"])
            record(Action.MEMBER_ADDED, request, member, role=member.role)
        return Response(MemberSerializer(member).data, status=201)

    @extend_schema(request=RoleSerializer, responses=MemberSerializer)
    def partial_update(self, request: Request, pk: UUID, username: str) -> Response:
        """Give a member another role."""
        member = self._member(username)
        wanted = RoleSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        role = wanted.validated_data["role"]
        with audited(Action.MEMBER_CHANGED, request, member, role=role):
            members.change(member, role)
        return Response(MemberSerializer(member).data)

    def destroy(self, request: Request, pk: UUID, username: str) -> Response:
        """What they did stays; the last operator cannot go."""
        return self._remove(self._member(username))

    @extend_schema(request=None, responses={204: None})
    def leave(self, request: Request, pk: UUID) -> Response:
        """Be a member no longer."""
        return self._remove(get_object_or_404(self._members(), user=request.user.pk))

    def _remove(self, member: Membership) -> Response:
        with audited(Action.MEMBER_REMOVED, self.request, member):
            members.remove(member)
        return Response(status=204)

    def _members(self) -> Any:
        return Membership.objects.filter(project=self.get_object()).select_related("user")

    def _member(self, username: str) -> Membership:
        if "\0" in username:
            # PostgreSQL would refuse to look for it.
            raise Http404
        found: Membership = get_object_or_404(self._members(), user__username=username)
        return found
