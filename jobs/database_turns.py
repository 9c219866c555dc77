"""One after the other, where no row is at hand whose lock would see to it."""

from enum import IntEnum

from django.db import connections


class Turn(IntEnum):
    """Any numbers that no other advisory locks of this database have."""

    CLAIMING_DELIVERIES = 7_305_112_907
    NAMING_PROJECTS = 7_305_112_908
    FILLING_USAGE = 7_305_112_909


def wait_for(turn: Turn, using: str) -> None:
    """Until the transaction ends, which must have begun, nobody else has this turn.

    SQLite has one writer at a time anyway.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [turn])
