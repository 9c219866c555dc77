"""Regions, and 404 for whatever else is asked for below /api/."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.api.pagination import one_page
from jobs.api.permissions import READING
from jobs.api.serializers import RegionSerializer
from jobs.api.views.scoped import ScopedViewSet
from jobs.models import TranscriptionJob
from routing.regions import all_regions


class RegionViewSet(ScopedViewSet):
    needs: ClassVar = {"list": READING}
    serializer_class = RegionSerializer
    queryset = TranscriptionJob.objects.none()

    @extend_schema(responses=RegionSerializer(many=True), filters=False)
    def list(self, request: Request) -> Response:
        """The regions and how they do, those of the most weight first, all on one page."""
        return Response(one_page(self.get_serializer(list(all_regions().values()), many=True).data))


class Nothing(APIView):
    """There is nothing at this address, which is told in JSON."""

    authentication_classes = ()
    permission_classes = ()

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        raise NotFound("There is nothing at this address. Most end with a slash.")
