"""What the service has written down is for reading: its admin pages have no forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from jobs.admin.look import ModelAdmin, TabularInline
from jobs.refusal import Refusal

COUNTED_AT_MOST = 2000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of the first 2,000, so that a list of millions costs what its first page costs.

    Keys alone are asked for first, which an index may have all of; then the rows of one page by theirs.
    """

    @cached_property
    def _keys(self) -> list[Any]:
        rows = cast(QuerySet[Any], self.object_list)
        return list(rows.values_list("pk", flat=True)[:COUNTED_AT_MOST])

    @cached_property
    def count(self) -> int:
        return len(self._keys)

    def page(self, number: int | str) -> Page[Any]:
        number = self.validate_number(number)
        keys = self._keys[(number - 1) * self.per_page : number * self.per_page]
        return Page(cast(QuerySet[Any], self.object_list).filter(pk__in=keys), number, self)

    @property
    def is_more(self) -> bool:
        """Whether there may be more than were counted."""
        return self.count == COUNTED_AT_MOST


@dataclass(frozen=True, slots=True)
class Applied:
    """A filter that is on, or the search; `without` is the query of the list that lacks it."""

    title: str
    value: str
    without: str


class BoundedChangeList(ChangeList):
    """Django asks for the rows of a single page without a limit, for which the database reads all of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.multi_page:
            self.result_list = self.paginator.page(1).object_list

    def tabs(self) -> list[Any]:
        """The choices of the filter that stands above the list (SeenByStaff.list_tabs)."""
        field = cast(SeenByStaff, self.model_admin).list_tabs
        specs = [spec for spec in self.filter_specs if field and getattr(spec, "field_path", "") == field]
        return [choice for spec in specs for choice in spec.choices(self)]

    def applied(self) -> list[Applied]:
        """What the list is narrowed by, in words."""
        return list(self._narrowed_by())

    def _narrowed_by(self) -> Iterator[Applied]:
        if self.query:
            yield Applied("search", self.query, self.get_query_string(remove=[SEARCH_VAR]))
        others = self.get_filters_params()
        for spec in self.filter_specs:
            given = {name: others.pop(name) for name in spec.expected_parameters() if name in others}
            if given:
                chosen = [str(choice["display"]) for choice in spec.choices(self) if choice["selected"]]
                yield self._applied(str(spec.title), given, chosen)
        # What another page led to, and a filter that has nothing to choose from.
        for name, values in others.items():
            yield self._applied(name.partition("__")[0].replace("_", " "), {name: values})

    def _applied(self, title: str, given: dict[str, list[str]], chosen: Sequence[str] = ()) -> Applied:
        words = chosen or [value for values in given.values() for value in values]
        return Applied(title, ", ".join(words), self.get_query_string(remove=list(given)))


class SeenByStaff(ModelAdmin):
    """Every member of staff sees it. Who may change it is up to Django's permissions.

    `when_empty` stands where the list would be: what has to happen for there to be something. `list_tabs` is
    the field of `list_filter` whose choices stand above the list as well.
    """

    when_empty = ""
    list_tabs = ""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

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


class ChangesAlone(admin.ModelAdmin):  # type: ignore[type-arg]
    """Writes what was changed in the form, and nothing else of the row, which others may change meanwhile.

    To be named after django-unfold's class, whose save_model then comes first: it runs a page's own buttons.
    """

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            columns = {field.name for field in obj._meta.concrete_fields}
            obj.save(update_fields=columns.intersection(form.changed_data))
        else:
            super().save_model(request, obj, form, change)


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
