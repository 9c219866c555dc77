"""What transactional tests leave in the database is taken out of it again, in milliseconds.

Django would truncate every table, used or not, and make all permissions anew: on PostgreSQL a fifth of a
second for each such test.
"""

from functools import cache

from django.db import connection, transaction
from django.test import TransactionTestCase

# Of the schema, not of the tests: what migrations and post_migrate wrote.
KEPT = {"django_migrations", "django_content_type", "auth_permission"}


@cache
def tables() -> list[str]:
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return sorted(set(names) - KEPT)


def empty_database(_: TransactionTestCase) -> None:
    emptied = [f"DELETE FROM {connection.ops.quote_name(table)}" for table in tables()]  # noqa: S608 - ours
    if connection.vendor == "postgresql":
        # In one round trip, and without triggers: the audit log's lets nothing be deleted.
        emptied = ["; ".join(["SET LOCAL session_replication_role = replica", *emptied])]
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in emptied:
            cursor.execute(statement)


def do_so_after_transactional_tests() -> None:
    TransactionTestCase._fixture_teardown = empty_database
