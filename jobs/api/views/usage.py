"""What the caller's projects have used."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from jobs import usage
from jobs.api.errors import BadRequest
from jobs.api.filters import check_parameters
from jobs.api.known import name_choices
from jobs.api.pagination import one_page
from jobs.api.permissions import READING
from jobs.api.usage import UsageSerializer
from jobs.api.views.scoped import ScopedViewSet
from jobs.audio.downloads import make_harmless
from jobs.models import ApiKey, UsageLine

_TYPES = {"DateField": OpenApiTypes.DATE, "UUIDField": OpenApiTypes.UUID}
PARAMETERS = [
    OpenApiParameter(
        name,
        _TYPES.get(type(field).__name__, OpenApiTypes.STR),
        description=field.help_text,
        many=name == "group_by",
        enum={"group_by": [*usage.COLUMNS], "mode": usage.MODES}.get(name),
    )
    for name, field in usage.Question.base_fields.items()
]


class UsageViewSet(ScopedViewSet):
    needs: ClassVar = {"retrieve": READING, "export": READING}
    refuses: ClassVar = {"retrieve": (400,), "export": (400,)}
    queryset = UsageLine.objects.none()
    serializer_class = UsageSerializer

    def get_queryset(self) -> Any:
        user: Any = self.request.user
        if not isinstance(self.request.auth, ApiKey) and user.is_staff:
            # What was used by projects that are erased, too.
            return UsageLine.objects.all()
        return self.in_projects(UsageLine.objects.all())

    @extend_schema(parameters=PARAMETERS)
    def retrieve(self, request: Request) -> Response:
        """Requests, audio and estimated cost of days (UTC), by what is asked for, all on one page.

        A run of a job counts on the day that it ended, a live session likewise; deleting them takes nothing
        away. Grouped by tags, what has several is in several groups, and once in the totals.
        """
        asked, rows, totals = self._found()
        body = {
            "since": asked["since"],
            "until": asked["until"],
            "totals": totals,
            **one_page(rows),
        }
        return Response(UsageSerializer(body).data)

    @extend_schema(parameters=PARAMETERS, responses={(200, "text/csv"): OpenApiTypes.STR})
    def export(self, request: Request) -> HttpResponse:
        """The same groups as CSV."""
        asked, rows, _ = self._found()
        response = HttpResponse(usage.as_csv(rows, asked["group_by"]), content_type="text/csv; charset=utf-8")
        named = f"usage-{asked['since']}-{asked['until']}.csv"
        response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=named)
        make_harmless(response)
        return response

    def _found(self) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
        check_parameters(self.request.query_params, usage.Question.base_fields)
        question = usage.Question(self.request.query_params)
        name_choices(question.fields.values())
        if not question.is_valid():
            errors: Any = question.errors
            raise ValidationError(errors)
        rows, totals = usage.report(self.get_queryset(), question.cleaned_data)
        if len(rows) > usage.MOST_ROWS:
            raise BadRequest(usage.TOO_MANY, "too_many_groups")
        return question.cleaned_data, rows, totals
