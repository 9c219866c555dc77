"""Instants by the database's clock, so that a host whose own clock is off expires nobody's lease."""

from datetime import timedelta

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now


def seconds_from_now(seconds: float) -> "ExpressionWrapper[CombinedExpression]":
    """An expression: the database's now and `seconds`, which may be negative."""
    offset = Value(timedelta(seconds=seconds), output_field=DurationField())
    return ExpressionWrapper(Now() + offset, output_field=DateTimeField())
