"""Whether there is a database to work on."""

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, connection

from jobs.models import Project


def require_tables() -> None:
    """CommandError, with what to do, if the database cannot be used or has not been migrated."""
    try:
        Project.objects.exists()
    except DatabaseError as error:
        if connection.vendor == "sqlite":
            where = (
                f"There is no database in {settings.DATA_DIR}: set DATA_DIR to where make run keeps its data"
            )
        else:
            where = f"The database of DATABASE_URL cannot be used ({str(error).strip().splitlines()[0]})"
        raise CommandError(f"{where}, or run manage.py migrate.") from None
