"""What every body is held to, whatever it says: fields that are known, and the types that JSON has."""

from __future__ import annotations

from typing import Any

from django.utils.datastructures import MultiValueDict
from rest_framework import serializers
from rest_framework.utils import html

from jobs.api.known import nearest

# DRF takes 0 for a string or a UUID, "5" for a number and "no" for false; a form has nothing but strings.
_JSON_TYPES: tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], tuple[type, ...]], ...] = (
    (serializers.CharField, (str,)),
    (serializers.UUIDField, (str,)),
    (serializers.BooleanField, (bool,)),
    (serializers.IntegerField, (int, float)),
    (serializers.FloatField, (int, float)),
)


class BodySerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not know: one that is misspelt would go unnoticed otherwise.

    In JSON, a value of another type than its field's is refused as well.
    """

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not hasattr(data, "items"):
            self.fail("invalid", datatype=type(data).__name__)
        errors = {name: self.why_not(name) for name in data if name not in self.fields}
        if errors:
            raise serializers.ValidationError(errors)
        if html.is_html_input(data):
            data = _without_empty(data)
        else:
            self._check_types(data)
        given: dict[str, Any] = super().to_internal_value(data)
        return given

    def update(self, row: Any, given: dict[str, Any]) -> Any:
        """What is given, and nothing else of the row, which others may change meanwhile."""
        for name, value in given.items():
            setattr(row, name, value)
        row.save(update_fields=list(given))
        return row

    def why_not(self, name: str) -> str:
        """What is wrong with a field that is not known."""
        meant = nearest(name, self.fields)
        return f"There is no such field; did you mean {meant}?" if meant else "There is no such field."

    def _check_types(self, data: dict[str, Any]) -> None:
        errors = {}
        for name, value in data.items():
            try:
                _check_type(self.fields[name], value)
            except serializers.ValidationError as error:
                errors[name] = error.detail
        if errors:
            raise serializers.ValidationError(errors)


def _check_type(field: Any, value: Any) -> None:
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        for item in value:
            _check_type(field.child, item)
    # Whether null may be is for the field to say.
    if value is None or field.read_only:
        return
    for kind, types in _JSON_TYPES:
        # To Python, true is a number.
        fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if isinstance(field, kind) and not fits:
            field.fail("invalid", value=value, input=value)


def _without_empty(form: MultiValueDict[str, Any]) -> MultiValueDict[str, Any]:
    """The fields that have a value: a form sends those that were left alone as well."""
    given = {name: [value for value in values if value != ""] for name, values in form.lists()}
    return MultiValueDict({name: values for name, values in given.items() if values})
