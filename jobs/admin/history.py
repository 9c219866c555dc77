"""What the service has written down is for reading: its admin pages have no forms."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from jobs.admin.look import ModelAdmin, TabularInline
from jobs.refusal import Refusal

# Where no index serves two filters at once, of a hundred rows that are read perhaps one counts.
COUNTED_AT_MOST = 2000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than 2,000, so that a list of millions costs what its first page costs."""

    @cached_property
    def count(self) -> int:
        return cast(QuerySet[Any], self.object_list)[:COUNTED_AT_MOST].count()

    @property
    def is_more(self) -> bool:
        """Whether there may be more than were counted."""
        return self.count == COUNTED_AT_MOST


class SeenByStaff(ModelAdmin):
    """Every member of staff sees it. Who may change it is up to Django's permissions.

    `when_empty` stands where the list would be: what has to happen for there to be something.
    """

    when_empty = ""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_staff)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Says above the form what was refused while it was saved, of which then nothing is."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except Refusal as refusal:
            messages.error(request, refusal.message)
            return HttpResponseRedirect(request.get_full_path())


class HistoryAdmin(SeenByStaff):
    """Nobody adds or changes it here."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    # Pages are what there is: "Show all" would have to be told apart by who cannot see its colour well.
    list_max_show_all = 0

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PageAdmin(HistoryAdmin):
    """Each has a page that shows it, where Django has a form."""

    def page(self, request: HttpRequest, obj: Any) -> HttpResponse:
        raise NotImplementedError

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if found := self.get_object(request, object_id):
            return self.page(request, found)
        messages.error(request, f"There is no {self.opts.verbose_name} {object_id} (any more).")
        return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))


class HistoryInline(TabularInline):
    extra = 0
    can_delete = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_staff)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
