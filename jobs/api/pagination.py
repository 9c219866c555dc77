"""Lists in pages: `{next, previous, results}`, from one id to the next, so that new rows shift nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from rest_framework import exceptions
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from jobs.api.errors import BadRequest

if TYPE_CHECKING:  # it imports this module
    from rest_framework.views import APIView


class NewestFirst(CursorPagination):
    """Ids sort by the time of their making."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    template = None
    page_size_query_description = "At most 200."
    cursor_query_description = "As `next` and `previous` have it."

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (exceptions.NotFound, ValidationError, ValueError):
            # Also what decodes, but to no id.
            raise BadRequest("The cursor is not one that a page gave.", "invalid_cursor") from None

    def get_page_size(self, request: Request) -> int | None:
        asked = request.query_params.get(self.page_size_query_param)
        if asked and not re.fullmatch("[1-9][0-9]{0,8}", asked):
            raise exceptions.ValidationError({self.page_size_query_param: "This must be a number from 1 up."})
        return super().get_page_size(request)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page: dict[str, Any] = super().get_paginated_response_schema(schema)
        return {**page, "required": ["next", "previous", "results"]}


class OldestFirst(NewestFirst):
    ordering = "id"


def one_page(rows: list[Any]) -> dict[str, Any]:
    """What has no further page, in the form of one that might."""
    return {"next": None, "previous": None, "results": rows}
