"""Looking into columns that hold a JSON list."""

from typing import TypeVar

from django.db import connections
from django.db.models import BooleanField, Model, QuerySet
from django.db.models.expressions import RawSQL

Row = TypeVar("Row", bound=Model)


def holding(rows: QuerySet[Row], column: str, value: str) -> QuerySet[Row]:
    """Those of `rows` whose list in `column` has `value`. SQLite has no containment of its own."""
    if connections[rows.db].features.supports_json_field_contains:
        return rows.filter(**{f"{column}__contains": [value]})
    table = rows.model._meta.db_table
    among = f'EXISTS (SELECT 1 FROM json_each("{table}"."{column}") WHERE value = %s)'  # noqa: S608 (our names)
    return rows.filter(RawSQL(among, (value,), output_field=BooleanField()))  # noqa: S611
