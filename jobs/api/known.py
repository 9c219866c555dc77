"""What there is, told to whoever asks for something else."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from django import forms
from rest_framework import serializers


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one may stand for."""
    return next(iter(difflib.get_close_matches(name.lower()[:100], list(known), n=1)), None)


def name_choices(fields: Iterable[forms.Field]) -> None:
    for field in fields:
        if isinstance(field, forms.ChoiceField):
            choices: Any = field.choices
            field.error_messages["invalid_choice"] = _one_of(value for value, _ in choices if value)


class ChoiceField(serializers.ChoiceField):
    def __init__(self, choices: Any, **kwargs: Any) -> None:
        super().__init__(choices, **kwargs)
        self.error_messages["invalid_choice"] = _one_of(self.choices)


def _one_of(values: Iterable[Any]) -> str:
    return f"This must be one of {', '.join(map(str, values))}."
