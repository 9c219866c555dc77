"""What the admin is made of: django-unfold's classes, with the types that it does not give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django import forms
    from django.contrib import admin
    from django.contrib.auth.admin import GroupAdmin as _GroupAdmin
    from django.contrib.auth.admin import UserAdmin as _UserAdmin
    from django.contrib.auth.models import User

    Method = TypeVar("Method", bound=Callable[..., Any])

    class ModelAdmin(admin.ModelAdmin[Any]): ...

    class TabularInline(admin.TabularInline[Any, Any]): ...

    class UserAdmin(_UserAdmin[User]): ...

    class GroupAdmin(_GroupAdmin): ...

    def action(
        *, description: str, permissions: Sequence[str] = (), attrs: Mapping[str, str] | None = None
    ) -> Callable[[Method], Method]: ...

    def display(
        *, description: str, ordering: str = "", label: Mapping[str, str] | None = None
    ) -> Callable[[Method], Method]: ...

    Checkboxes = forms.CheckboxSelectMultiple
    Choices = forms.Select
    Line = forms.TextInput
    Lines = forms.Textarea
    Password = forms.PasswordInput
    Switch = forms.CheckboxInput
    Moment = forms.DateTimeInput
    Url = forms.URLInput
else:
    from django.contrib.auth.admin import GroupAdmin as _GroupAdmin
    from django.contrib.auth.admin import UserAdmin as _UserAdmin
    from unfold.admin import ModelAdmin, TabularInline
    from unfold.decorators import action, display
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
    from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget as Checkboxes
    from unfold.widgets import UnfoldAdminPasswordWidget as Password
    from unfold.widgets import UnfoldAdminSelectWidget as Choices
    from unfold.widgets import UnfoldAdminTextareaWidget as Lines
    from unfold.widgets import UnfoldAdminTextInputWidget as Line
    from unfold.widgets import UnfoldAdminURLInputWidget as Url
    from unfold.widgets import UnfoldBooleanSwitchWidget as Switch

    class Moment(Line):
        """By the browser's own picker; as Django's forms read it."""

        input_type = "datetime-local"

        def format_value(self, value):
            return f"{value:%Y-%m-%dT%H:%M}" if hasattr(value, "strftime") else value

    class UserAdmin(_UserAdmin, ModelAdmin):
        form = UserChangeForm
        add_form = UserCreationForm
        change_password_form = AdminPasswordChangeForm

    class GroupAdmin(_GroupAdmin, ModelAdmin):
        pass


__all__ = [
    "Checkboxes",
    "Choices",
    "GroupAdmin",
    "Line",
    "Lines",
    "ModelAdmin",
    "Moment",
    "Password",
    "Switch",
    "TabularInline",
    "Url",
    "UserAdmin",
    "action",
    "display",
]
