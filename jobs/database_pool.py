"""The connections of a process: there are fewer than requests at once, so that none is held for a wait."""

from django.db import connection


def give_back() -> None:
    """Leave this thread's connection to others, before waiting for a client, a file or another service.

    The next query takes one again. Not within a transaction, which would end with it.
    """
    if not connection.in_atomic_block:
        connection.close()
